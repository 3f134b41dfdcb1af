"""The whole study: every cell trained and tested, and a report.

    <workdir>/report.md, results.json, *.png      over all cells that are done
    <workdir>/<arm>-<mode>/seed-<n>/              a run like any other: `jaxrec.load` it
    <workdir>/<arm>-<mode>/training*/             states of a cell in training

The same command goes on where it stopped. More seeds or arms can be asked for later;
what is there is kept. A cell is trained by the process that has its lock: others take
other cells (`jaxrec.study.workers`).
"""

import contextlib
import functools
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from absl import logging

import jaxrec.data
from jaxrec.core import parallel
from jaxrec.core.allocator import release_unused_memory
from jaxrec.core.checkpoint import Checkpoints
from jaxrec.core.config import CONFIG_FILE, check_same_run, to_json
from jaxrec.core.environment import write_environment
from jaxrec.core.lock import Busy, DirectoryLock
from jaxrec.core.progress import duration
from jaxrec.data.cache import locked
from jaxrec.eval import saved_ranks
from jaxrec.eval.report import baselines
from jaxrec.study import plan, search, workers
from jaxrec.study.group import Group
from jaxrec.study.report import write_report
from jaxrec.study.results import CURVE_FILE, TEST_FILE, read_cell
from jaxrec.tasks import workflow


def run(config: Mapping[str, Any], workdir: str) -> dict[str, float]:
    """Trains and tests every cell, and writes the report.

    Args:
      config: as from `configs/ae_ar.py`, see `jaxrec.study.plan`.
      workdir: gets what the top of this module lists.

    Returns:
      Mean test Recall@10 and NDCG@10 over the seeds of every cell, as
      "<cell>/recall@10", with the standard error over the seeds; of cells that another
      process still trains, nothing.

    Raises:
      ValueError: a config value that is unknown or impossible, or a cell that is there
        already with another configuration or on other data.
      WorkerFailed: one of several processes (`study.workers`) ended with an error.
      Stopped: after SIGTERM or Ctrl-C, with everything saved.
    """
    path = Path(workdir)
    count = config["study"]["workers"]
    if count < 1:
        raise ValueError(f"study.workers: want 1 or more, got {count}")
    if count > 1:  # on an accelerator they share its memory
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    study = _Study(config, path)
    path.mkdir(parents=True, exist_ok=True)
    (path / CONFIG_FILE).write_text(to_json(config))
    write_environment(path)
    study.check()
    if count > 1:
        workers.run(path, min(count, len(study.cells)))
    return study.run()


def work(config: Mapping[str, Any], workdir: str) -> None:
    """Does what one process of several does: trains the cells that no other has.

    Args:
      config: of the study.
      workdir: of the study.

    Raises:
      As `run`.
    """
    _Study(config, Path(workdir)).run()


