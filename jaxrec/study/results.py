"""What the runs of a cell left behind, read back for the report."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrec.core.config import CONFIG_FILE
from jaxrec.eval import saved_ranks
from jaxrec.eval.metrics import per_case
from jaxrec.study.search import RESULT

TEST_FILE = "test.json"
CURVE_FILE = "curve.json"


class CellResult(NamedTuple):
    """A cell with all its seeds trained and tested.

    Attributes:
      name: "<arm>-<mode>".
      arm: of the cell.
      mode: of the cell.
      values: metric -> (seeds, users) on the test targets.
      histories: per seed, what was noted at each evaluation, see `Group`.
      best_steps: per seed.
      parameters: of one run.
      config: of the first seed.
      candidates: how many were compared.
    """

    name: str
    arm: str
    mode: str
    values: dict[str, np.ndarray]
    histories: list[list[dict[str, Any]]]
    best_steps: list[int]
    parameters: int
    config: dict[str, Any]
    candidates: int

    @property
    def seconds(self) -> float:
        """Of training one run, the mean over the seeds; evaluations left out."""
        return float(np.mean([rows[-1]["seconds"] for rows in self.histories]))


def read_cell(workdir: Path, name: str, seeds: Sequence[int]) -> CellResult:
    """Reads a cell whose seeds have all been tested."""
    path = workdir / name
    ranks, curves = [], []
    for seed in seeds:
        ranks.append(saved_ranks.load(path / f"seed-{seed}").rank)
        curves.append(json.loads((path / f"seed-{seed}" / CURVE_FILE).read_text()))
    each = [per_case(rank) for rank in ranks]
    searched = path / RESULT
    arm, _, mode = name.rpartition("-")
    return CellResult(
        name=name,
        arm=arm,
        mode=mode,
        values={key: np.stack([values[key] for values in each]) for key in each[0]},
        histories=[curve["history"] for curve in curves],
        best_steps=[curve["best_step"] for curve in curves],
        parameters=curves[0]["parameters"],
        config=json.loads((path / f"seed-{seeds[0]}" / CONFIG_FILE).read_text()),
        candidates=len(json.loads(searched.read_text())["candidates"])
        if searched.exists()
        else 1,
    )
