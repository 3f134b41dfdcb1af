"""From overlapping communities of a large network to partitions, by our own protocol.

Problems like those that a model is trained on: a few communities that touch, without
the nodes that two of them share, and the edges among them.
"""

import dataclasses

import numpy as np
from scipy import sparse

from jaxbio.clustering.graphs.graph import Graph, induced, largest_component

_TRIES = 50  # Per problem wanted, before the limits are taken for impossible.


def memberships(graph: Graph) -> sparse.csr_array:
    """(communities, n), 1 where a node is a member."""
    rows = [np.full(len(m), i) for i, m in enumerate(graph.communities)]
    columns = np.concatenate([np.zeros(0, int), *graph.communities])
    rows = np.concatenate([np.zeros(0, int), *rows])
    ones = np.ones(len(rows), np.int32)
    shape = len(graph.communities), len(graph)
    return sparse.csr_array((ones, (rows, columns)), shape=shape)


def single_labels(graph: Graph) -> np.ndarray:
    """(n,) int32, the community of a node that is in exactly one, else -1."""
    count = np.zeros(len(graph), int)
    labels = np.full(len(graph), -1, np.int32)
    for number, members in enumerate(graph.communities):
        count[members] += 1
        labels[members] = number
    return np.where(count == 1, labels, -1).astype(np.int32)


def best_matches(graph: Graph, labels: np.ndarray) -> np.ndarray:
    """(communities,) F1 of each community and the cluster that matches it best.

    Precision is the share of a cluster that is in the community, recall the share of
    the community that is in the cluster, F1 their harmonic mean. Only communities look
    for a match: clusters without one, and nodes in no community, cost nothing but what
    they take from the precision of others.

    Args:
      graph: with communities.
      labels: (n,) int clusters from 0.
    """
    sizes = np.bincount(labels)
    best = np.zeros(len(graph.communities))
    for number, members in enumerate(graph.communities):
        cluster, common = np.unique(labels[members], return_counts=True)
        best[number] = (2 * common / (sizes[cluster] + len(members))).max()
    return best


def split(graph: Graph, fraction: float, seed: int) -> tuple[Graph, Graph]:
    """The same graph twice, with communities for training and communities for tests.

    No node is in a community of both: training communities that share a node with a
    test community are left out.

    Args:
      graph: with communities.
      fraction: of the communities that are for tests.
      seed: of the draw.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: {fraction} is not between 0 and 1")
    order = np.random.default_rng(seed).permutation(len(graph.communities))
    cut = round(fraction * len(order))
    tests = [graph.communities[i] for i in order[:cut]]
    tested = np.zeros(len(graph), bool)
    for members in tests:
        tested[members] = True
    others = [graph.communities[i] for i in order[cut:]]
    training = [members for members in others if not tested[members].any()]
    return tuple(
        dataclasses.replace(graph, communities=tuple(side))
        for side in (training, tests)
    )


def problems(
    graph: Graph,
    count: int,
    seed: int,
    *,
    communities: tuple[int, int] = (2, 4),
    size: tuple[int, int] = (20, 1000),
) -> list[Graph]:
    """Draws graphs of a few touching communities, with labels.

    A random edge between nodes with no community in common gives two. More are added
    that have an edge to those there are, up to a number drawn uniformly. Nodes in more
    than one of them are dropped; of what is left, the largest component is a problem if
    it is of a permitted size and of two communities or more. Problems may overlap.

    Args:
      graph: with communities.
      count: number of problems.
      seed: of the draws.
      communities: fewest and most.
      size: fewest and most nodes.

    Raises:
      ValueError: there is no such edge, or too few of the draws are within the limits.
    """
    member = memberships(graph)
    of_node = member.T.tocsr()
    touching = (member @ graph.matrix() @ of_node).tocsr()
    edges = _crossing(graph.edges, of_node)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(_TRIES * count if len(edges) else 0):
        if len(found) == count:
            break
        first, second = (_row(of_node, node) for node in rng.choice(edges))
        chosen = [rng.choice(first), rng.choice(second)]
        wanted = rng.integers(communities[0], communities[1] + 1)
        problem = _problem(graph, _grown(touching, chosen, wanted, rng))
        if problem is not None and size[0] <= len(problem) <= size[1]:
            found.append(problem)
    if len(found) < count:
        raise ValueError(
            f"problems: {len(found)} of {count} found of {communities[0]} to "
            f"{communities[1]} touching communities and {size[0]} to {size[1]} nodes, "
            f"among {len(graph.communities)} communities"
        )
    return found


def _crossing(edges, of_node):
    """The edges between members of communities with no community in common."""
    inside = np.diff(of_node.indptr) > 0
    edges = edges[inside[edges].all(1)]
    if not len(edges):  # Sparse arrays cannot be taken no rows of.
        return edges
    u, v = edges.T
    return edges[of_node[u].multiply(of_node[v]).sum(1) == 0]


def _row(matrix, row):
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]


def _grown(touching, chosen, wanted, rng):
    """Adds random communities that touch one of those there are, up to `wanted`."""
    while len(chosen) < wanted:
        near = np.unique(np.concatenate([_row(touching, c) for c in chosen]))
        near = np.setdiff1d(near, chosen)
        if not len(near):
            break
        chosen = [*chosen, rng.choice(near)]
    return chosen


def _problem(graph, chosen):
    """The largest component of nodes in one of the chosen communities, or `None`."""
    few = dataclasses.replace(
        graph, communities=tuple(graph.communities[c] for c in chosen)
    )
    labels = single_labels(few)
    at = np.flatnonzero(labels >= 0)
    if not len(at):
        return None
    part = induced(dataclasses.replace(few, labels=labels, communities=()), at)
    part = largest_component(part)
    names, labels = np.unique(part.labels, return_inverse=True)
    if len(names) < 2:
        return None
    return dataclasses.replace(part, labels=labels.astype(np.int32))
