"""A model with several sizes under the tasks: its losses, and a run of it."""

import jax
import numpy as np
import pytest
from tiny_runs import WORLD, check_workdir, tiny

import jaxrec
from jaxrec.core.run_directory import best_params
from jaxrec.models import fmrlrec
from jaxrec.tasks import next_item
from tests.jaxrec.compiling import quick_jit
from tests.jaxrec.tasks.test_task_losses import make_params, task_of


@pytest.mark.parametrize("name", ["softmax", "uniform_negatives"])
def test_every_loss_is_summed_over_the_sizes(name):
    task, sizes = task_of("uniform_negatives"), ((4, 0.25), (8, 2.0))
    task.config["loss"]["name"] = name
    batch, params = task.batch(0), make_params()
    labels = batch["labels"].ravel()
    hidden = params["embedding"]["table"][batch["tokens"]].reshape(-1, 8)
    weights = np.float32(labels > 0)

    def separate(params):
        table, bias = params["embedding"]["table"], params["item_bias"]
        return [
            task._loss_at_width(
                (hidden[:, :size], table[:, :size], bias, labels, weights), batch, None
            )
            for size, _ in sizes
        ]

    narrow, wide = quick_jit(separate)(params)
    assert abs(narrow - wide) > 1
    task.sizes = sizes
    got, count = quick_jit(task.loss)(params, batch, jax.random.key(0))["loss"]
    assert float(got) == pytest.approx(float(0.25 * narrow + 2 * wide), rel=1e-5)
    assert float(count) == weights.sum()


def nested(**loss):
    config = tiny(**WORLD)
    config.loss.update(loss)
    with config.unlocked():
        config.model = {"name": "fmrlrec", "sizes": (4, 8), "features": (6, 5)}
        config.model.update({"blocks": 1, "dropout": 0.1, "dropout_lru": 0.1})
    return config


def test_a_run_trains_all_but_the_features_and_answers(tmp_path):
    config = nested()
    check_workdir(tmp_path, next_item.run(config, tmp_path), "fmrlrec")
    cfg = fmrlrec.FMRLRecConfig(
        40, (4, 8), features=(6, 5), blocks=1, dropout=0.1, dropout_lru=0.1
    )
    params = best_params(tmp_path, lambda key: fmrlrec.init(key, cfg))
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    drawn = quick_jit(fmrlrec.init, static_argnums=1)(key, cfg)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        begin = drawn
        for part in path:
            begin = begin[part.key]
        moved = np.abs(leaf - begin).max()
        assert (moved < 1e-6) == (path[0].key == "features"), path

    history = np.int32([[3, 10, 4]])

    def answers(params):
        hidden = fmrlrec.prefill(params, cfg, history)[1]
        return fmrlrec.score(params, cfg, hidden)[0]

    scores = np.asarray(quick_jit(answers)(params))
    wanted = [n for n in np.argsort(-scores) if n not in (0, 3, 10, 4)][:5]
    (answer,) = jaxrec.load(tmp_path).recommend([["i3", "i10", "i4"]], 5)
    assert list(answer.ids) == [f"i{n}" for n in wanted]
    np.testing.assert_allclose(answer.scores, scores[wanted], rtol=0, atol=1e-5)


def test_blocks_of_items_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="catalogue_chunk: model 'fmrlrec' learns at 2"
    ):
        next_item.run(nested(catalogue_chunk=10), tmp_path / "run")
    assert not (tmp_path / "run").exists()
