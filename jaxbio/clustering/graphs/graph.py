"""One graph with what is known of its communities, as numpy arrays."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import sparse


@dataclasses.dataclass(frozen=True)
class Graph:
    """An undirected graph without loops.

    Attributes:
      nodes: (n,) ids, integers or text, as a file has them.
      edges: (m, 2) int32 positions in `nodes`, each pair once, the smaller first.
      labels: (n,) int32 community of each node, -1 if not known; `None` without any.
      communities: positions of the members of communities that may overlap, int32.
      loops: edges from a node to itself that were left out.
      repeated: edges that were there before, in either direction, and were left out.
    """

    nodes: np.ndarray
    edges: np.ndarray
    labels: np.ndarray | None = None
    communities: tuple[np.ndarray, ...] = ()
    loops: int = 0
    repeated: int = 0

    def __len__(self) -> int:
        return len(self.nodes)

    def matrix(self) -> sparse.csr_array:
        """The adjacency matrix (n, n) float32."""
        u, v = self.edges.T
        ones = np.ones(2 * len(u), np.float32)
        at = np.concatenate([u, v]), np.concatenate([v, u])
        return sparse.csr_array((ones, at), shape=(len(self), len(self)))


def from_pairs(
    nodes: np.ndarray,
    pairs: np.ndarray,
    labels: np.ndarray | None = None,
    communities: Sequence[np.ndarray] = (),
) -> Graph:
    """A graph from pairs (m, 2) of positions, in any order, with loops and repeats."""
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    proper = pairs[pairs[:, 0] != pairs[:, 1]]
    keys = np.unique(proper.min(1) * len(nodes) + proper.max(1))
    edges = np.stack(np.divmod(keys, max(len(nodes), 1)), 1).astype(np.int32)
    loops, repeated = len(pairs) - len(proper), len(proper) - len(keys)
    return Graph(nodes, edges, labels, tuple(communities), loops, repeated)


def induced(graph: Graph, at: np.ndarray) -> Graph:
    """The nodes at distinct positions `at`, in that order, and the edges among them.

    Communities keep the members that are left; one without any is dropped.
    """
    at = np.asarray(at, np.int64)
    position = np.full(len(graph), -1, np.int32)
    position[at] = np.arange(len(at))
    ends = position[graph.edges]
    edges = np.sort(ends[(ends >= 0).all(1)], 1)
    left = [position[members] for members in graph.communities]
    left = [members[members >= 0] for members in left]
    return Graph(
        graph.nodes[at],
        edges[np.lexsort(edges.T[::-1])],
        None if graph.labels is None else graph.labels[at],
        tuple(members for members in left if len(members)),
    )


def largest_component(graph: Graph) -> Graph:
    """The nodes of the largest connected component; of the first among equals.

    Raises:
      ValueError: the graph has no node.
    """
    if not len(graph):
        raise ValueError("a graph without nodes has no largest component")
    _, component = sparse.csgraph.connected_components(graph.matrix(), directed=False)
    return induced(graph, np.flatnonzero(component == np.bincount(component).argmax()))
