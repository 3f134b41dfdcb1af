"""The exact posterior over partitions of a few points, by enumeration, in float64.

For a Chinese restaurant process with Gaussian clusters: means from N(0, tau^2 I) and
points from N(mean, sigma^2 I). This is what the models for small sets are checked
against: 877 partitions of 7 points, 4,140 of 8.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

from jaxbio.clustering.partitions import all_partitions


class Posterior(NamedTuple):
    """Every partition of a set of points and how probable it is.

    Attributes:
      labels: (P, n) int32, canonical.
      log_prob: (P,) float64, natural logarithms that sum to one as probabilities.
      log_evidence: of the points, in nats.
    """

    labels: np.ndarray
    log_prob: np.ndarray
    log_evidence: float

    @property
    def entropy(self) -> float:
        """In nats: the least mean of -log q(labels) that any q can have."""
        return float(-(np.exp(self.log_prob) * self.log_prob).sum())

    @property
    def coclustering(self) -> np.ndarray:
        """How probably two points share a cluster, (n, n)."""
        same = self.labels[:, :, None] == self.labels[:, None, :]
        return np.einsum("p,pij->ij", np.exp(self.log_prob), same)


def posterior(
    points: np.ndarray, alpha: float, tau: float, sigma: float = 1.0
) -> Posterior:
    """Enumerates all partitions of points (n, d), n at most 10.

    Raises:
      ValueError: more points, or an array of another shape.
    """
    points = np.asarray(points, float)
    if points.ndim != 2 or not 1 <= len(points) <= 10:
        raise ValueError(f"points: want 1 to 10 rows, got shape {points.shape}")
    n = len(points)
    masks = np.arange(1, 2**n)
    member = (masks[:, None] >> np.arange(n)) & 1
    score = np.zeros(2**n)  # of a block, by the bits of its members
    score[1:] = log_block(points, member, alpha, tau, sigma)
    labels = all_partitions(n)
    bits = 1 << np.arange(n)
    total = np.zeros(len(labels))
    for k in range(n):
        total += score[(labels == k) @ bits]
    total += gammaln(alpha) - gammaln(alpha + n)
    evidence = float(logsumexp(total))
    return Posterior(labels, total - evidence, evidence)


def log_block(
    points: np.ndarray, member: np.ndarray, alpha: float, tau: float, sigma: float
) -> np.ndarray:
    """log of alpha Gamma(size) p(points of the block), the mean integrated out.

    Args:
      points: (n, d).
      member: (..., n) 0 or 1, none without a member.
      alpha: concentration.
      tau: standard deviation of means.
      sigma: of points around their mean.

    Returns:
      (...), in nats; the product over blocks is the joint probability of labels and
      points, but for Gamma(alpha) / Gamma(alpha + n).
    """
    dims = points.shape[1]
    size = member.sum(-1)
    sums = member @ points
    squares = member @ (points**2).sum(1)
    wide = sigma**2 + size * tau**2
    fit = squares / sigma**2 - tau**2 * (sums**2).sum(-1) / (sigma**2 * wide)
    likelihood = -0.5 * (
        dims * size * np.log(2 * np.pi * sigma**2)
        + dims * np.log(wide / sigma**2)
        + fit
    )
    return np.log(alpha) + gammaln(size) + likelihood
