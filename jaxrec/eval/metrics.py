"""Recall, NDCG and MRR from the ranks of the targets, with standard errors.

A case has one target, so with its rank r (0 is best) and a list of k items

    recall@k = 1            (the hit rate)
    ndcg@k   = 1 / log2(r + 2)
    mrr@k    = 1 / (r + 1)

if r < k, else 0. A rank may be fractional: under the "expected" rule for ties a target
with 2 better items and 3 equal ones is at 2 + 3 / 2. The formulas are then used as they
stand (Järvelin and Kekäläinen, TOIS 2002, at a real r), so recall stays 0 or 1: this is
the value at the expected rank, not the expectation over the orders of the tied items.

Figures are means over cases, every case weighing the same. (The released code of
LRURec averages means of batches; with a smaller last batch that is another number.)
The standard error is the sample deviation (n - 1) over sqrt(n): the error that comes
from having these users and not others. It says nothing about the random seed of the
training.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jaxrec.core.text_table import aligned

KS = (1, 5, 10, 20, 50)
NAMES = ("recall", "ndcg", "mrr")


@dataclasses.dataclass(frozen=True, eq=False)
class Ranks:
    """Where the targets of a list of cases were ranked.

    Attributes:
        user: (n,) int32 user numbers, in the order of the cases.
        rank: (n,) float64 0-based ranks, possibly fractional.
        prefix: Put before the name of every metric, such as "sampled100/".
    """

    user: np.ndarray
    rank: np.ndarray
    prefix: str = ""

    def summary(self, ks: Sequence[int] = KS) -> dict[str, float]:
        """`summary` of the ranks, under the prefix."""
        return {self.prefix + key: x for key, x in summary(self.rank, ks).items()}

    def where(self, chosen: np.ndarray) -> "Ranks":
        """Those of the cases where (n,) bool says so."""
        return Ranks(self.user[chosen], self.rank[chosen], self.prefix)


def per_case(rank: np.ndarray, ks: Sequence[int] = KS) -> dict[str, np.ndarray]:
    """The value of every metric for every case.

    Args:
        rank: (n,) 0-based ranks of the targets.
        ks: List lengths, each at least 1.

    Returns:
        "recall@k", "ndcg@k" and "mrr@k" for each k, (n,) float64.

    Raises:
        ValueError: A rank is negative or not a number, or a k is below 1.
    """
    rank = np.asarray(rank, np.float64)
    wrong = np.flatnonzero(~(rank >= 0))
    if len(wrong):
        raise ValueError(
            f"ranks must be 0 or more, got {rank[wrong[0]]} for case {wrong[0]}"
        )
    if min(ks) < 1:
        raise ValueError(f"list lengths must be 1 or more, got {tuple(ks)}")
    gains = (np.ones_like(rank), 1 / np.log2(rank + 2), 1 / (rank + 1))
    return {
        f"{name}@{k}": np.where(rank < k, gain, 0.0)
        for name, gain in zip(NAMES, gains, strict=True)
        for k in ks
    }


def summary(rank: np.ndarray, ks: Sequence[int] = KS) -> dict[str, float]:
    """Means of the metrics over the cases, and their standard errors.

    Args:
        rank: (n,) 0-based ranks of the targets; cases of different users.
        ks: List lengths.

    Returns:
        "recall@k", "ndcg@k", "mrr@k" and the standard error of each under the same
        key + "_se" (NaN for a single case).

    Raises:
        ValueError: There are no cases, or as `per_case`.
    """
    if not len(rank):
        raise ValueError("no cases to average over")
    result = {}
    for key, values in per_case(rank, ks).items():
        result[key] = float(values.mean())
        result[f"{key}_se"] = standard_error(values)
    return result


def standard_error(values: np.ndarray) -> float:
    """Sample deviation over sqrt(n) of (n,) values; NaN for n = 1."""
    n = len(values)
    return float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def table(
    rows: Mapping[str, Mapping[str, float]],
    columns: Sequence[str] = ("recall@10", "ndcg@10", "recall@20", "ndcg@20"),
    relative_to: str | None = None,
) -> str:
    """Several results side by side, as aligned text.

    Args:
        rows: Label -> a result of `summary`; a column it lacks is shown as "-".
        columns: Keys of the metrics to show.
        relative_to: Label of a row; each figure then also shows its share of the
            figure of that row, in percent.

    Returns:
        One line of column names and one per row, figures as "0.3264 ± 0.0060".

    Raises:
        ValueError: `relative_to` is not a row.
    """
    if relative_to is not None and relative_to not in rows:
        raise ValueError(
            f"relative_to={relative_to!r} is not a row; rows are {list(rows)}"
        )

    def cell(row, column):
        value = row.get(column)
        if value is None:
            return "-"
        error = row.get(f"{column}_se")
        text = f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"
        whole = rows[relative_to].get(column) if relative_to is not None else None
        return f"{text} ({100 * value / whole:3.0f} %)" if whole else text

    grid = [["", *columns]]
    grid += [
        [label, *(cell(row, key) for key in columns)] for label, row in rows.items()
    ]
    return aligned(grid)
