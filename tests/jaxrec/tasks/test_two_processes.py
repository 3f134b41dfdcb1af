"""A run over two processes of `jax.distributed`, each with one device."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from jaxrec.core.config_file import load_config
from jaxrec.retrieval import popularity_prior
from jaxrec.tasks import next_item
from tests.xla_flags import flags as xla_flags

ROOT = pathlib.Path(__file__).parents[3]
OVERRIDES = {
    "data.num_users": 60,
    "data.num_items": 40,
    "data.clusters": 4,
    "data.events_max": 25,
    "model.dim": 8,
    "model.blocks": 1,
    "batch.size": 8,
    "batch.length": 12,
    "train.steps": 6,
    "train.log_every": 2,
    "train.eval_every": 3,
    "train.save_every": 3,
    "parallel.micro": 1,
    "eval.popularity": (0.5, 1.0),
}


def start(workdir, *flags, **overrides):
    settings = {**OVERRIDES, **overrides}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jaxrec.main",
            "--config=configs/lrurec.py",
            f"--workdir={workdir}",
            *(f"--config.{key}={value}" for key, value in settings.items()),
            *flags,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "XLA_FLAGS": xla_flags(1),
            "JAX_PLATFORMS": "cpu",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(workdir, **overrides):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [
        start(
            workdir,
            "--distributed",
            f"--coordinator=127.0.0.1:{port}",
            "--processes=2",
            f"--process_id={i}",
            **overrides,
        )
        for i in range(2)
    ]


def finish(*processes):
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output


def figures(workdir, kind, key):
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [row[key] for row in rows if row["kind"] == kind]


def test_two_processes_train_as_one_and_resume(tmp_path):
    # The second pair goes on from the checkpoint that the first one left.
    finish(
        *start_two(tmp_path / "two", **{"train.steps": 3, "optim.schedule": "constant"})
    )
    single = load_config(str(ROOT / "configs/lrurec.py"))
    single.update_from_flattened_dict(OVERRIDES | {"optim.schedule": "constant"})
    next_item.run(single, str(tmp_path / "constant"))
    finish(*start_two(tmp_path / "two", **{"optim.schedule": "constant"}))
    one, two = tmp_path / "constant", tmp_path / "two"
    # Steps 2 and 6: step 3 ended the first pair and was logged on its own.
    assert figures(two, "train", "loss")[0] == pytest.approx(
        figures(one, "train", "loss")[0], rel=1e-5
    )
    assert figures(two, "train", "loss")[-1] == pytest.approx(
        figures(one, "train", "loss")[-1], rel=1e-4
    )
    assert figures(two, "valid", "ndcg@10") == pytest.approx(
        figures(one, "valid", "ndcg@10"), abs=0.02
    )
    environment = json.loads((two / "environment.json").read_text())
    assert environment["process_count"] == 2
    assert (two / "test.json").exists()
    assert popularity_prior.load(two, OVERRIDES["data.num_items"]).weight() in (
        0,
        0.5,
        1,
    )
