"""A study by several processes."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_study import tiny_study

from jaxrec.core.config import to_json
from jaxrec.core.lock import DirectoryLock
from jaxrec.study import grid, workers

HOLD = """
import sys, pathlib
from jaxrec.core.lock import DirectoryLock
lock = DirectoryLock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
RUN = """
import json, sys
from jaxrec.study import grid
grid.run(json.loads(open(sys.argv[1]).read()), sys.argv[2])
"""


def results_of(path):
    found = path.glob("*/seed-*/test.json")
    return {file.relative_to(path): file.read_bytes() for file in found}


def begun(path):
    """The cells that have saved a state."""
    return {file.parts[-5] for file in path.glob("*/training*/checkpoints/last/*")}


def test_two_processes_find_what_one_finds(tmp_path, capfd):
    alone = grid.run(tiny_study(arms=("ce", "local"), modes=("ar",)), tmp_path / "one")
    config = tiny_study(arms=("ce", "local"), modes=("ar",))
    config.study.workers = 2
    both = grid.run(config, tmp_path / "two")
    assert both == alone
    assert results_of(tmp_path / "one") == results_of(tmp_path / "two")
    assert len(results_of(tmp_path / "two")) == 4
    said = capfd.readouterr().err
    assert "[1] " in said and "[2] " in said
    assert "workers" in (tmp_path / "two/config.json").read_text()
    report = (tmp_path / "two/report.md").read_text()
    assert "| ce-ar |" in report and "| local-ar |" in report


def test_a_cell_that_another_process_trains_is_left_to_it(tmp_path):
    config = tiny_study(arms=("ce", "local"), modes=("ar",), seeds=1)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "ce-ar")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        found = grid.run(config, tmp_path)
        assert "local-ar/ndcg@10" in found and "ce-ar/ndcg@10" not in found
        assert not list((tmp_path / "ce-ar").glob("seed-*"))
        config.study.arms = ("ce",)
        assert grid.run(config, tmp_path) == {}
    config.study.arms = ("ce", "local")
    assert "ce-ar/ndcg@10" in grid.run(config, tmp_path)
    DirectoryLock(tmp_path / "ce-ar").close()  # given back


def test_stopping_stops_all_of_them_with_their_states_saved(tmp_path):
    config = tiny_study(arms=("ce", "local"), modes=("ar",))
    config.modes.ar.train.steps = 100_000
    config.study.workers = 2
    told = tmp_path / "told.json"
    told.write_text(to_json(config))
    workdir = tmp_path / "study"
    command = [sys.executable, "-c", RUN, str(told), str(workdir)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        began = time.monotonic()
        while begun(workdir) != {"ce-ar", "local-ar"}:
            assert process.poll() is None and time.monotonic() - began < 300
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    for cell in ("ce-ar", "local-ar"):
        assert f"of {cell}, state saved; the same command goes on" in said
    assert begun(workdir) == {"ce-ar", "local-ar"}


def test_an_error_in_one_process_is_told_when_all_have_ended(tmp_path, capfd):
    # The first cell is sound: whoever is late finds it taken or done.
    config = tiny_study(arms=("local", "ce"), modes=("ar",), seeds=1)
    config.study.workers = 2
    with config.unlocked():
        config.arms.ce = {"optim": {"lr": 1e30}}
    with pytest.raises(workers.WorkerFailed, match="of 2 ended with status 1; the sa"):
        grid.run(config, tmp_path)
    assert "ce-ar/seed-42: the loss was not finite" in capfd.readouterr().err
    assert (tmp_path / "local-ar/seed-42/test.json").exists()


def test_what_is_there_already_is_looked_at_before_training(tmp_path):
    grid.run(tiny_study(modes=("ar",), seeds=1), tmp_path)
    config = tiny_study(arms=("local", "ce"), modes=("ar",), seeds=1)
    config.run.optim.lr = 0.5
    with pytest.raises(ValueError, match="run.optim.lr: 0.008 there, 0.5 now"):
        grid.run(config, tmp_path)
    assert not list((tmp_path / "local-ar").glob("seed-*"))


def test_fewer_processes_than_one_are_refused(tmp_path):
    config = tiny_study()
    config.study.workers = 0
    with pytest.raises(ValueError, match="study.workers: want 1 or more, got 0"):
        grid.run(config, tmp_path)


def test_cores_are_shared_out(monkeypatch):
    def of(process):
        return {7, 3, 4, 5, 6}

    monkeypatch.setattr(os, "sched_getaffinity", of, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", None, raising=False)
    assert workers._shares(1) == [[3, 4, 5, 6, 7]]
    assert workers._shares(2) == [[3, 4], [5, 6, 7]]
    assert workers._shares(5) == [[3], [4], [5], [6], [7]]
    assert all(workers._shares(8))  # more than there are cores
    monkeypatch.delattr(os, "sched_setaffinity")
    assert workers._shares(2) == [[], []]
