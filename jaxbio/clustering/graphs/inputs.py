"""A graph of a user as the padded arrays that a trained model takes."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from jaxbio.clustering.graphs.features import node_features
from jaxbio.clustering.graphs.graph import Graph, from_pairs


def size_of(graph: Any) -> int:
    """Number of nodes of a graph, given as for `as_graph`.

    Raises:
      ValueError: it is no graph.
    """
    return len(as_graph(graph))


def inputs_of(graphs: Sequence[Any], size: int, cfg: Any) -> dict[str, jax.Array]:
    """Graphs, padded; their features are those of training without random signs.

    Args:
      graphs: B, each as for `as_graph`.
      size: N of the arrays, the number of nodes or more.
      cfg: of the generator that the model was trained on; `features` is read.

    Returns:
      {"features": (B, N, F), "adjacency": (B, N, N)}, float32. Nodes keep their order.

    Raises:
      ValueError: one is no graph, or has more nodes.
    """
    made = [_one(as_graph(graph), size, cfg) for graph in graphs]
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *made)


def _one(graph, size, cfg):
    if len(graph) > size:
        raise ValueError(f"a graph of {len(graph)} nodes has no place among {size}")
    u, v = graph.edges.T
    adjacency = jnp.zeros((size, size)).at[u, v].set(1).at[v, u].set(1)
    features = _features(adjacency, jnp.arange(size) < len(graph), cfg.features)
    return {"features": features, "adjacency": adjacency}


@functools.partial(jax.jit, static_argnames="cfg")
def _features(adjacency, valid, cfg):
    return node_features(adjacency, valid, cfg)


def as_graph(graph: Any) -> Graph:
    """A graph from one, or from its adjacency matrix.

    Args:
      graph: a `Graph`; or a matrix (n, n), of numpy or scipy.sparse, whose entries
        other than 0 are edges, in either direction. Weights and loops are not kept.

    Raises:
      ValueError: it is neither, has no node, or an entry is not finite.
    """
    if isinstance(graph, Graph):
        if not len(graph):
            raise ValueError("graph: it has no nodes")
        return graph
    if not sparse.issparse(graph):
        try:
            graph = np.asarray(graph, float)
        except (TypeError, ValueError):
            kind = f"{type(graph).__module__}.{type(graph).__qualname__}"
            raise ValueError(
                "graph: want an adjacency matrix or a jaxbio.clustering.graphs.graph."
                f"Graph, got {kind.removeprefix('builtins.')}"
            ) from None
    if graph.ndim != 2 or graph.shape[0] != graph.shape[1] or not graph.shape[0]:
        raise ValueError(
            f"graph: want an adjacency matrix of shape (n, n), got {graph.shape}"
        )
    found = sparse.coo_array(graph)
    if not np.isfinite(found.data).all():
        raise ValueError("graph: an entry of the adjacency matrix is not finite")
    pairs = np.stack(found.coords, 1)[found.data != 0]
    return from_pairs(np.arange(graph.shape[0]), pairs)
