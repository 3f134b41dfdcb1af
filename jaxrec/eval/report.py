"""The rows that stand beside a model's figures: floors, and the ceiling if known."""

from collections.abc import Mapping
from typing import Any

from jaxrec.data import synthetic
from jaxrec.data.splits import Split
from jaxrec.eval import floors
from jaxrec.eval.metrics import table


def baselines(config: Mapping[str, Any], split: Split, part: str) -> dict[str, dict]:
    """Popularity and first-order transitions under the run's own masking.

    Args:
        config: The whole configuration; reads data, batch.length and eval.
        split: The data.
        part: "test" or "valid".

    Returns:
        Metrics by row name: "popularity", "transitions", and "ceiling" for data whose
        generator knows the best possible prediction. Ties of counts are ranked at their
        expected place whatever the run's own rule is: counts tie all the time, and
        the optimistic rule would flatter them.
    """
    options = config["eval"]
    rows = {}
    if options["floors"]:
        protocol = {
            "mask": options["mask"],
            "window": config["batch"]["length"]
            if options["mask"] == "window"
            else None,
            "repeat_targets": options["repeat_targets"],
        }
        rows["popularity"] = floors.popularity_ranks(split, part, **protocol).summary()
        rows["transitions"] = floors.transition_ranks(split, part, **protocol).summary()
    if config["data"]["name"] == "synthetic":
        rows["ceiling"] = synthetic.ceiling(config["data"], split, part)
    return rows


def format_results(rows: Mapping[str, Mapping[str, float]]) -> str:
    """The rows as an aligned table; shares of the ceiling where there is one."""
    return table(rows, relative_to="ceiling" if "ceiling" in rows else None)
