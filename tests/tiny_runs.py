"""Shipped configs made tiny, and what a run of one must leave behind."""

import json
import pathlib

import numpy as np

from jaxrec.core.config_file import load_config
from jaxrec.features import Features, save

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
WORLD = {"num_users": 60, "num_items": 40, "clusters": 4, "events_max": 25}


def tiny(argument="synthetic", config="lrurec", **data):
    """A shipped config of width 8 with one block and six steps."""
    config = load_config(f"{CONFIGS / f'{config}.py'}:{argument}")
    with config.unlocked():
        config.data.update(data)
    config.model.dim, config.model.blocks = 8, 1
    config.batch.size, config.batch.length = 8, 12
    config.train.steps, config.train.log_every = 6, 2
    config.train.eval_every = config.train.save_every = 3
    config.parallel.micro = 1
    config.loss.samples = min(config.loss.samples, 20)
    return config


def nested_tables():
    """Features of the items of `WORLD`, of which the seventh has no text."""
    rng = np.random.default_rng(5)
    tables = {
        name: rng.normal(size=(WORLD["num_items"], dim)).astype(np.float32)
        for name, dim in (("text", 6), ("image", 5))
    }
    tables["text"][6] = 0
    return tables


def tiny_nested(folder):
    """A tiny fMRLRec of sizes 4 and 8 with features from a file in `folder`."""
    config = load_config(f"{CONFIGS / 'fmrlrec.py'}:synthetic@paper")
    config.data.update(WORLD)
    ids = np.array([f"i{n}" for n in range(1, WORLD["num_items"] + 1)])
    config.features.path = str(folder / "features.npz")
    save(config.features.path, Features(ids, nested_tables()))
    config.model.update({"sizes": (4, 8), "blocks": 1})
    config.batch.update({"size": 8, "length": 12})
    config.train.update({"steps": 6, "log_every": 2, "eval_every": 3})
    config.train.save_every = 3
    return config


def check_workdir(workdir, results, model="lru"):
    """Checks files and figures; returns the rows of test.json."""
    for name in ("config.json", "environment.json", "ids.npz", "learning_curve.png"):
        assert (workdir / name).stat().st_size > 0
    rows = json.loads((workdir / "test.json").read_text())
    assert 0 <= rows[model]["recall@10"] <= 1
    assert rows[model]["recall@10"] == results["test/recall@10"]
    for metric in ("recall", "ndcg", "mrr"):
        for k in (1, 5, 10, 20, 50):
            assert f"{metric}@{k}_se" in rows[model]
    assert "full ranking" in (workdir / "results.txt").read_text()
    assert results["best_step"] in (3, 6)
    return rows


def losses(workdir):
    """What a run noted of every step, without times."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if not k.startswith("time/")}
        for line in lines
    ]
