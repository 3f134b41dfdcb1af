"""Chooses how far scores lean towards what is bought often, on the validation targets.

See `jaxrec.retrieval.popularity_prior` for what is added and why.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from jaxrec.eval.floors import popularity_counts
from jaxrec.retrieval.popularity_prior import PopularityPrior
from jaxrec.tasks.ranking import RankingTask


def check_weights(config: Mapping[str, Any]) -> None:
    """Raises ValueError unless eval.popularity are weights above 0, if any."""
    weights = config["eval"]["popularity"]
    if not all(
        isinstance(weight, int | float) and 0 < weight < math.inf for weight in weights
    ):
        raise ValueError(
            f"eval.popularity: want weights above 0 (0 is tried anyway), got {weights}"
        )


def choose(task: RankingTask, params: Any) -> PopularityPrior | None:
    """The weights, of each size, with which validation is best.

    Tried are 0 and eval.popularity; of equal ones the least is taken. What is best is
    decided by train.monitor, as it is for the parameters.

    Args:
      task: its evaluation.
      params: the best ones.

    Returns:
      None where eval.popularity is empty.
    """
    tried = sorted({0.0, *task.config["eval"]["popularity"]})
    if tried == [0.0]:
        return None
    counts = popularity_counts(task.split)
    logs = np.log1p(counts).astype(np.float32)
    logs[0] = 0
    if task.features.names:
        logs[1:][counts[1:] == 0] = logs[1:][counts[1:] > 0].mean()
    monitor = task.config["train"]["monitor"]
    weights = {}
    for size in [size for size, _ in task.sizes] or [0]:
        # The whole model is not cut: it was compiled before.
        whole = not size or size == task.sizes[-1][0]
        of_size, own = (task, params) if whole else task.at_size(params, size)
        biases = [PopularityPrior(logs, {size: each}).bias(size) for each in tried]
        ranks = of_size.leaning(np.stack(biases)).rank(own, "valid")
        values = {}
        for weight, bias, each in zip(tried, biases, ranks, strict=True):
            figures = each.summary()
            if monitor not in figures:  # of sampled candidates
                figures = of_size.leaning(bias).evaluate(own, "valid", each)
            values[weight] = figures[monitor]
        weights[size] = max(values, key=values.get)
        logging.info(
            "Popularity prior%s, valid %s by weight: %s; takes %g",
            f" at size {size}" if size else "",
            monitor,
            ", ".join(f"{weight:g} {value:.5f}" for weight, value in values.items()),
            weights[size],
        )
    return PopularityPrior(logs, weights)
