"""Two models, each with one or several runs, compared user by user.

A run is a directory, or DIRECTORY@SIZE for a smaller size of a nested model. Runs of a
side are seeds of one model. What is compared is what the runs wrote when they were
tested (`jaxrec.eval.saved_ranks`): neither data nor model is loaded.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxrec.core.config import differences, unknown
from jaxrec.core.run_directory import IDS_FILE, check_is_run, read_config
from jaxrec.core.text_table import aligned
from jaxrec.eval import saved_ranks
from jaxrec.eval.metrics import per_case
from jaxrec.eval.paired import Difference, Figure, difference, figure

METRICS = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20")

# What may differ between runs whose test targets and candidates are the same.
_ELSEWHERE = ("path", "cache", "titles")
_PROTOCOL = ("mask", "ties", "repeat_targets", "max_users")


class Comparison(NamedTuple):
    """One metric of both models and their difference.

    Attributes:
        metric: Its name.
        one: Of the first model.
        other: Of the second.
        difference: Of the second minus the first.
    """

    metric: str
    one: Figure
    other: Figure
    difference: Difference


class _Tested(NamedTuple):
    ranks: saved_ranks.Ranks
    data: dict
    protocol: dict
    items: np.ndarray
    users: np.ndarray


def compare(
    one: Sequence[str | os.PathLike[str]],
    other: Sequence[str | os.PathLike[str]],
    metrics: Sequence[str] = METRICS,
) -> list[Comparison]:
    """Compares two models over the same test targets.

    Args:
        one: Runs of the first model, see the module.
        other: Runs of the second.
        metrics: Which, such as "recall@10".

    Raises:
        FileNotFoundError: A directory is no run, or has not been tested.
        ValueError: The runs are on other data, under another protocol or of other
            users; a metric is unknown.
    """
    sides = [[_read(str(run)) for run in runs] for runs in (one, other)]
    first, *rest = [
        *zip(one, sides[0], strict=True),
        *zip(other, sides[1], strict=True),
    ]
    for run, tested in rest:
        _check_same(*first, run, tested)
    values = [[per_case(tested.ranks.rank) for tested in side] for side in sides]
    found = []
    for metric in metrics:
        if metric not in values[0][0]:
            raise ValueError(unknown("metric", metric, values[0][0]))
        a, b = (np.stack([each[metric] for each in side]) for side in values)
        found.append(Comparison(metric, figure(a), figure(b), difference(a, b)))
    return found


def unlike_seeds(runs: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Keys, but for the seed, in which the configurations of runs differ."""
    first, *others = [read_config(_located(str(run))[0]) for run in runs]
    keys = {key for other in others for key in differences(first, other)}
    return sorted(keys - {"seed"})


def as_table(labels: tuple[str, str], found: Sequence[Comparison]) -> str:
    """The comparisons as aligned text; ± is a standard error over users and seeds."""
    heads = ["", *labels, "difference", "95 % interval", "p"]
    rows = [heads]
    for metric, one, other, change in found:
        low, high = change.interval
        rows.append(
            [
                metric,
                *(f"{x.mean:.4f} ± {x.se:.4f}" for x in (one, other)),
                f"{change.mean:+.4f}",
                f"{low:+.4f} to {high:+.4f}",
                f"{change.p:.3f}" if change.p >= 0.001 else "< 0.001",
            ]
        )
    return aligned(rows)


def _located(run: str) -> tuple[Path, int | None]:
    """The directory and the size that are meant."""
    sized = re.fullmatch(r"(.+)@(\d+)", run)
    if sized and not Path(run).exists():
        return Path(sized[1]), int(sized[2])
    return Path(run), None


def _read(run: str) -> _Tested:
    path, size = _located(run)
    check_is_run(path)
    config = read_config(path)
    if size == (config["model"].get("sizes") or [None])[-1]:
        size = None  # the whole model
    with np.load(path / IDS_FILE) as ids:
        items, users = ids["item_ids"], ids["user_ids"]
    return _Tested(
        saved_ranks.load(path, size),
        {key: x for key, x in config["data"].items() if key not in _ELSEWHERE},
        {key: config["eval"][key] for key in _PROTOCOL}
        | {"window": _masked_window(config)},
        items,
        users,
    )


def _masked_window(config) -> int | None:
    """How many of the last items are no candidates, where that is a number."""
    masks = config["eval"]["mask"] == "window"
    return config["batch"]["length"] if masks else None


def _check_same(run, tested, other_run, other):
    for what, here, there in (
        ("data", tested.data, other.data),
        ("eval", tested.protocol, other.protocol),
    ):
        for key, (one, two) in differences(here, there).items():
            raise ValueError(
                f"{run} and {other_run} cannot be compared: {what}.{key} is "
                f"{json.dumps(one)} there and {json.dumps(two)} here"
            )
    same = (
        np.array_equal(tested.items, other.items)
        and np.array_equal(tested.users, other.users)
        and np.array_equal(tested.ranks.user, other.ranks.user)
    )
    if not same:
        raise ValueError(
            f"{run} and {other_run} cannot be compared: their items or their tested "
            "users are others"
        )
