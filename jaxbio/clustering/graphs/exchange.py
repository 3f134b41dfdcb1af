"""How nodes hear of their neighbours: dense batches and edge lists, one interface.

An encoder is written once, against `Exchange`. Dense adjacency matrices suit batches of
small graphs with many edges; edge lists, summed by segments, suit one large graph with
few.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class GraphBatch(NamedTuple):
    """Graphs as a list of directed edges between nodes 0 .. N - 1 of all of them.

    Padding may point anywhere in 0 .. N - 1; masks say what counts.

    Attributes:
      senders: (E,) int32. An undirected edge is there twice, once per direction.
      receivers: (E,) int32.
      node_mask: (N,) bool.
      edge_mask: (E,) bool.
    """

    senders: jax.Array
    receivers: jax.Array
    node_mask: jax.Array
    edge_mask: jax.Array


class Exchange(NamedTuple):
    """What an encoder does along edges; arrays of nodes are (..., N, d).

    Attributes:
      total: sums a node array over every node's neighbours.
      degree: (..., N, 1), numbers of neighbours.
      senders: a node array's rows at the senders of edges, to be broadcast against
        arrays of edges.
      receivers: the same at the receivers.
      collect: sums an array of edges at their receivers, to a node array.
    """

    total: Callable[[jax.Array], jax.Array]
    degree: jax.Array
    senders: Callable[[jax.Array], jax.Array]
    receivers: Callable[[jax.Array], jax.Array]
    collect: Callable[[jax.Array], jax.Array]


def dense(adjacency: jax.Array, valid: jax.Array) -> Exchange:
    """Of adjacency matrices (B, N, N), 0 or 1, entry (i, j) for an edge from j to i.

    Arrays of edges are (B, N, N, d), receivers first. Whatever a matrix has in rows and
    columns of nodes that are not valid (B, N) is not looked at.
    """
    real = valid[:, :, None] & valid[:, None, :]
    adjacency = jnp.where(real, adjacency, 0)

    def total(x):
        return jnp.einsum("bij,bjd->bid", adjacency.astype(x.dtype), x)

    def collect(messages):
        weights = adjacency.astype(messages.dtype)
        return jnp.einsum("bij,bijd->bid", weights, messages)

    return Exchange(
        total,
        adjacency.sum(-1, keepdims=True),
        lambda x: x[:, None, :, :],
        lambda x: x[:, :, None, :],
        collect,
    )


def edge_list(graph: GraphBatch) -> Exchange:
    """Of a list of edges: arrays of nodes are (N, d), arrays of edges (E, d)."""
    nodes = len(graph.node_mask)
    ends = graph.node_mask[graph.senders] & graph.node_mask[graph.receivers]
    real = (graph.edge_mask & ends)[:, None]

    def collect(messages):
        messages = jnp.where(real, messages, 0)
        return jax.ops.segment_sum(messages, graph.receivers, num_segments=nodes)

    return Exchange(
        lambda x: collect(x[graph.senders]),
        collect(real.astype(jnp.int32)),
        lambda x: x[graph.senders],
        lambda x: x[graph.receivers],
        collect,
    )
