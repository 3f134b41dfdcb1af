"""Collapsed Gibbs sampling of a Dirichlet process mixture, compiled by numba.

The honest peer of an amortised posterior on points: it knows the prior and all its
parameters (CRP(alpha), means N(0, tau^2 I), noise N(0, sigma^2 I)) and samples the
exact posterior in the end. Neal, 2000, algorithm 3: every sweep takes each point out
and puts it back with its conditional probability, the means integrated out. It begins
with one cluster.
"""

from typing import NamedTuple

import numba
import numpy as np

_MOST = 64  # clusters


class Chain(NamedTuple):
    """What a chain found.

    Attributes:
        best: (n,) labels of the most probable state that was met.
        best_joint: Log joint probability of it with the points, up to a constant.
        last: (n,) labels after the last sweep.
    """

    best: np.ndarray
    best_joint: float
    last: np.ndarray


def cluster(
    points: np.ndarray,
    *,
    alpha: float,
    tau: float,
    sigma: float = 1.0,
    sweeps: int = 150,
    seed: int = 0,
) -> Chain:
    """Runs one chain on points (n, d)."""
    points = np.ascontiguousarray(points, np.float64)
    return Chain(*_run(points, alpha, tau**2, sigma**2, sweeps, seed))


@numba.njit(cache=True)
def _run(x, alpha, prior, noise, sweeps, seed):
    np.random.seed(seed)
    n, dims = x.shape
    labels = np.zeros(n, np.int64)
    counts = np.zeros(_MOST, np.int64)
    sums = np.zeros((_MOST, dims))
    squares = np.zeros(_MOST)
    for i in range(n):
        counts[0] += 1
        squares[0] += (x[i] * x[i]).sum()
        sums[0] += x[i]
    best, best_joint = labels.copy(), _joint(counts, sums, squares, alpha, prior, noise)
    weights = np.empty(_MOST)
    for _ in range(sweeps):
        for i in range(n):
            own = (x[i] * x[i]).sum()
            k = labels[i]
            counts[k] -= 1
            sums[k] -= x[i]
            squares[k] -= own
            empty, top = -1, -np.inf
            for j in range(_MOST):
                if counts[j] == 0:
                    if empty >= 0:
                        weights[j] = -np.inf
                        continue
                    empty = j
                share = alpha if counts[j] == 0 else float(counts[j])
                wide = noise + counts[j] * prior
                variance = noise + noise * prior / wide
                distance = 0.0
                for e in range(dims):
                    distance += (x[i, e] - prior * sums[j, e] / wide) ** 2
                weights[j] = np.log(share) - 0.5 * (
                    distance / variance + dims * np.log(variance)
                )
                top = max(top, weights[j])
            total = 0.0
            for j in range(_MOST):
                weights[j] = np.exp(weights[j] - top)
                total += weights[j]
            left = np.random.random() * total
            k = 0
            while left > weights[k] and k < _MOST - 1:
                left -= weights[k]
                k += 1
            labels[i] = k
            counts[k] += 1
            sums[k] += x[i]
            squares[k] += own
        joint = _joint(counts, sums, squares, alpha, prior, noise)
        if joint > best_joint:
            best, best_joint = labels.copy(), joint
    return best, best_joint, labels


@numba.njit(cache=True)
def _joint(counts, sums, squares, alpha, prior, noise):
    """log of the product over blocks of alpha Gamma(n) p(points), up to a constant."""
    total, dims = 0.0, sums.shape[1]
    for k in range(_MOST):
        n = counts[k]
        if n:
            wide = noise + n * prior
            fit = squares[k] / noise - prior * (sums[k] ** 2).sum() / (noise * wide)
            total += np.log(alpha) - 0.5 * (fit + dims * np.log(wide / noise))
            for i in range(1, n):
                total += np.log(i)
    return total
