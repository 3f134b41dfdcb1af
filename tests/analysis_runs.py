"""Runs on a handful of users, never trained, for the tests of analyses."""

import json

import jax
import numpy as np

from jaxrec import data, models
from jaxrec.core.checkpoint import Checkpoints

LENGTH = 8
LENGTHS = (3, 12, 5, 9, 4, 6, 7, 3, 11, 5)  # events by user
ITEMS = 12


def write_data(folder):
    """The data section of a config, of users u0, u1, ... with events of their own."""
    rng = np.random.default_rng(0)
    lines = ["user,item,time"]
    for user, count in enumerate(LENGTHS):
        items = rng.permutation(ITEMS)[:count]
        lines += [f"u{user},i{item},{time}" for time, item in enumerate(items)]
    path = folder / "events.csv"
    path.write_text("\n".join(lines) + "\n")
    return {"name": "custom", "path": str(path), "cache": str(folder / "cache")}


def write(workdir, section, name, **fields):
    """Writes a run of the backbone `name`; returns its module, config and parameters.

    Parameters have enough spread that no attention is uniform.
    """
    config = {
        "entry": "jaxrec.tasks.next_item",
        "data": section,
        "model": {"name": name, "dim": 8, "blocks": 1, **fields},
        "batch": {"length": LENGTH},
    }
    sequences = data.load(section).sequences
    module = models.model_module(name)
    cfg = models.config_of_run(config, sequences.items)
    abstract = jax.eval_shape(lambda: module.init(jax.random.key(0), cfg))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), abstract
    )
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(config))
    np.savez(
        workdir / "ids.npz", item_ids=sequences.item_ids, user_ids=sequences.user_ids
    )
    checkpoints = Checkpoints(workdir)
    checkpoints.save_best(1, params, {})
    checkpoints.close()
    return module, cfg, params
