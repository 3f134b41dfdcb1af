"""Which candidate of a cell is best on validation: all of them, or successive halving.

Halving (Jamieson and Talwalkar, AISTATS 2016; the study's own search is its
asynchronous form, ASHA): after `grace` evaluations the best 1 / `reduction` of the
candidates go on, and so again whenever they have trained `reduction` times as long.
Candidates that differ in numbers only are members of one group; the rungs are common to
all groups.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from jaxrec.study.group import Group, is_scalar
from jaxrec.study.plan import Candidate, Cell
from jaxrec.tasks.ranking import RankingTask

MakeTask = Callable[[Mapping[str, Any]], RankingTask]
RESULT = "search.json"


class _Stage(NamedTuple):
    """A group and which candidates its members are, seeds together."""

    group: Group
    candidates: list[int]

    def scores(self) -> dict[int, float]:
        """The mean of the members' best values, by candidate."""
        seeds = len(self.group.tasks) // len(self.candidates)
        values = [self.group.value(i) for i in range(len(self.group.tasks))]
        return {
            candidate: sum(values[n * seeds : (n + 1) * seeds]) / seeds
            for n, candidate in enumerate(self.candidates)
        }

    def members(self, kept: Sequence[int]) -> list[int]:
        """Numbers of the members of some of the candidates."""
        seeds = len(self.group.tasks) // len(self.candidates)
        return [
            n * seeds + i
            for n, candidate in enumerate(self.candidates)
            if candidate in kept
            for i in range(seeds)
        ]


def check_options(study: Mapping[str, Any]) -> None:
    """Raises ValueError for options of the search that make no sense."""
    if study["search_seeds"] < 1:
        raise ValueError(f"study.search_seeds: want >= 1, got {study['search_seeds']}")
    if study["halving"] and (study["grace"] < 1 or study["reduction"] < 2):
        raise ValueError(
            "study: halving wants grace >= 1 and reduction >= 2, got "
            f"grace={study['grace']}, reduction={study['reduction']}"
        )


def best_candidate(
    cell: Cell, make_task: MakeTask, workdir: Path, study: Mapping[str, Any]
) -> Candidate:
    """The candidate of a cell with the best mean validation value over search seeds.

    Args:
      cell: with one candidate there is nothing to search.
      make_task: from a whole config to its task.
      workdir: gets the states while they train, and search.json: every candidate with
        its value and how far it was trained.
      study: halving, grace, reduction, search_seeds.
    """
    if len(cell.candidates) == 1:
        return cell.candidates[0]
    result = workdir / RESULT
    if result.exists():
        return json.loads(result.read_text())["best"]
    states = workdir / "search"
    first = cell.seeds[0]
    seeds = [first + i for i in range(study["search_seeds"])]

    def tasks(numbers):
        return [
            make_task(cell.run_config(cell.candidates[n], seed))
            for n in numbers
            for seed in seeds
        ]

    stages = [
        _Stage(Group(tasks(numbers), states / f"0-{i}", f"{cell.name} search"), numbers)
        for i, numbers in enumerate(_shapes(cell.candidates))
    ]
    scores: dict[int, float] = {}
    trained = dict.fromkeys(range(len(cell.candidates)), 0)
    train = cell.config["train"]
    rungs = _rungs(train, study, len(cell.candidates))
    for number, until in enumerate(rungs):
        for stage in stages:
            stage.group.train(until)
            scores |= stage.scores()
            trained |= dict.fromkeys(stage.candidates, until)
        alive = [candidate for stage in stages for candidate in stage.candidates]
        alive.sort(key=lambda candidate: (-scores[candidate], candidate))
        if number + 1 == len(rungs):
            break
        kept = alive[: math.ceil(len(alive) / study["reduction"])]
        logging.info(
            "%s: %d of %d candidates go on from step %d",
            *(cell.name, len(kept), len(alive), until),
        )
        stages = [
            _reduced(stage, kept, tasks, states / f"{number + 1}-{i}", cell.name)
            for i, stage in enumerate(stages)
            if set(kept) & set(stage.candidates)
        ]
    for stage in stages:
        stage.group.close()
    best = cell.candidates[alive[0]]
    rows = [
        {"candidate": candidate, "value": scores[n], "steps": trained[n]}
        for n, candidate in enumerate(cell.candidates)
    ]
    result.write_text(json.dumps({"best": best, "candidates": rows}, indent=1) + "\n")
    shutil.rmtree(states)
    logging.info("%s: best of %d candidates: %s", cell.name, len(rows), best)
    return best


def _shapes(candidates: Sequence[Candidate]) -> list[list[int]]:
    """Numbers of the candidates, those together that differ in scalars only."""
    groups: dict[str, list[int]] = {}
    for number, candidate in enumerate(candidates):
        shape = {k: v for k, v in candidate.items() if not is_scalar(k)}
        groups.setdefault(json.dumps(shape), []).append(number)
    return list(groups.values())


def _rungs(train, study, candidates) -> list[int]:
    """The steps after which candidates are compared, the last step at the end."""
    rungs, last = [], train["steps"]
    if study["halving"]:
        until = study["grace"] * train["eval_every"]
        while until < last and candidates > 1:
            rungs.append(until)
            until *= study["reduction"]
            candidates = math.ceil(candidates / study["reduction"])
    return [*rungs, last]


def _reduced(stage, kept, tasks, workdir, name):
    """The stage with those of its candidates that are kept."""
    numbers = [candidate for candidate in stage.candidates if candidate in kept]
    if numbers == stage.candidates:
        return stage
    members = stage.members(numbers)
    group = Group(tasks(numbers), workdir, f"{name} search", (stage.group, members))
    stage.group.close()
    return _Stage(group, numbers)