class _Study:
    def __init__(self, config: Mapping[str, Any], path: Path):
        self.config, self.path, self.cells = config, path, plan.cells(config)
        search.check_options(config["study"])
        self.split = jaxrec.data.load(config["run"]["data"])
        self.mesh = parallel.make_mesh(config["run"]["parallel"]["model"])
        self.floors = baselines(config["run"], self.split, "test")
        # What is impossible is said before anything is trained.
        for cell in self.cells:
            self._task(cell.mode, cell.run_config(cell.candidates[0], cell.seeds[0]))

    def check(self):
        """Raises ValueError for a cell that is there with another configuration."""
        for cell in self.cells:
            with self._claimed(cell):
                pass

    def run(self):
        began, at_first = time.monotonic(), self._done()
        whole, result, reported = sum(map(self._cost, self.cells)), {}, []
        for number, cell in enumerate(self.cells, start=1):
            with self._claimed(cell) as missing:
                if missing:
                    logging.info(
                        "Cell %d of %d, %s: seeds %s", number, len(self.cells),
                        cell.name, ", ".join(map(str, missing)),
                    )  # fmt: skip
                    self._train(cell, missing)
                    release_unused_memory()  # of the compiler
            done = self._done()
            if done == reported:
                continue
            result, reported = self._report(done), done
            cost = sum(map(self._cost, done))
            fresh = cost - sum(map(self._cost, at_first))
            if fresh and cost < whole:  # of all processes
                left = (whole - cost) * (time.monotonic() - began) / fresh
                logging.info(
                    "%d of %d cells done, about %s left",
                    *(len(done), len(self.cells), duration(left)),
                )
        others = [cell.name for cell in self.cells if self._missing(cell)]
        if others:
            logging.info("Another process trains %s", ", ".join(others))
        if reported:
            logging.info("The report is %s", self.path / "report.md")
        return result

    def _done(self) -> list[plan.Cell]:
        return [cell for cell in self.cells if not self._missing(cell)]

    def _missing(self, cell) -> list[int]:
        path = self.path / cell.name
        return [s for s in cell.seeds if not (path / f"seed-{s}" / TEST_FILE).exists()]

    def _report(self, done):
        rows = [read_cell(self.path, cell.name, cell.seeds) for cell in done]
        with locked(self.path / ".report"):
            return write_report(self.path, self.config, self.split, self.floors, rows)

    def _task(self, mode, config):
        return plan.TASKS[mode](config, self.split, self.mesh)

    def _fingerprint(self, config):
        return workflow.fingerprint(self.split, bool(config["model"].get("times")))

    def _cost(self, cell):
        """Training steps of a cell, those of its search counted whole."""
        runs = len(cell.seeds)
        if len(cell.candidates) > 1:
            runs += len(cell.candidates) * self.config["study"]["search_seeds"]
        return runs * cell.config["train"]["steps"]

    @contextlib.contextmanager
    def _claimed(self, cell) -> Iterator[list[int]]:
        """Has a cell alone, checks that its directory is of it; seeds yet to train.

        None of a cell that another process has.
        """
        path = self.path / cell.name
        try:
            lock = DirectoryLock(path)
        except Busy:
            yield []
            return
        try:
            self._check(cell, path)
            yield self._missing(cell)
        finally:
            lock.close()

    def _check(self, cell, path):
        about = {
            "run": cell.config,
            "candidates": list(cell.candidates),
            "data_fingerprint": self._fingerprint(cell.config),
        }
        if len(cell.candidates) > 1:
            names = ("halving", "grace", "reduction", "search_seeds")
            about["search"] = {name: self.config["study"][name] for name in names}
        check_same_run(about, path, ("run.parallel", "run.data.path", "run.data.cache"))

    def _train(self, cell, seeds):
        path = self.path / cell.name
        make = functools.partial(self._task, cell.mode)
        best = search.best_candidate(cell, make, path, self.config["study"])
        tasks = [make(cell.run_config(best, seed)) for seed in seeds]
        states = path / f"training-{seeds[0]}-{len(seeds)}"
        group = Group(tasks, states, cell.name)
        try:
            group.train(cell.config["train"]["steps"])
            for member, seed in enumerate(seeds):
                self._finish(group, member, path / f"seed-{seed}")
        finally:
            group.close()
        shutil.rmtree(states)

    def _finish(self, group: Group, member: int, path: Path):
        """Tests a member where it was best and leaves it as a run of its own."""
        best, config = group.best[member], group.tasks[member].config
        if best.step < 0:
            raise FloatingPointError(
                f"{path}: the loss was not finite at every evaluation; lower optim.lr "
                "or set optim.clip_norm"
            )
        params = group.best_params(member)
        checkpoints = Checkpoints(path)
        try:
            checkpoints.rewind(0)
            checkpoints.save_best(best.step, params, {"value": best.value})
        finally:
            checkpoints.close()
        (path / CONFIG_FILE).write_text(to_json(config))
        numbers = group.lead.batches.user_numbers
        found = self._fingerprint(config)
        workflow.save_ids(self.split.sequences, path, found, numbers)
        write_environment(path)
        ranks = group.lead.rank(params, "test")
        saved_ranks.save(path, {None: ranks}, {})
        curve = {
            "history": group.history[member],
            "best_step": best.step,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        }
        (path / CURVE_FILE).write_text(json.dumps(curve) + "\n")
        rows = {config["model"]["name"]: ranks.summary()}
        # The last: a run that has it is done, for other processes too.
        partial = (path / TEST_FILE).with_suffix(".tmp")
        partial.write_text(json.dumps(rows, indent=1) + "\n")
        partial.rename(path / TEST_FILE)
