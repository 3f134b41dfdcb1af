"""What each size of a nested model is worth, and what it costs.

Figures are those of the run's own test. A size is served as `jaxrec.nested.cut` would
write it, and all are timed in turn within a round, so that what the machine does to a
round it does to all.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxrec.core import timing
from jaxrec.core.run_directory import IDS_FILE
from jaxrec.eval.saved_ranks import check_tested
from jaxrec.models import serving_module
from jaxrec.nested.run import NestedRun
from jaxrec.serve.backbone import from_model
from jaxrec.serve.ids import ItemIds
from jaxrec.serve.recommender import Recommender

METRICS = ("recall@10", "ndcg@10")
Row = dict[str, Any]


def measure_sizes(run: NestedRun, k: int = 10, rounds: int = 200) -> list[Row]:
    """One row per size of a run, ascending.

    Args:
        run: As from `jaxrec.nested.run.read_run`.
        k: Size of the answers that are timed.
        rounds: How often each size is timed.

    Returns:
        Per size: "size"; the metrics of `METRICS` with their standard errors "_se";
        "parameters", without features, and "bytes", as they are served; "state_bytes"
        of one user; "step_s" and "top_s", median seconds for one user, and the 99th
        percentiles "step_p99_s" and "top_p99_s".

    Raises:
        FileNotFoundError: The run has not been tested yet.
        ValueError: k is larger than the catalogue.
    """
    tested = _tested(run)
    served = {size: _recommender(run, size) for size in run.sizes}
    steps = timing.compare(
        {str(size): _step(one) for size, one in served.items()}, rounds, 20
    )
    tops = timing.compare(
        {str(size): _top(one, k) for size, one in served.items()}, rounds, 20
    )
    rows = []
    for size, figures in zip(run.sizes, tested, strict=True):
        _, params = _folded(run, size)
        leaves, name = jax.tree.leaves(params), str(size)
        state = jax.tree.leaves(served[size].start()["model"])
        rows.append(
            {
                "size": size,
                **{key: figures[key] for key in _with_errors(METRICS)},
                "parameters": sum(leaf.size for leaf in leaves),
                "bytes": sum(leaf.nbytes for leaf in leaves),
                "state_bytes": sum(leaf.nbytes for leaf in state),
                "step_s": steps.seconds(name),
                "step_p99_s": steps.seconds(name, 99),
                "top_s": tops.seconds(name),
                "top_p99_s": tops.seconds(name, 99),
            }
        )
    return rows


def _tested(run: NestedRun) -> list[dict[str, float]]:
    """Test figures by size."""
    path, name = run.path / "test.json", run.config["model"]["name"]
    check_tested(run.path, path.name)
    rows = json.loads(path.read_text())
    *smaller, _ = run.sizes
    return [rows[row] for row in [*(f"{name}@{size}" for size in smaller), name]]


def _folded(run: NestedRun, size: int) -> tuple[Any, Any]:
    cfg, params = run.model.truncate(run.params, run.cfg, size)
    return run.model.tabulate(params, cfg)


def _recommender(run: NestedRun, size: int) -> Recommender:
    cfg, params = _folded(run, size)
    serving = serving_module(run.config["model"]["name"])
    with np.load(run.path / IDS_FILE) as arrays:
        ids = ItemIds(arrays["item_ids"])
    return Recommender(from_model(run.model, cfg, params, serving=serving), ids)


def _step(recommender: Recommender) -> Callable[[], Any]:
    state, (item,) = recommender.start(), recommender.ids.raw([1])
    return lambda: recommender.observe(state, item)


def _top(recommender: Recommender, k: int) -> Callable[[], Any]:
    item = recommender.ids.raw([1])[0]
    state = recommender.observe(recommender.start(), item)
    return lambda: recommender.top(state, k)


def _with_errors(metrics: Sequence[str]) -> list[str]:
    return [key for metric in metrics for key in (metric, f"{metric}_se")]
