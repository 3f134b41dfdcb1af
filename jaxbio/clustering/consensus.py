"""One partition that is near all samples of the posterior.

The most probable of some samples has the errors of one draw in every place where the
posterior is undecided. The partition with the least expected variation of information
(VI) to the truth does not: it leaves together what most samples have together, and
makes no clusters of points that each sample puts elsewhere (Wade and Ghahramani,
Bayesian Analysis 13, 2018).

Where samples agree on little, one cluster of all points is nearer to them than any
other partition. `maxami` is for structure that weak: it takes what raises the adjusted
mutual information, for which one cluster counts nothing.
"""

import numpy as np
from scipy import linalg
from scipy.cluster import hierarchy, vq
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
    cuts, _ = _cuts(labels, shared)
    found = [*cuts, *np.unique(labels, axis=0)]
    losses = [expected_loss(row, labels) for row in found]
    return canonical(found[int(np.argmin(losses))][None])[0]


def maxami(labels: np.ndarray, shared: np.ndarray | None = None) -> np.ndarray:
    """The largest expected adjusted mutual information found with few clusters.

    Two blocks of a network that is near the threshold of detection are seen in this,
    where every sample tells little and their consensus nothing (`python -m
    benchmarks.clustering --only threshold`). Candidates are the cuts of the tree of
    `consensus` and, for each number of clusters, k-means on the leading eigenvectors of
    how often points are together: errors of single samples average out there. They have
    at most as many clusters as the median sample, or two. There is one cluster only if
    all samples have it.

    Expectations are taken apart, of the information above chance and of the entropies,
    as Fritsch and Ickstadt take them for the Rand index (Bayesian Analysis 4, 2009).
    The maximum of theirs, with points moved one by one to where it gains, was up to .03
    worse in blocks with a signal-to-noise ratio of 2.

    Args:
      labels: (S, n) int, samples.
      shared: (n, n), `together` of them, if it is known.

    Returns:
      (n,) int32, canonical.
    """
    most = max(int(np.median(labels.max(1))) + 1, 2)
    cuts, shared = _cuts(labels, shared)
    found = cuts[:most]
    if labels.max() and labels.shape[1] > 2:
        found += spectral(shared, most)
    best = max(found, key=lambda row: _expected_index(row, labels))
    return canonical(best[None])[0]


def spectral(shared: np.ndarray, most: int) -> list[np.ndarray]:
    """Partitions into 2, 3, .. `most` clusters, by the eigenvectors of what is
    together, over the roots of its sums; rows are scaled to length one (Ng, Jordan and
    Weiss, 2001). K-means begins with Ward's clusters, so that nothing is drawn.

    Args:
      shared: (n, n), `together` of samples, n above 2.
      most: clusters; there are none into n or more.
    """
    n = len(shared)
    others = shared - np.diag(np.diag(shared))
    root = np.sqrt(np.maximum(others.sum(1), 1e-9))
    most = min(most, n - 1)
    _, vectors = linalg.eigh(
        others / root / root[:, None], subset_by_index=(n - most, n - 1)
    )
    partitions = []
    for count in range(2, most + 1):
        rows = vectors[:, -count:]
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        tree = hierarchy.linkage(rows, "ward")
        begin = hierarchy.cut_tree(tree, count)[:, 0]
        centres = [rows[begin == label].mean(0) for label in range(count)]
        _, own = vq.kmeans2(rows, np.stack(centres), minit="matrix")
        partitions.append(own)
    return partitions


def _cuts(labels, shared):
    """Cuts of the tree, from one cluster on; and what is together."""
    shared = together(labels) if shared is None else shared
    n, most = len(shared), int(labels.max()) + 1
    cuts = [np.arange(n)] if most >= n else []  # SciPy makes one cluster of this cut.
    if n > 1:
        tree = hierarchy.linkage(squareform(1 - shared, checks=False), "average")
        numbers = range(1, min(most, n - 1) + 1)
        cuts = [*hierarchy.cut_tree(tree, numbers).T, *cuts]
    return cuts, shared


def expected_loss(labels: np.ndarray, samples: np.ndarray) -> float:
    """Mean VI of labels (n,) to samples (S, n), in bits, less the samples' entropy.

    That does not depend on the labels. With H the entropy of shares of the points, it
    is the mean of 2 H(labels, sample) less H(labels).
    """
    return 2 * _both(labels, samples) - _entropy(np.bincount(labels) / len(labels))


def _expected_index(labels, samples):
    """Adjusted mutual information with samples, as `maxami` estimates it; 0 of one
    cluster. By chance two partitions into K and L have (K - 1)(L - 1) / 2n nats."""
    count, n = samples.shape
    width = int(samples.max()) + 1
    rows = samples + width * np.arange(count)[:, None]
    sizes = np.bincount(rows.ravel(), minlength=count * width)
    own, theirs = _entropy(np.bincount(labels) / n), _entropy(sizes / n) / count
    clusters = len(np.unique(labels)), np.count_nonzero(sizes) / count
    chance = (clusters[0] - 1) * (clusters[1] - 1) / (2 * n * np.log(2))
    gap = (own + theirs) / 2 - chance
    information = own + theirs - _both(labels, samples) - chance
    return information / gap if gap > 1e-9 else 0.0


def _both(labels, samples):
    """Mean entropy of labels (n,) and a sample together, in bits."""
    count, n = samples.shape
    width = int(samples.max()) + 1
    pairs = labels * width + samples  # every sample has its own range of them
    pairs = pairs + (int(labels.max()) + 1) * width * np.arange(count)[:, None]
    return _entropy(np.bincount(pairs.ravel()) / n) / count


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())
