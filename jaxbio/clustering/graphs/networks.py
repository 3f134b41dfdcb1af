"""Sparse graphs whose nodes differ in degree, as networks that people study do.

A degree-corrected stochastic block model (Karrer and Newman, Phys. Rev. E 83, 2011) of
which everything is drawn for each graph: from communities that nobody can see to ones
that are almost apart, of equal or very different sizes.

    an edge between i and j: probability ~ theta_i theta_j b[block of i, block of j]

`mixing` is what a random walk keeps of its block in a step: with k equal blocks b is
1 + (k - 1) m inside to 1 - m across, so that the signal-to-noise ratio of
`symmetric_sbm` is the mean degree times m squared.

Real communities have a shape inside: friends of friends are friends, which a block
model lacks, so that what is trained on it takes every dense corner for a community of
its own. In a share of the graphs nodes therefore have places, and those of one block
know whom they are near to.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxbio.clustering.graphs import inputs
from jaxbio.clustering.graphs.features import Features
from jaxbio.clustering.graphs.sbm import check_range, check_sizes, graph_between

size_of, inputs_of = inputs.size_of, inputs.inputs_of

_NODES = 5  # that a block has on average at least


@dataclasses.dataclass(frozen=True)
class Config:
    """Ranges that graphs are drawn from, ends included.

    Attributes:
      min_points: fewest nodes; sizes are uniform in their logarithm.
      max_points: most nodes, the N of all arrays.
      max_clusters: most blocks, and at most a fifth of the nodes; small numbers are
        more probable, as the square of a uniform one is.
      single: the share of graphs that are one block, and the law above for numbers from
        two on; None for the law from one on.
      evenness: of the Dirichlet distribution of the blocks' shares, uniform in its
        logarithm: 1 is flat, the larger the more equal they are.
      degree: mean degrees, uniform in their logarithm and at most a third of the nodes.
      mixing: m, uniform.
      uneven: sd of the logarithm of factors on the rates of single pairs of blocks.
      spread: sds of the logarithm of theta, uniform.
      local: the share of graphs in which nodes of a block have places in the plane,
        normal with an sd of 1, and rates fall with the distance as a bell does.
      reach: sds of that bell, uniform in their logarithm.
      features: columns of the nodes.
    """

    min_points: int = 30
    max_points: int = 300
    max_clusters: int = 16
    single: float | None = None
    evenness: tuple[float, float] = (0.5, 20.0)
    degree: tuple[float, float] = (3.0, 40.0)
    mixing: tuple[float, float] = (0.2, 0.95)
    uneven: float = 0.4
    spread: tuple[float, float] = (0.0, 1.0)
    local: float = 0.0
    reach: tuple[float, float] = (0.3, 3.0)
    features: Features = Features()

    def __post_init__(self):
        check_sizes(self.min_points, self.max_points)
        if self.max_clusters < 1 or self.uneven < 0:
            raise ValueError(
                f"generator.max_clusters: want 1 or more, got {self.max_clusters}; "
                f"uneven: want 0 or more, got {self.uneven}"
            )
        for name in ("evenness", "degree", "mixing", "spread", "reach"):
            positive = name in ("evenness", "degree", "reach")
            check_range(name, getattr(self, name), 0, above=positive)
        if self.mixing[1] > 1:
            raise ValueError(f"generator.mixing: want at most 1, got {self.mixing}")
        for name in ("single", "local"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise ValueError(
                    f"generator.{name}: want a share, got {getattr(self, name)}"
                )


def draw(key: jax.Array, cfg: Config) -> dict:
    """Draws one graph, as `jaxbio.clustering.graphs.sbm.draw` does."""
    keys = jax.random.split(key, 7)
    most, clusters = cfg.max_points, cfg.max_clusters
    u = jax.random.uniform(keys[0], (9,))
    size = jnp.round(_between(u[0], cfg.min_points, most)).astype(jnp.int32)
    highest = jnp.clip(size // _NODES, 1, clusters)
    least = 1 if cfg.single is None else 2
    k = least + jnp.floor(u[1] ** 2 * (highest + 1 - least)).astype(jnp.int32)
    if cfg.single is not None:
        k = jnp.where((u[8] < cfg.single) | (highest < 2), 1, k)
    degree = jnp.minimum(_between(u[2], *cfg.degree), size / 3)
    mixing = cfg.mixing[0] + (cfg.mixing[1] - cfg.mixing[0]) * u[3]
    spread = cfg.spread[0] + (cfg.spread[1] - cfg.spread[0]) * u[4]
    shares = jax.random.loggamma(
        keys[1], jnp.full(clusters, _between(u[5], *cfg.evenness))
    )
    shares = jnp.where(jnp.arange(clusters) < k, shares, -jnp.inf)
    blocks = jax.random.categorical(keys[2], shares, shape=(most,))
    valid = jnp.arange(most) < size
    labels = jnp.where(valid, blocks, -1).astype(jnp.int32)
    normal = jax.random.normal(keys[3], (clusters * clusters + most,))
    theta = jnp.exp(spread * normal[:most]) * valid
    factors = jnp.tril(normal[most:].reshape(clusters, clusters))
    factors = jnp.exp(cfg.uneven * (factors + jnp.tril(factors, -1).T))
    same = jnp.eye(clusters, dtype=bool)
    rates = jnp.where(same, 1 + (k - 1) * mixing, 1 - mixing) * factors
    member = jax.nn.one_hot(labels, clusters) * theta[:, None]
    wanted = jnp.linalg.multi_dot(
        (member, rates, member.T), precision=jax.lax.Precision.HIGHEST
    )
    if cfg.local:
        reach = jnp.where(u[6] < cfg.local, _between(u[7], *cfg.reach), jnp.inf)
        wanted = wanted * _nearness(keys[6], labels, reach)
    wanted = wanted * (size * degree / jnp.maximum(wanted.sum(), 1e-9))
    return graph_between(keys[4], keys[5], labels, wanted, cfg.features)


def _nearness(key: jax.Array, labels: jax.Array, reach: jax.Array) -> jax.Array:
    """Factors (N, N) on rates: of a block's pairs 1 in the mean, across 1."""
    places = jax.random.normal(key, (len(labels), 2))
    squares = ((places[:, None] - places) ** 2).sum(-1)
    inside = (labels[:, None] == labels) & (labels >= 0)
    near = jnp.where(inside, jnp.exp(-squares / (2 * reach**2)), 0)
    return jnp.where(inside, near * inside.sum() / jnp.maximum(near.sum(), 1e-9), 1)


def _between(share: jax.Array, least: float, most: float) -> jax.Array:
    """From `least` to `most`, evenly in the logarithm."""
    return least * (most / least) ** share
