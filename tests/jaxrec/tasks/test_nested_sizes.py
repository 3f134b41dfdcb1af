"""A model with several sizes under the tasks: its losses, and a run of it."""

import copy
import dataclasses

import jax
import numpy as np
import pytest
from tiny_runs import WORLD, check_workdir, nested_tables, tiny, tiny_nested

import jaxrec
from jaxrec.core.parallel import make_mesh, shardings
from jaxrec.core.run_directory import best_params
from jaxrec.eval import saved_ranks
from jaxrec.eval.floors import popularity_counts
from jaxrec.features import Features, save
from jaxrec.models import fmrlrec
from jaxrec.tasks import next_item
from tests.jaxrec.compiling import numpy_jit, quick_jit
from tests.jaxrec.tasks.test_task_losses import make_params, task_of

prefill = numpy_jit(fmrlrec.prefill, static_argnums=1)


@pytest.mark.parametrize("name", ["softmax", "sampled_softmax", "gbce"])
def test_every_loss_is_summed_over_the_sizes(name):
    task, sizes = task_of("uniform_negatives"), ((4, 0.25), (8, 2.0))
    task.config["loss"]["name"] = name
    batch, params = task.batch(0), make_params()
    labels = batch["labels"].ravel()
    weights, key = np.float32(labels > 0), jax.random.key(3)

    def separate(params):
        table, bias = params["embedding"]["table"], params["item_bias"]
        hidden = table[batch["tokens"]].reshape(-1, 8)
        return sum(
            share
            * task._loss(
                (hidden[:, :size], table[:, :size], bias, labels, weights), batch, key
            )
            for size, share in sizes
        )

    def joint(params):
        table, bias = params["embedding"]["table"], params["item_bias"]
        hidden = table[batch["tokens"]].reshape(-1, 8)
        other = copy.copy(task)
        other.sizes = sizes
        return other._loss((hidden, table, bias, labels, weights), batch, key)

    wanted, wanted_gradient = quick_jit(jax.value_and_grad(separate))(params)
    got, gradient = quick_jit(jax.value_and_grad(joint))(params)
    assert float(got) == pytest.approx(float(wanted), rel=1e-5)
    for one, other in zip(
        jax.tree.leaves(gradient), jax.tree.leaves(wanted_gradient), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Workdir, config and results of a run whose item i7 has no text."""
    folder = tmp_path_factory.mktemp("nested")
    config = tiny_nested(folder)
    return folder / "run", config, next_item.run(config, folder / "run")


def model_of(config):
    return fmrlrec.FMRLRecConfig(
        WORLD["num_items"],
        config.model.sizes,
        features=(6, 5),
        own_vectors=True,
        dropout_own=0.0,
        blocks=1,
        dropout=0.1,
        dropout_lru=0.1,
        r_min=config.model.r_min,
        r_max=config.model.r_max,
    )


def test_a_run_trains_all_but_the_features_and_answers(trained):
    workdir, config, results = trained
    rows = check_workdir(workdir, results, "fmrlrec")
    cfg = model_of(config)
    params = best_params(workdir, lambda key: fmrlrec.init(key, cfg))
    given = np.concatenate(list(nested_tables().values()), 1)
    assert (given[6, :6] == 0).all() and (given[6, 6:] != 0).all()
    np.testing.assert_array_equal(params["features"]["table"][1:], given)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    drawn = quick_jit(fmrlrec.init, static_argnums=1)(key, cfg)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        begin = drawn
        for part in path:
            begin = begin[part.key]
        assert np.abs(leaf - begin).max() > 1e-6, path

    history = np.int32([[3, 10, 4]])

    def answers(params):
        hidden = fmrlrec.prefill(params, cfg, history)[1]
        return fmrlrec.score(params, cfg, hidden)[0]

    scores = np.asarray(quick_jit(answers)(params))
    wanted = [n for n in np.argsort(-scores) if n not in (0, 3, 10, 4)][:5]
    (answer,) = jaxrec.load(workdir).recommend([["i3", "i10", "i4"]], 5)
    assert list(answer.ids) == [f"i{n}" for n in wanted]
    np.testing.assert_allclose(answer.scores, scores[wanted], rtol=0, atol=1e-5)
    assert {"fmrlrec@4", "nearest features", "popularity"} < rows.keys()


def test_every_size_is_tested_as_the_model_that_it_is(trained):
    workdir, config, _ = trained
    mesh = make_mesh(devices=jax.devices()[:1])
    task = next_item.NextItem(config, jaxrec.data.load(config.data), mesh)
    cfg = model_of(config)
    params = best_params(workdir, lambda key: fmrlrec.init(key, cfg))
    assert task.cfg == cfg and task.sizes == ((4, 0.5), (8, 0.5))
    whole, small = task.rank(params, "test"), saved_ranks.load(workdir, 4)
    np.testing.assert_array_equal(saved_ranks.load(workdir).rank, whole.rank)
    table, _ = fmrlrec.head(params, cfg)
    split, wanted = task.split, []
    for user, position in zip(split.test.user, split.test.position, strict=True):
        begin = max(split.sequences.offsets[user], position - config.batch.length)
        history = split.sequences.values[begin:position]
        ids = np.zeros((1, config.batch.length), np.int32)
        ids[0, len(ids[0]) - len(history) :] = history
        hidden = prefill(params, cfg, ids)[1][0]
        scores = np.asarray(hidden[:4] @ table[:, :4].T)
        target = split.sequences.values[position]
        wanted.append((scores[1:] > scores[target]).sum())  # nothing is masked
    np.testing.assert_array_equal(small.rank, wanted)
    assert (small.rank != whole.rank).any()
    with pytest.raises(ValueError, match=r"ranks.npz: no size 5; smaller .* here: 4$"):
        saved_ranks.load(workdir, 5)


def test_a_run_goes_on_with_the_features_it_had_only(trained, tmp_path):
    workdir, config, results = trained
    assert next_item.run(config, workdir) == results
    tables = nested_tables()
    tables["text"][0] += 1
    ids = np.array([f"i{n}" for n in range(1, WORLD["num_items"] + 1)])
    save(config.features.path, Features(ids, tables))
    try:
        with pytest.raises(ValueError, match="features of the items have changed"):
            next_item.run(config, workdir)
    finally:
        save(config.features.path, Features(ids, nested_tables()))


def test_checkpoints_without_their_ids_are_refused(trained):
    workdir, config, _ = trained
    kept = (workdir / "ids.npz").rename(workdir / "kept.npz")
    try:
        with pytest.raises(ValueError, match="checkpoints, but ids.npz is missing"):
            next_item.run(config, workdir)
    finally:
        kept.rename(workdir / "ids.npz")


def test_random_and_absent_features(tmp_path):
    config = tiny_nested(tmp_path)
    split, mesh = jaxrec.data.load(config.data), make_mesh()
    config.features.kind = "random"
    task = next_item.NextItem(config, split, mesh)
    assert task.cfg == model_of(config)
    drawn = quick_jit(task.init)(jax.random.key(0))
    table = np.asarray(task.furnish(drawn)["features"]["table"])
    np.testing.assert_allclose(np.linalg.norm(table[1:, :6], axis=1), 1, rtol=1e-5)
    config.features.kind = "none"
    assert next_item.NextItem(config, split, mesh).cfg.features == ()
    config.features.kind = "rondom"
    with pytest.raises(ValueError, match="'rondom' is unknown; did you mean 'random'"):
        next_item.NextItem(config, split, mesh)
    config.features.kind = "given"
    with config.unlocked():
        config.model.features = (6, 5)
    with pytest.raises(ValueError, match="model.features: .* is not a setting"):
        next_item.NextItem(config, split, mesh)
    other = tiny(**WORLD)
    with other.unlocked():
        other.features = config.features
    with pytest.raises(ValueError, match="'lru' makes no item vectors of features"):
        next_item.NextItem(other, split, mesh)


def test_features_are_split_over_devices_with_the_items(tmp_path):
    config = tiny_nested(tmp_path)
    config.parallel.model = 2
    mesh = make_mesh(2, jax.devices()[:2])
    task = next_item.NextItem(config, jaxrec.data.load(config.data), mesh)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    placed = shardings(mesh, shapes, task.rules)
    drawn = jax.jit(task.init, out_shardings=placed)(jax.random.key(0))
    table = task.furnish(drawn)["features"]["table"]
    assert table.sharding == drawn["features"]["table"].sharding
    assert {shard.data.shape for shard in table.addressable_shards} == {(21, 11)}
    np.testing.assert_array_equal(
        table[1:41], np.concatenate(list(nested_tables().values()), 1)
    )


def test_blocks_of_items_are_refused(tmp_path):
    config = tiny_nested(tmp_path)
    config.loss.catalogue_chunk = 10
    with pytest.raises(
        ValueError, match="catalogue_chunk: model 'fmrlrec' learns at 2"
    ):
        next_item.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("negatives", ["seen", "all"])
def test_new_items_are_no_negatives(negatives, tmp_path):
    config = tiny_nested(tmp_path)
    config.features.negatives = negatives
    split = jaxrec.data.load(config.data)
    split = dataclasses.replace(split, train_end=split.sequences.offsets[:-1] + 3)
    new = np.flatnonzero(popularity_counts(split)[1:] == 0) + 1
    assert 0 < len(new) < 20
    task = next_item.NextItem(config, split, make_mesh(devices=jax.devices()[:1]))
    params = quick_jit(task.init)(jax.random.key(0))

    def loss(table):
        embedding = params["embedding"] | {"table": table}
        given = params | {"embedding": embedding}
        return task.loss(given, task.batch(0), jax.random.key(1))["loss"][0]

    gradient = quick_jit(jax.grad(loss))(params["embedding"]["table"])
    moved = np.abs(gradient).max(1) > 0
    assert moved[new].all() == (negatives == "all")
    assert moved[new].any() == (negatives == "all")
    others = np.setdiff1d(np.arange(1, WORLD["num_items"] + 1), new)
    assert moved[others].all()
