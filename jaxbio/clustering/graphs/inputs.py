"""A graph as the padded arrays that a trained model takes."""

import functools

import jax
import jax.numpy as jnp

from jaxbio.clustering.graphs.features import Features, node_features
from jaxbio.clustering.graphs.graph import Graph


def inputs_of(graph: Graph, size: int, cfg: Features) -> tuple[dict, jax.Array]:
    """One graph, padded; the features are those of training without random signs.

    Args:
      graph: of at most `size` nodes.
      size: N of the arrays.
      cfg: columns of the nodes, as the model was trained with.

    Returns:
      `(inputs, valid)`: "features" (N, F) and "adjacency" (N, N), float32, and (N,)
      bool. Nodes keep their order.

    Raises:
      ValueError: the graph has more nodes, or none.
    """
    if not 0 < len(graph) <= size:
        raise ValueError(f"a graph of {len(graph)} nodes has no place among {size}")
    u, v = graph.edges.T
    adjacency = jnp.zeros((size, size)).at[u, v].set(1).at[v, u].set(1)
    valid = jnp.arange(size) < len(graph)
    features = _features(adjacency, valid, cfg)
    return {"features": features, "adjacency": adjacency}, valid


@functools.partial(jax.jit, static_argnames="cfg")
def _features(adjacency, valid, cfg):
    return node_features(adjacency, valid, cfg)
