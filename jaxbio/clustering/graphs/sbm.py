"""Graphs of the general stochastic block model, drawn in JAX.

Blocks come from a Chinese restaurant process and every pair of blocks has its own
probability of an edge, so blocks differ in size, density and degree, and some have more
edges to another block than inside. Data of the Attentive Clustering Process (Pakman et
al., 2020), except that every graph has its own partition, where theirs share one in a
batch.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxbio.clustering import partitions
from jaxbio.clustering.graphs import inputs
from jaxbio.clustering.graphs.features import Features, node_features

size_of, inputs_of = inputs.size_of, inputs.inputs_of


@dataclasses.dataclass(frozen=True)
class Config:
    """Priors of size, partition and edges.

    Attributes:
      min_points: fewest nodes.
      max_points: most nodes, the N of all arrays.
      alpha: concentration of the Chinese restaurant process.
      max_clusters: most blocks; partitions with more are drawn again.
      within: parameters of the Beta distribution of an edge inside a block.
      between: the same for an edge between two blocks.
      features: columns of the nodes.
    """

    min_points: int = 50
    max_points: int = 299
    alpha: float = 0.7
    max_clusters: int = 12
    within: tuple[float, float] = (6.0, 3.0)
    between: tuple[float, float] = (1.0, 5.0)
    features: Features = Features()

    def __post_init__(self):
        check_sizes(self.min_points, self.max_points)
        for name in ("within", "between"):
            value = getattr(self, name)
            if len(value) != 2 or min(value) <= 0:
                raise ValueError(f"{name}: want two numbers above 0, not {value}")
        if self.alpha <= 0 or self.max_clusters < 1:
            raise ValueError(
                f"alpha: {self.alpha} must be above 0 and max_clusters: "
                f"{self.max_clusters} at least 1"
            )


def check_sizes(least: int, most: int) -> None:
    """Raises ValueError unless 2 <= min_points <= max_points."""
    if not 2 <= least <= most:
        raise ValueError(
            "min_points, max_points: want 2 <= min_points <= max_points, not "
            f"{least}, {most}"
        )


def check_range(
    name: str, value: tuple[float, float], least: float, above: bool = False
) -> None:
    """Raises ValueError unless these are two numbers, the smaller first.

    Args:
      name: of the setting.
      value: the ends of a range.
      least: what the smaller is at least, or, if `above`, more than.
      above: see `least`.
    """
    ordered = len(value) == 2 and least <= value[0] <= value[1]
    if not ordered or (above and value[0] == least):
        wanted = f"above {least}" if above else f"of at least {least}"
        raise ValueError(
            f"generator.{name}: want two numbers {wanted}, the smaller first, got "
            f"{value}"
        )


def draw(key: jax.Array, cfg: Config) -> dict:
    """Draws one graph.

    Returns:
      {"inputs": {"features": (N, F) float32, "adjacency": (N, N) float32 of 0 and 1,
      symmetric, 0 on the diagonal and at padded nodes}, "labels": (N,) int32, -1 at
      padded nodes}.
    """
    count, partition, rates, edges, columns = jax.random.split(key, 5)
    most = cfg.max_points
    size = jax.random.randint(count, (), cfg.min_points, most + 1)
    labels = partitions.crp(partition, size, most, cfg.alpha, cfg.max_clusters)
    same = jnp.eye(cfg.max_clusters, dtype=bool)
    first, second = (
        jnp.where(same, inside, across)
        for inside, across in zip(cfg.within, cfg.between, strict=True)
    )
    # A Beta variable from two Gamma ones, drawn together: less to compile.
    logs = jax.random.loggamma(rates, jnp.stack([first, second]))
    drawn = jnp.triu(jax.nn.sigmoid(logs[0] - logs[1]))
    probabilities = drawn + jnp.triu(drawn, 1).T
    return graph_of(edges, columns, labels, probabilities, cfg.features)


def graph_of(
    key: jax.Array,
    columns: jax.Array,
    labels: jax.Array,
    probabilities: jax.Array,
    cfg: Features,
) -> dict:
    """A graph with independent edges, as `draw` returns it.

    Args:
      key: typed key of the edges.
      columns: typed key of the features.
      labels: (N,) int32 blocks, -1 for padding.
      probabilities: (K, K) symmetric, of an edge between nodes of two blocks.
      cfg: columns of the nodes.
    """
    member = jax.nn.one_hot(labels, len(probabilities))
    # Each entry is one of the probabilities, so no precision may be traded for speed.
    wanted = jnp.linalg.multi_dot(
        (member, probabilities, member.T), precision=jax.lax.Precision.HIGHEST
    )
    return graph_between(key, columns, labels, wanted, cfg)


def graph_between(
    key: jax.Array,
    columns: jax.Array,
    labels: jax.Array,
    wanted: jax.Array,
    cfg: Features,
) -> dict:
    """As `graph_of`, with the probability (N, N) of an edge between any two nodes.

    One above 1 counts as 1.
    """
    valid = labels >= 0
    drawn = jax.random.uniform(key, wanted.shape) < wanted
    upper = jnp.triu(drawn & valid[:, None] & valid, 1).astype(jnp.float32)
    adjacency = upper + upper.T
    found = {
        "features": node_features(adjacency, valid, cfg, columns),
        "adjacency": adjacency,
    }
    return {"inputs": found, "labels": labels}
