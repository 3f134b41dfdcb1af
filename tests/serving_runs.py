"""Working directories and models for the tests of serving."""

import json

import jax
import numpy as np

from jaxrec.core.checkpoint import Checkpoints
from jaxrec.models import lru

ITEMS = 40
MODEL = {"name": "lru", "dim": 16, "blocks": 1}


_step = jax.jit(lru.step, static_argnums=1)
_score = jax.jit(lru.score, static_argnums=1)


def config(items=ITEMS, blocks=1, **fields):
    return lru.LRUConfig(items=items, dim=16, blocks=blocks, **fields)


def params(cfg, seed=0):
    """Parameters with enough spread that scores differ clearly."""
    drawn = lru.init(jax.random.key(seed), cfg)
    table = drawn["embedding"]["table"]
    spread = jax.random.normal(jax.random.key(seed + 1), table.shape)
    drawn["embedding"]["table"] = spread
    for i in range(cfg.blocks):
        block = drawn[f"block_{i}"]
        for name in ("in", "out", "ffn_in", "ffn_out"):
            block[name]["kernel"] = 10 * block[name]["kernel"]
    return drawn


def item_ids(items=ITEMS):
    """Raw ids "i1" .. "i40", with "" for padding."""
    return np.array(["", *(f"i{n}" for n in range(1, items + 1))])


def write(workdir, items=ITEMS, seed=0, model=None, titles=True, **sections):
    """Writes what a run leaves behind; returns its config and parameters."""
    cfg = config(items)
    tree = params(cfg, seed)
    save(workdir, tree, items, model or MODEL, titles, **sections)
    return cfg, tree


def save(workdir, tree, items, model, titles=True, features=None, **sections):
    """Writes what a run of any model leaves behind; `features` are dimensions."""
    workdir.mkdir(parents=True, exist_ok=True)
    sections = {"entry": "jaxrec.tasks.next_item", "data": {}, **sections}
    text = json.dumps({**sections, "model": model})
    (workdir / "config.json").write_text(text)
    arrays = {"item_ids": item_ids(items), "user_ids": np.array(["u1", "u2"])}
    if titles:
        arrays["titles"] = np.array(["", *(f"Title {n}" for n in range(1, items + 1))])
    if features:
        arrays["feature_names"] = np.array(list(features))
        arrays["feature_dims"] = np.array(list(features.values()))
    np.savez(workdir / "ids.npz", **arrays)
    checkpoints = Checkpoints(workdir)
    checkpoints.save_best(7, tree, {})
    checkpoints.close()


def scores(cfg, tree, history):
    """Scores (items + 1,) after a history of item numbers, one model step per item."""
    state = lru.start(cfg, 1)
    for item in history or [0]:
        state, hidden = _step(tree, cfg, state, np.array([item], np.int32))
    return np.asarray(_score(tree, cfg, hidden))[0]


def best(values, k, excluded=()):
    """Numbers of the k best items by score, lower number first among equals."""
    order = sorted(range(1, len(values)), key=lambda i: (-values[i], i))
    return [i for i in order if i not in set(excluded)][:k]
