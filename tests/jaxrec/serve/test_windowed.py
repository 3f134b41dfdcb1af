"""Serving models with a window: from a cache, from the window, and from a file."""

import json

import jax
import numpy as np
import pytest
import serving_runs

from jaxrec.core.checkpoint import Checkpoints
from jaxrec.models import config_of_run, mask_token_of, model_module
from jaxrec.serve import portable
from jaxrec.serve.workdir import load

LENGTH, ITEMS = 6, serving_runs.ITEMS
HISTORY = np.random.default_rng(6).integers(1, ITEMS + 1, 15).tolist()
SECTIONS = {
    "causal": {"name": "sar", "dim": 8, "heads": 2, "windows": [0, 2]},
    "both-ways": {"name": "sar", "dim": 8, "causal": False},
    "bert4rec": {"name": "bert4rec", "dim": 8},
    "hstu": {"name": "hstu", "dim": 8, "blocks": 1, "dim_qk": 3, "dim_v": 4},
}


def raw(numbers):
    return [f"i{n}" for n in numbers]


def write(workdir, section):
    """What a run leaves behind; returns its model, config and parameters."""
    model = model_module(section["name"])
    config = {"model": section, "batch": {"length": LENGTH}, "data": {}}
    cfg = config_of_run(config, ITEMS)
    params = model.init(jax.random.key(3), cfg)
    spread = jax.random.normal(jax.random.key(4), params["embedding"]["table"].shape)
    params["embedding"]["table"] = spread
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(config))
    np.savez(workdir / "ids.npz", item_ids=serving_runs.item_ids())
    checkpoints = Checkpoints(workdir)
    checkpoints.save_best(7, params, {})
    checkpoints.close()
    return model, cfg, params


@pytest.fixture(scope="module", params=SECTIONS)
def served(request, tmp_path_factory):
    """A recommender, and a function from histories to the wanted scores."""
    workdir = tmp_path_factory.mktemp("windowed") / "run"
    model, cfg, params = write(workdir, SECTIONS[request.param])
    encode = jax.jit(model.encode, static_argnums=1)

    def scores(history):
        seen = history[-model.window(cfg) :]
        token = mask_token_of(model, cfg)
        ids = seen if token is None else [*seen, token]
        padded = np.zeros((1, LENGTH), np.int32)
        padded[0, LENGTH - len(ids) :] = ids
        hidden = encode(params, cfg, padded)[:, -1]
        return np.asarray(model.score(params, cfg, hidden))[0]

    return load(workdir, lengths=(4, 16)), scores


def check(answer, scores, history):
    best = serving_runs.best(scores, 5, history)
    assert answer.ids == tuple(raw(best))
    np.testing.assert_allclose(answer.scores, scores[best], rtol=1e-4, atol=1e-4)


def test_every_prefix_inside_and_beyond_the_window(served):
    rec, scores = served
    state = rec.start()
    check(rec.top(state, k=5)[0], scores([]), [])
    for n, item in enumerate(HISTORY, 1):
        state, (answer,) = rec.observe_and_top(state, f"i{item}", k=5)
        wanted = scores(HISTORY[:n])
        check(answer, wanted, HISTORY[:n])
        check(rec.recommend([raw(HISTORY[:n])], k=5)[0], wanted, HISTORY[:n])
        check(rec.top(rec.prefill([raw(HISTORY[:n])]), k=5)[0], wanted, HISTORY[:n])


def test_many_users_in_a_pool(served):
    rec, scores = served
    lengths = (0, 2, 6, 11)
    pool = rec.prefill([raw(HISTORY[:n]) for n in lengths])
    pool, answers = rec.observe_and_top(
        pool, ["i7", "x", "i8", "i9"], k=5, slots=[3, 0, 1, 2]
    )
    new = {3: 7, 1: 8, 2: 9}
    for slot, answer in zip((3, 0, 1, 2), answers, strict=True):
        history = HISTORY[: lengths[slot]] + ([new[slot]] if slot in new else [])
        check(answer, scores(history), history)
    pool = rec.from_arrays(rec.to_arrays(pool))
    for slot, answer in enumerate(rec.top(pool, k=5)):
        history = HISTORY[: lengths[slot]] + ([new[slot]] if slot in new else [])
        check(answer, scores(history), history)


def test_a_state_is_of_constant_size_and_old_events_go(served):
    rec, _ = served
    short, long = (rec.prefill([raw(HISTORY[:n])]) for n in (1, 15))
    sizes = [[leaf.shape for leaf in jax.tree.leaves(s)] for s in (short, long)]
    assert sizes[0] == sizes[1]
    other = rec.prefill([raw([1, 2, 3, *HISTORY[-LENGTH:]])])
    for one, two in zip(
        jax.tree.leaves(long["model"]), jax.tree.leaves(other["model"]), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)


def test_the_portable_file(served, tmp_path):
    rec, scores = served
    rec.export(tmp_path / "file")
    read = portable.load(tmp_path / "file")
    for n in (0, 3, 6, 15):
        (answer,) = read.recommend([raw(HISTORY[:n])], k=5)
        check(answer, scores(HISTORY[:n]), HISTORY[:n])
    state = read.prefill([raw(HISTORY[:5]), raw(HISTORY[:9])])
    for item in HISTORY[9:12]:
        state = read.observe(state, [f"i{item}"] * 2)
    for answer, n in zip(read.top(state, k=5), (5, 9), strict=True):
        history = HISTORY[:n] + HISTORY[9:12]
        check(answer, scores(history), history)


def test_a_checkpoint_of_another_family_is_refused(tmp_path):
    write(tmp_path / "run", SECTIONS["causal"])
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["model"] = serving_runs.MODEL
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="another architecture .*block_0/"):
        load(tmp_path / "run")


def test_a_run_without_the_length_of_its_window(tmp_path):
    write(tmp_path / "run", SECTIONS["causal"])
    (tmp_path / "run/config.json").write_text('{"model": {"name": "sar"}}')
    with pytest.raises(ValueError, match=r"config\.batch\.length is missing"):
        load(tmp_path / "run")
