"""How alike two partitions are: adjusted mutual information and adjusted Rand index.

Both are 1 for equal partitions and 0 on average for unrelated ones, and do not depend
on the names of clusters. In float64.
"""

import numpy as np
from scipy.special import gammaln


def contingency(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How many points every pair of clusters shares, (K, L) int64.

    Raises:
      ValueError: the labels are not two rows of the same length, or there are none.
    """
    true, found = np.asarray(true), np.asarray(found)
    if true.ndim != 1 or true.shape != found.shape or not len(true):
        raise ValueError(
            "labels: want two rows of the same length of 1 or more, got shapes "
            f"{true.shape} and {found.shape}"
        )
    _, rows = np.unique(true, return_inverse=True)
    _, columns = np.unique(found, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1), np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


def adjusted_rand(true: np.ndarray, found: np.ndarray) -> float:
    """The Rand index over pairs of points, adjusted for chance.

    Source: Hubert and Arabie, 1985, equation 5.

    Args:
      true: (n,) labels of any kind.
      found: (n,) labels.
    """
    table = contingency(true, found)

    def pairs(counts):
        return float((counts * (counts - 1) // 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    total = pairs(np.array([len(true)]))
    if rows in (0, total) and rows == columns:
        return 1.0  # All in one cluster or each alone, in both.
    expected = rows * columns / total
    return (both - expected) / ((rows + columns) / 2 - expected)


def adjusted_mutual_info(true: np.ndarray, found: np.ndarray) -> float:
    """Mutual information over the mean of the entropies, both less what chance gives.

    Source: Vinh, Epps and Bailey, 2010, equations 24a and 29, with the arithmetic mean.

    Args:
      true: (n,) labels of any kind.
      found: (n,) labels.

    Returns:
      At most 1; 1 if both are a single cluster, 0 if one of them is.
    """
    table = contingency(true, found)
    if table.size == 1:
        return 1.0
    a, b, n = table.sum(1), table.sum(0), table.sum()
    shared = table[table > 0] / n
    outer = np.outer(a, b)[table > 0] / n**2
    information = float((shared * np.log(shared / outer)).sum())
    mean = (_entropy(a / n) + _entropy(b / n)) / 2
    expected = _expected_information(a, b, n)
    gap = mean - expected
    # Each point alone in both: nothing but chance, and equal.
    return 1.0 if abs(gap) < 1e-14 * max(mean, 1) else (information - expected) / gap


def _entropy(shares):
    return float(-(shares * np.log(shares)).sum())


def _expected_information(a, b, n):
    """Mean of the mutual information over all tables with margins a and b."""
    total = 0.0
    for size, repeats in zip(*np.unique(a, return_counts=True), strict=True):
        for other, others in zip(*np.unique(b, return_counts=True), strict=True):
            k = np.arange(max(1, size + other - n), min(size, other) + 1)
            information = k / n * np.log(n * k / (size * other))
            log_share = (
                gammaln(size + 1)
                + gammaln(other + 1)
                + gammaln(n - size + 1)
                + gammaln(n - other + 1)
                - gammaln(n + 1)
                - gammaln(k + 1)
                - gammaln(size - k + 1)
                - gammaln(other - k + 1)
                - gammaln(n - size - other + k + 1)
            )
            total += repeats * others * float((information * np.exp(log_share)).sum())
    return total
