"""One partition that is near all samples of the posterior.

The most probable of some samples has the errors of one draw in every place where the
posterior is undecided. The partition with the least expected variation of information
(VI) to the truth does not: it leaves together what most samples have together, and
makes no clusters of points that each sample puts elsewhere (Wade and Ghahramani,
Bayesian Analysis 13, 2018).

Where samples agree on little, one cluster of all points is nearer to them than any
other partition. `maxpear` is for structure that weak: it takes what raises the adjusted
Rand index, for which one cluster counts nothing.
"""

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from jaxbio.clustering.partitions import canonical


def together(labels: np.ndarray) -> np.ndarray:
    """Share of rows (S, n) in which two points have the same label, (n, n)."""
    total = np.zeros((labels.shape[1],) * 2)
    for label in range(labels.max() + 1):
        member = (labels == label).astype(np.float32)
        total += member.T @ member
    return total / len(labels)


def consensus(labels: np.ndarray, shared: np.ndarray | None = None) -> np.ndarray:
    """The best of the samples and of the cuts of a tree.

    The tree joins clusters by the average of how often their points are together, and
    is cut into 1 cluster up to as many as a sample has. Best is what has the smallest
    mean VI to the samples; of equals fewer clusters, and cuts before samples.

    Wade and Ghahramani look for the smallest bound of it (their equation 13), which
    needs the matrix only. It is loose where the posterior is wide, and then joins too
    much.

    Args:
      labels: (S, n) int, samples.
      shared: (n, n), `together` of them, if it is known.

    Returns:
      (n,) int32, canonical.
    """
    found, _ = _candidates(labels, shared)
    losses = [expected_loss(row, labels) for row in found]
    return canonical(found[int(np.argmin(losses))][None])[0]


def maxpear(labels: np.ndarray, shared: np.ndarray | None = None) -> np.ndarray:
    """The largest expected adjusted Rand index found with few clusters.

    As Fritsch and Ickstadt estimate the index (PEAR, Bayesian Analysis 4, 2009). Two
    blocks of a network that is near the threshold of detection are seen in this, where
    every sample tells little and their consensus nothing (`python -m
    benchmarks.clustering --only threshold`). From the best of the candidates of
    `consensus`, points move one by one for as long as the index grows. There are at
    most as many clusters as the median sample has, or two, which differs from the
    authors: without a limit, or in a cut of the tree alone, points that fit nowhere
    become clusters. There is one cluster only if all samples have it.

    Args:
      labels: (S, n) int, samples.
      shared: (n, n), `together` of them, if it is known.

    Returns:
      (n,) int32, canonical.
    """
    found, shared = _candidates(labels, shared)
    start = max(found, key=lambda row: _expected_rand(row, shared))
    most = max(int(np.median(labels.max(1))) + 1, 2)
    return canonical(_exchanged(start, shared, most)[None])[0]


def _exchanged(labels, shared, most, sweeps=20):
    """Points moved, in order and again, to where the index gains; `most` clusters.

    The index is a ratio (both - chance) / gap. Dinkelbach: while it is r, whatever
    raises (both - chance) - r gap raises it too, and in that a point gains in a cluster
    what it shares with each member, less a price for each.
    """
    n = len(labels)
    by_size = np.argsort(-np.bincount(labels), kind="stable")
    own = np.minimum(np.argsort(by_size)[labels], most - 1)  # small ones are joined
    members = np.eye(most)[own]
    others = shared - np.diag(np.diag(shared))
    sums, sizes = others @ members, members.sum(0)
    rate = others.sum() / max(n * (n - 1), 1)
    for _ in range(sweeps):
        index = _expected_rand(own, shared)
        price = rate + index * (0.5 - rate)
        before = own.copy()
        for point, old in enumerate(before):
            sizes[old] -= 1
            gains = sums[point] - price * sizes
            new = int(gains.argmax())
            if gains[new] <= gains[old] + 1e-9:
                new = old
            else:
                sums[:, old] -= others[point]
                sums[:, new] += others[point]
            sizes[new] += 1
            own[point] = new
        if (own == before).all():
            break
    return own


def _candidates(labels, shared):
    """Cuts of the tree, from one cluster on, then samples; and what is together."""
    shared = together(labels) if shared is None else shared
    samples = list(np.unique(labels, axis=0))
    if len(samples) == 1:
        return samples, shared
    apart = squareform(1 - shared, checks=False)
    tree = hierarchy.linkage(apart, "average")
    most = min(len(shared), int(labels.max()) + 1)
    return [*hierarchy.cut_tree(tree, range(1, most + 1)).T, *samples], shared


def _expected_rand(labels, shared):
    """Adjusted Rand index with pairs that are together for a part; 0 of one cluster."""
    n = len(labels)
    members = (labels[:, None] == np.unique(labels)).astype(shared.dtype)

    def pairs(total):
        return (float(total) - n) / 2

    own = pairs((members.sum(0) ** 2).sum())
    both = pairs(((shared @ members) * members).sum())
    all_shared = pairs(shared.sum())
    chance = own * all_shared / max(n * (n - 1) / 2, 1)
    gap = (own + all_shared) / 2 - chance
    return (both - chance) / gap if gap > 1e-9 * n * n else 0.0


def expected_loss(labels: np.ndarray, samples: np.ndarray) -> float:
    """Mean VI of labels (n,) to samples (S, n), in bits, less the samples' entropy.

    That does not depend on the labels. With H the entropy of shares of the points, it
    is the mean of 2 H(labels, sample) less H(labels).
    """
    count, n = samples.shape
    width = int(samples.max()) + 1
    pairs = labels * width + samples  # every sample has its own range of them
    pairs = pairs + (int(labels.max()) + 1) * width * np.arange(count)[:, None]
    both = _entropy(np.bincount(pairs.ravel()) / n) / count
    return 2 * both - _entropy(np.bincount(labels) / n)


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())
