"""The shipped SASRec config, made tiny, runs, resumes and answers."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tiny_runs import CONFIGS, WORLD, check_workdir, losses, tiny

import jaxrec
from jaxrec import recommend
from jaxrec.core.config_file import load_config
from jaxrec.core.parallel import make_mesh
from jaxrec.data import load
from jaxrec.tasks import next_item

SSE = {"sse_item": 0.2, "sse_windows": 0.8, "sse_user": 0.3, "unknown_user": 0.2}
NAMES = ["ml1m", "ml100k", "beauty", "toys", "games", "yelp", "beauty_sasrec"]


def test_the_default_trains_resumes_and_answers(tmp_path):
    config = tiny(config="sasrec", **WORLD)
    results = next_item.run(config, tmp_path)
    rows = check_workdir(tmp_path, results, "sar")
    assert list(rows) == ["sar", "popularity", "transitions", "ceiling"]
    assert next_item.run(config, tmp_path) == results
    rec = jaxrec.load(tmp_path)
    history = [f"i{n}" for n in range(1, 19)]  # longer than the window of 12
    state = rec.start()
    for n, item in enumerate(history, 1):
        state = rec.observe(state, item)
        (stepped,), (whole,) = rec.top(state, 5), rec.recommend([history[:n]], 5)
        assert stepped.ids == whole.ids
        np.testing.assert_allclose(stepped.scores, whole.scores, rtol=0, atol=1e-5)


def with_users(**batch):
    """SSE-PT: user vectors, and items and users at times replaced."""
    config = tiny(config="sasrec", **WORLD)
    config.model.users = True
    config.batch.update(SSE | batch)
    return config


def test_user_vectors_train_resume_evaluate_and_answer(tmp_path, monkeypatch, capsys):
    """Ranks are those of answers to each user with its history and its vector."""
    config = with_users()
    config.eval.sampled_negatives = 5
    results = next_item.run(config, tmp_path)
    check_workdir(tmp_path, results, "sar")
    assert next_item.run(config, tmp_path) == results
    rec = jaxrec.load(tmp_path)
    task = next_item.NextItem(config, load(config.data), make_mesh())
    params = rec._engine.backbone.params["model"]
    params = jax.device_put(params, NamedSharding(task.mesh, PartitionSpec()))
    ranks, cases = task.rank(params, "test").rank, task.split.test
    sequences = task.split.sequences
    seen = [sequences.history(user)[:-1][-config.batch.length :] for user in cases.user]
    histories = [sequences.item_ids[items].tolist() for items in seen]
    targets = sequences.item_ids[sequences.values[cases.position]]

    def agreement(users):
        answers = rec.recommend(histories, 40, users=users)
        found = zip(ranks, answers, targets, strict=True)
        same = [r == a.ids.index(t) for r, a, t in found if t in a.ids]
        assert len(same) > 20
        return np.mean(same)

    assert agreement(sequences.user_ids[cases.user].tolist()) == 1
    assert agreement(None) < 1
    monkeypatch.setattr("jaxrec.serve.workdir.load", lambda workdir: rec)
    assert recommend.main([f"--workdir={tmp_path}", "--user=u1", "--k=1"]) == 0
    history = sequences.item_ids[sequences.history(0)].tolist()
    text = capsys.readouterr().out
    for users in (["u1"], None):
        (best,) = rec.recommend([history], 1, users=users)
        assert text.endswith(f"{best.scores[0]:.3f}\n") == (users is not None)


def test_stopping_in_the_middle_changes_nothing(tmp_path):
    config = with_users()
    whole = next_item.run(config, tmp_path / "whole")
    assert config.optim.schedule == "cosine"  # of which steps are a part
    task = next_item.NextItem

    class Crash(Exception):
        pass

    def crashing(*args):
        made = task(*args)
        make = made.batch

        def batch(step):
            if step == 5:
                raise Crash
            return make(step)

        made.batch = batch
        return made

    next_item.NextItem = crashing
    try:
        with pytest.raises(Crash):
            next_item.run(config, tmp_path / "crashed")
    finally:
        next_item.NextItem = task
    assert next_item.run(config, tmp_path / "crashed") == whole
    assert losses(tmp_path / "crashed") == losses(tmp_path / "whole")


def test_padded_and_packed_batches_have_the_same_mean_loss(tmp_path):
    """One batch of the whole data: the same targets, each with the same outputs."""
    means = []
    for layout in ("packed", "padded"):
        config = with_users()
        config.model.dropout = config.model.dropout_attention = 0.0
        config.batch.layout, config.batch.size = layout, 60
        config.train.steps = config.train.eval_every = config.train.log_every = 1
        next_item.run(config, tmp_path / layout)
        means.append(losses(tmp_path / layout)[0]["loss"])
    assert means[0] == pytest.approx(means[1], rel=1e-5)


def test_the_same_losses_on_other_devices(tmp_path):
    """The table in four parts, or a replica each: over eight devices every time."""
    found = []
    for name, given in (
        ("plain", {}),
        ("split", {"model": 4}),
        ("pmap", {"mode": "pmap"}),
    ):
        config = with_users()
        config.parallel.update(given)
        config.train.steps = config.train.eval_every = config.train.log_every = 2
        next_item.run(config, tmp_path / name)
        found.append(losses(tmp_path / name)[0]["loss"])
    assert found[1:] == pytest.approx([found[0]] * 2, rel=1e-6)


@pytest.mark.parametrize("name", ["synthetic", "custom", "games2018", *NAMES])
def test_every_argument_is_a_whole_configuration(name):
    config = load_config(f"{CONFIGS / 'sasrec.py'}:{name}")
    assert config.model.name == "sar" and config.model.causal
    assert config.data.name == name
    assert config.train.steps >= config.train.eval_every


def test_local_heads_and_post_norm_by_name(tmp_path):
    config = tiny(config="sasrec", **WORLD)
    config.model.heads, config.model.windows = 2, (0, 2)
    config.model.norm_first = False
    check_workdir(tmp_path, next_item.run(config, tmp_path), "sar")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"causal": False}, "model 'sar' is not causal here: .*tasks.masked_item"),
        ({"windows": (0, 2)}, r"windows empty or one of 0 or more for each of 1 heads"),
        ({"heads": 3}, "dim a multiple of 4 and of heads"),
    ],
)
def test_impossible_choices_are_refused_before_anything_is_written(
    tmp_path, change, message
):
    config = tiny(config="sasrec", **WORLD)
    config.model.update(change)
    with pytest.raises(ValueError, match=message):
        next_item.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"sse_user": 0.3}, "batch.sse_user=0.3: the model has no user vectors; set"),
        ({"sse_item": 1.0}, "batch.sse_item: want 0 or more, below 1, got 1.0"),
        ({"unknown_user": -0.1}, "batch.unknown_user: want 0 or more, below 1, got"),
        ({"sse_windows": 0.5}, "sse_windows=0.5 has no effect with batch.sse_item=0"),
    ],
)
def test_impossible_replacements_are_refused(tmp_path, batch, message):
    config = tiny(config="sasrec", **WORLD)
    config.batch.update(batch)
    with pytest.raises(ValueError, match=message):
        next_item.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_windows_of_lrurec_are_refused():
    config = tiny(**WORLD)
    with config.unlocked():
        config.model.windows = (0, 2)
    with pytest.raises(ValueError, match=r"model\.windows: unknown key"):
        next_item.run(config, "unused")


def test_unknown_data_are_refused():
    with pytest.raises(ValueError, match="sasrec.py:ml1mm .* mean 'ml1m'"):
        load_config(f"{CONFIGS / 'sasrec.py'}:ml1mm")
