"""The whole study: every cell trained and tested, and a report.

    <workdir>/report.md, results.json, *.png      over all cells that are done
    <workdir>/<arm>-<mode>/seed-<n>/              a run like any other: `jaxrec.load` it
    <workdir>/<arm>-<mode>/training*/             states of a cell in training

The same command goes on where it stopped. More seeds or arms can be asked for later;
what is there is kept.
"""

import functools
import json
import shutil
import time
from collections.abc import Mapping, Sequence
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
from jaxrec.core.progress import duration
from jaxrec.data.splits import Split
from jaxrec.eval import saved_ranks
from jaxrec.eval.report import baselines
from jaxrec.study import plan, search
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
      "<cell>/recall@10", with the standard error over the seeds.

    Raises:
      ValueError: a config value that is unknown or impossible, or a cell that is there
        already with another configuration or on other data.
      Stopped: after SIGTERM or Ctrl-C, with everything saved.
    """
    path = Path(workdir)
    cells = plan.cells(config)
    search.check_options(config["study"])
    split = jaxrec.data.load(config["run"]["data"])
    mesh = parallel.make_mesh(config["run"]["parallel"]["model"])
    study = _Study(config, path, split, mesh, cells)
    path.mkdir(parents=True, exist_ok=True)
    (path / CONFIG_FILE).write_text(to_json(config))
    write_environment(path)
    return study.run()


class _Study:
    def __init__(self, config, path, split: Split, mesh, cells: Sequence[plan.Cell]):
        self.config, self.path, self.split, self.mesh = config, path, split, mesh
        self.cells = cells
        self.floors = baselines(config["run"], split, "test")
        for cell in cells:  # What is impossible is said before anything is trained.
            self._task(cell.mode, cell.run_config(cell.candidates[0], cell.seeds[0]))

    def run(self):
        done, began, trained = 0.0, time.monotonic(), 0.0
        whole = sum(self._cost(cell) for cell in self.cells)
        for number, cell in enumerate(self.cells, start=1):
            cost, missing = self._cost(cell), self._claim(cell)
            if missing:
                logging.info(
                    "Cell %d of %d, %s: seeds %s", number, len(self.cells), cell.name,
                    ", ".join(map(str, missing)),
                )  # fmt: skip
                self._train(cell, missing)
                trained += cost
                release_unused_memory()  # of the compiler
            done += cost
            rows = [read_cell(self.path, c.name, c.seeds) for c in self.cells[:number]]
            result = write_report(self.path, self.config, self.split, self.floors, rows)
            if trained and done < whole:
                left = (whole - done) * (time.monotonic() - began) / trained
                logging.info(
                    "%d of %d cells done, about %s left",
                    *(number, len(self.cells), duration(left)),
                )
        logging.info("The report is %s", self.path / "report.md")
        return result

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

    def _claim(self, cell) -> list[int]:
        """Checks that a cell's directory is of this cell; the seeds still to train."""
        path = self.path / cell.name
        about = {
            "run": cell.config,
            "candidates": list(cell.candidates),
            "data_fingerprint": self._fingerprint(cell.config),
        }
        if len(cell.candidates) > 1:
            names = ("halving", "grace", "reduction", "search_seeds")
            about["search"] = {name: self.config["study"][name] for name in names}
        check_same_run(about, path, ("run.parallel", "run.data.path", "run.data.cache"))
        return [s for s in cell.seeds if not (path / f"seed-{s}" / TEST_FILE).exists()]

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
        (path / TEST_FILE).write_text(json.dumps(rows, indent=1) + "\n")
