"""metrics.jsonl: readable after a kill, and the same with and without interruption."""

import json
import os
import resource
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.metrics import MetricWriter, read_metrics


def lines_of(tmp_path):
    return (tmp_path / "metrics.jsonl").read_text().splitlines()


def train(tmp_path, steps, *, from_step=0):
    """Writes what a run would between two steps."""
    writer = MetricWriter(tmp_path)
    writer.resume(from_step if from_step else -1)
    for step in range(from_step + 1, steps + 1):
        writer.write(step, "train", {"loss": 1 / step})
        if step % 2 == 0:
            writer.write(step, "valid", {"ndcg@10": step / 10})
    writer.close()


def test_one_line_per_call(tmp_path):
    writer = MetricWriter(tmp_path / "new")
    writer.resume(-1)
    writer.write(1, "train", {"loss": 0.5, "time/steps_per_second": 2.0})
    writer.write(np.int64(2), "valid", {"ndcg@10": jnp.float32(0.1), "users": 7})
    assert lines_of(tmp_path / "new") == [  # before close: nothing is held back
        '{"step": 1, "kind": "train", "loss": 0.5, "time/steps_per_second": 2.0}',
        '{"step": 2, "kind": "valid", "ndcg@10": 0.10000000149011612, "users": 7}',
    ]
    writer.close()
    rows = read_metrics(tmp_path / "new")
    assert rows == read_metrics(tmp_path / "new" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    assert read_metrics(tmp_path / "new", "valid") == rows[1:]


def test_nan_and_infinity_survive(tmp_path):
    writer = MetricWriter(tmp_path)
    writer.write(1, "train", {"loss": float("nan"), "norm": np.float32("inf")})
    writer.close()
    (row,) = read_metrics(tmp_path)
    assert row["loss"] != row["loss"] and row["norm"] == float("inf")


def test_a_metric_is_one_number(tmp_path):
    writer = MetricWriter(tmp_path)
    with pytest.raises(ValueError, match=r"one number, not an array of \(2,\)"):
        writer.write(1, "train", {"loss": np.ones(2)})


@pytest.mark.parametrize("stopped_at", [5, 6])
def test_a_resumed_file_equals_an_uninterrupted_one(tmp_path, stopped_at):
    train(tmp_path / "whole", 8)
    train(tmp_path / "resumed", stopped_at)
    train(tmp_path / "resumed", 8, from_step=4)
    assert lines_of(tmp_path / "resumed") == lines_of(tmp_path / "whole")
    train(tmp_path / "resumed", 2)  # begins again: nothing of before stays
    assert [row["step"] for row in read_metrics(tmp_path / "resumed")] == [1, 2, 2]


def test_a_broken_last_line_is_dropped(tmp_path):
    train(tmp_path, 3)
    whole = lines_of(tmp_path)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "kind": "tra')
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 2, 3]
    writer = MetricWriter(tmp_path)
    writer.write(4, "train", {"loss": 0.25})
    writer.close()
    assert lines_of(tmp_path) == [*whole, '{"step": 4, "kind": "train", "loss": 0.25}']


@pytest.mark.parametrize("line", ["{", "[1]", '{"step": 1}', ""])
def test_another_broken_line_is_an_error_with_its_number(tmp_path, line):
    train(tmp_path, 1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl:2: not a JSON object"):
        read_metrics(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_metrics(tmp_path)


def test_only_process_0_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    train(tmp_path / "other", 3)
    assert not (tmp_path / "other").exists()


def test_kill_while_writing(tmp_path):
    program = f"""
from jaxrec.core.metrics import MetricWriter
writer = MetricWriter({str(tmp_path)!r}, tensorboard=False)
for step in range(10**9):
    writer.write(step, "train", {{"loss": 1.0, "padding": 1234567}})
    if step == 500:
        print("go", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert len(rows) > 500


def test_full_disk_loses_lines_but_breaks_none(tmp_path, caplog):
    writer = MetricWriter(tmp_path, tensorboard=False)
    writer.write(1, "train", {"loss": 1.0})
    size = (tmp_path / "metrics.jsonl").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        for step in (2, 3):
            writer.write(step, "train", {"loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.write(4, "train", {"loss": 1.0})
    writer.close()
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 4]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2  # one when it began, one when it was over
    assert "Cannot write to" in messages[0] and "metrics.jsonl" in messages[0]
    assert "lacks 2 records" in messages[1]


def test_rewriting_on_resume_is_atomic(tmp_path, monkeypatch):
    train(tmp_path, 4)
    whole = lines_of(tmp_path)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", killed)
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        MetricWriter(tmp_path).resume(2)
    assert lines_of(tmp_path) == whole
    assert all(json.loads(line) for line in whole)
