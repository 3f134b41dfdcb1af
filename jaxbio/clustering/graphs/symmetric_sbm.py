"""Graphs of the symmetric stochastic block model, at a range of difficulties.

There are k blocks of the same size, with an edge of probability c_in / N inside and
c_out / N between them, so all nodes have the same mean degree c and blocks show in who
is tied to whom only: c = (c_in + (k - 1) c_out) / k. Efficient detection is thought
possible only above 1, the threshold of Kesten and Stigum (Decelle, Krzakala, Moore and
Zdeborova, 2011), of the signal-to-noise ratio (c_in - c_out)^2 / (k^2 c).
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxbio.clustering.graphs import inputs, propagation
from jaxbio.clustering.graphs.features import Features
from jaxbio.clustering.graphs.sbm import check_range, check_sizes, graph_of

size_of, inputs_of = inputs.size_of, inputs.inputs_of
refine = propagation.refine


@dataclasses.dataclass(frozen=True)
class Config:
    """Ranges that graphs are drawn from uniformly, ends included.

    The benchmark of five blocks of Chen, Li and Bruna, ICLR 2019, without edges inside
    blocks, is min_points = max_points = 400, clusters (5, 5), degree (14.4, 14.4),
    ratio (0.9, 0.9), disassortative 1.

    Attributes:
      min_points: fewest nodes.
      max_points: most nodes, the N of all arrays.
      clusters: numbers of blocks.
      degree: mean degrees.
      ratio: signal-to-noise ratios. One that a mean degree cannot have, because no
        probability is below 0 or above 1, becomes the largest that it can have.
      disassortative: probability of fewer edges inside than between blocks.
      features: columns of the nodes.
    """

    min_points: int = 300
    max_points: int = 300
    clusters: tuple[int, int] = (2, 5)
    degree: tuple[float, float] = (4.0, 12.0)
    ratio: tuple[float, float] = (1.0, 5.0)
    disassortative: float = 0.0
    features: Features = Features()

    def __post_init__(self):
        check_sizes(self.min_points, self.max_points)
        for name, least in (("clusters", 1), ("degree", 0), ("ratio", 0)):
            check_range(name, getattr(self, name), least)
        if not 0 <= self.disassortative <= 1:
            raise ValueError(f"disassortative: {self.disassortative} is no probability")

    @property
    def max_clusters(self) -> int:
        """Most blocks."""
        return self.clusters[1]


def signal_to_noise(clusters: int, c_in: float, c_out: float) -> float:
    """(c_in - c_out)^2 / (k (c_in + (k - 1) c_out)) of k = `clusters` blocks."""
    return (c_in - c_out) ** 2 / (clusters * (c_in + (clusters - 1) * c_out))


def rates(
    clusters: jax.Array, degree: jax.Array, ratio: jax.Array, sign: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(c_in, c_out) with a mean degree and a signal-to-noise ratio, neither below 0.

    Args:
      clusters: number k of blocks.
      degree: c.
      ratio: signal-to-noise ratio; less if it cannot be had.
      sign: 1 for more edges inside blocks, -1 for fewer.
    """
    gap = sign * clusters * jnp.sqrt(degree * ratio)
    least = -degree * clusters / jnp.maximum(clusters - 1, 1)
    gap = jnp.clip(gap, least, degree * clusters)
    gap = jnp.where(clusters == 1, 0, gap)
    return degree + gap * (clusters - 1) / clusters, degree - gap / clusters


def draw(key: jax.Array, cfg: Config) -> dict:
    """Draws one graph, as `jaxbio.clustering.graphs.sbm.draw` does."""
    keys = jax.random.split(key, 7)
    size = jax.random.randint(keys[0], (), cfg.min_points, cfg.max_points + 1)
    k = jax.random.randint(keys[1], (), cfg.clusters[0], cfg.clusters[1] + 1)
    degree = jax.random.uniform(keys[2], (), minval=cfg.degree[0], maxval=cfg.degree[1])
    ratio = jax.random.uniform(keys[3], (), minval=cfg.ratio[0], maxval=cfg.ratio[1])
    sign = 1 - 2 * jax.random.bernoulli(keys[4], cfg.disassortative)
    c_in, c_out = rates(k, degree, ratio, sign)
    index = jnp.arange(cfg.max_points)
    labels = jnp.where(index < size, index % k, -1).astype(jnp.int32)
    same = jnp.eye(cfg.clusters[1], dtype=bool)
    # uniform() < p takes a probability above 1 for 1.
    probabilities = jnp.where(same, c_in, c_out) / size
    return graph_of(keys[5], keys[6], labels, probabilities, cfg.features)
