"""Serving asks nothing of a backbone but its common functions.

The toy here has what recurrent models have not: a state with a cache of the last
`WINDOW` items and a count, several dtypes and axes, and no serving companion.
"""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import serving_runs

from jaxrec.serve import portable
from jaxrec.serve.backbone import answer_sizes, from_model
from jaxrec.serve.ids import ItemIds
from jaxrec.serve.recommender import Recommender

WINDOW, ITEMS, DIM = 6, 30, 4


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    items: int = ITEMS


def init(key, cfg):
    return {"table": jax.random.normal(key, (cfg.items + 1, DIM))}


def head(params, cfg):
    return params["table"], jnp.arange(cfg.items + 1) / 10.0


def start(cfg, batch):
    return {
        "cache": (jnp.zeros((batch, WINDOW), jnp.int32),),
        "count": jnp.zeros((batch,), jnp.uint8),
    }


def step(params, cfg, state, ids):
    """The mean of the window's vectors, the newest three times."""
    (cache,) = state["cache"]
    cache = jnp.concatenate([cache[:, 1:], ids[:, None]], 1)
    count = jnp.minimum(state["count"] + 1, WINDOW)
    vectors = params["table"][cache] * (cache != 0)[:, :, None]
    hidden = vectors.sum(1) / count[:, None] + 2 * params["table"][ids]
    return {"cache": (cache,), "count": count.astype(jnp.uint8)}, hidden


def prefill(params, cfg, ids):
    state, count = start(cfg, ids.shape[0]), (ids != 0).sum(1)
    window = jnp.pad(ids, ((0, 0), (WINDOW, 0)))[:, -WINDOW:]
    state = {
        "cache": (jnp.pad(window[:, :-1], ((0, 0), (1, 0))),),
        "count": (jnp.minimum(count, WINDOW) - 1).astype(jnp.uint8),
    }
    return step(params, cfg, state, ids[:, -1])


def encode(params, cfg, ids):
    parts = [prefill(params, cfg, ids[:, : t + 1])[1] for t in range(ids.shape[1])]
    return jnp.stack(parts, 1)


TOY = types.SimpleNamespace(
    start=start, step=step, prefill=prefill, encode=encode, head=head
)
PARAMS = init(jax.random.key(1), ToyConfig())


def vector(history):
    """The output after a history, in numpy."""
    table = np.asarray(PARAMS["table"])
    if not history:
        return 0 * table[0] + 2 * table[0]
    window = history[-WINDOW:]
    return table[window].sum(0) / len(window) + 2 * table[history[-1]]


def best(history, k):
    table = np.asarray(PARAMS["table"])
    scores = table @ vector(history) + np.arange(ITEMS + 1) / 10
    return [f"i{n}" for n in serving_runs.best(scores, k, history)]


@pytest.fixture(scope="module")
def toy():
    backbone = from_model(TOY, ToyConfig(), PARAMS, lengths=(8, 4))
    return Recommender(backbone, ItemIds(serving_runs.item_ids(ITEMS)))


HISTORY = [3, 9, 3, 14, 25, 30, 1, 7, 22, 8, 17]


@pytest.mark.parametrize("length", [0, 1, 4, 7, 11])
def test_a_backbone_with_a_window(toy, length):
    history = HISTORY[:length]
    raw = [f"i{n}" for n in history]
    assert list(toy.recommend([raw], k=5)[0].ids) == best(history, 5)
    state = toy.start()
    for item in raw:
        state = toy.observe(state, item)
    assert list(toy.top(state, k=5)[0].ids) == best(history, 5)
    assert list(toy.top(toy.prefill([raw]), k=5)[0].ids) == best(history, 5)


def test_its_states_go_through_pools_and_files(toy):
    state = toy.prefill([[], ["i3", "i9"], ["i4"]])
    state = toy.from_arrays(toy.to_arrays(state))
    assert state["model"]["cache"][0].dtype == np.int32
    assert state["model"]["count"].tolist() == [0, 2, 1]
    state, answers = toy.observe_and_top(state, ["i3", "x"], k=5, slots=[1, 0])
    assert [list(a.ids) for a in answers] == [best([3, 9, 3], 5), best([], 5)]
    assert np.asarray(state["model"]["count"]).tolist() == [0, 3, 1]


def test_it_can_be_exported(toy, tmp_path):
    toy.export(tmp_path / "toy")
    read = portable.load(tmp_path / "toy")
    raw = [f"i{n}" for n in HISTORY]
    assert read.recommend([raw, raw[:2]], k=5) == toy.recommend([raw, raw[:2]], k=5)


def test_sizes_of_answers():
    assert answer_sizes(5) == (5,)
    assert answer_sizes(10) == (10,)
    assert answer_sizes(3416) == (10, 100, 1000, 3416)


def test_ids_that_do_not_fit_the_model(toy):
    with pytest.raises(ValueError, match="the model has 30 items, but there are 29"):
        Recommender(toy._engine.backbone, ItemIds(serving_runs.item_ids(29)))
