"""The rows that stand beside a model's figures: floors, and the ceiling if known."""

from collections.abc import Mapping
from typing import Any

from jaxrec.data import synthetic
from jaxrec.data.splits import Split
from jaxrec.eval import floors
from jaxrec.eval.metrics import Ranks, table


def floor_ranks(config: Mapping[str, Any], split: Split, part: str) -> dict[str, Ranks]:
    """Ranks under popularity and first-order transitions, masked as the run's own.

    Args:
        config: The whole configuration; reads batch.length and eval.
        split: The data.
        part: "test" or "valid".

    Returns:
        By name of the floor; {} where eval.floors is false. Ties of counts are ranked
        at their expected place whatever the run's own rule is: counts tie all the
        time, and the optimistic rule would flatter them.
    """
    options = config["eval"]
    if not options["floors"]:
        return {}
    protocol = {
        "mask": options["mask"],
        "window": config["batch"]["length"] if options["mask"] == "window" else None,
        "repeat_targets": options["repeat_targets"],
    }
    return {
        "popularity": floors.popularity_ranks(split, part, **protocol),
        "transitions": floors.transition_ranks(split, part, **protocol),
    }


def ceiling(config: Mapping[str, Any], split: Split, part: str) -> dict[str, dict]:
    """The row "ceiling", for data whose generator knows the best possible prediction;
    {} for others."""
    if config["data"]["name"] != "synthetic":
        return {}
    return {"ceiling": synthetic.ceiling(config["data"], split, part)}


def baselines(config: Mapping[str, Any], split: Split, part: str) -> dict[str, dict]:
    """Metrics by row name of `floor_ranks` and `ceiling`."""
    found = floor_ranks(config, split, part)
    rows = {name: ranks.summary() for name, ranks in found.items()}
    return rows | ceiling(config, split, part)


def format_results(rows: Mapping[str, Mapping[str, float]]) -> str:
    """The rows as an aligned table; shares of the ceiling where there is one."""
    return table(rows, relative_to="ceiling" if "ceiling" in rows else None)
