"""One partition from partitions of overlapping parts, where these agree well.

Clusters of parts that are one are put together by what they have in common: as many as
there are, in time proportional to the pairs that meet. Where parts agree on little it
makes too many, see `jaxbio.clustering.graphs.merging`.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse


def contracted(
    parts: Sequence[np.ndarray], labels: Sequence[np.ndarray], size: int
) -> np.ndarray:
    """One partition of all nodes from partitions of overlapping parts.

    Clusters A and B of two parts, of whose common nodes a are in A, b in B and c in
    both, have the affinity 3 c - a - b: above 0 if more than half of the nodes in
    either are in both. (Of one part, c is 0.) Groups of clusters whose affinities have
    a sum above 0 are put together, until there are none: those first with the largest
    sum over the root of the product of both groups' sizes, and in one round all pairs
    that are the first for both. By the sums alone (greedy additive edge contraction,
    Keuper et al., ICCV 2015) one large group would grow by one cluster a round. Then
    every node goes with the group that most of its clusters are in, the larger group if
    there are several.

    Args:
      parts: positions of the nodes of each part.
      labels: for each part, the clusters of its nodes, numbered from 0.
      size: number n of all nodes.

    Returns:
      (n,) int32, numbered from 0 in the order of first appearance; a node that is in no
      part is alone.
    """
    clusters = _clusters(parts, labels, size)
    pairs, affinity = _affinities(parts, labels, clusters)
    groups = _grouped(pairs, affinity, clusters.sum(1).astype(float))
    votes = _groups_of(groups) @ clusters  # (groups, n)
    votes = votes.tocsc()
    sizes = np.asarray(votes.sum(1)).ravel()
    found = -np.arange(1, size + 1)
    for node in np.flatnonzero(np.diff(votes.indptr)):
        place = slice(votes.indptr[node], votes.indptr[node + 1])
        rows = votes.indices[place]
        found[node] = rows[np.lexsort((sizes[rows], votes.data[place]))[-1]]
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int32)


def _clusters(parts, labels, size):
    """(clusters of all parts, n) sparse, 1 where a node is in the cluster."""
    begin = np.cumsum([0, *(row.max() + 1 for row in labels)])
    rows = np.concatenate([row + at for row, at in zip(labels, begin, strict=False)])
    columns = np.concatenate(parts)
    ones = np.ones(len(rows), np.int32)
    return sparse.csr_array((ones, (rows, columns)), shape=(begin[-1], size))


def _affinities(parts, labels, clusters):
    """Pairs (P, 2) of clusters in overlapping parts, and their affinities (P,)."""
    counts = [row.max() + 1 for row in labels]
    rows, columns = np.repeat(np.arange(len(parts)), counts), np.arange(sum(counts))
    ones = np.ones(len(rows), np.int32)
    shape = len(parts), len(rows)
    in_part = sparse.csr_array((ones, (rows, columns)), shape=shape)
    # Of one cluster's nodes, those that the part of another one has too.
    reach = clusters @ (in_part @ clusters).T @ in_part
    meet = reach.astype(bool).multiply(reach.T.astype(bool))
    affinity = 3 * (clusters @ clusters.T) - (reach + reach.T).multiply(meet)
    affinity = sparse.triu(affinity, 1).tocoo()
    return np.stack(affinity.coords, 1), affinity.data


def _grouped(pairs, affinity, sizes):
    """The group of each cluster; `sizes` are the clusters' numbers of nodes."""
    count = len(sizes)
    group = np.arange(count)
    while True:
        good = np.flatnonzero(affinity > 0)
        # A total order of pairs, so that one at least is the best for both its ends.
        mean = affinity[good] / sizes[pairs[good]].prod(1) ** 0.5
        order = np.lexsort((*pairs[good].T, mean))[::-1]
        one, other = pairs[good[order]].T
        rank = np.arange(len(good))
        best = np.full(count, len(good))
        np.minimum.at(best, one, rank)
        np.minimum.at(best, other, rank)
        chosen = (best[one] == rank) & (best[other] == rank)
        if not chosen.any():
            return group
        sizes[one[chosen]] += sizes[other[chosen]]
        renamed = np.arange(count)
        renamed[other[chosen]] = one[chosen]
        group = renamed[group]
        pairs = np.sort(renamed[pairs], 1)
        apart = pairs[:, 0] != pairs[:, 1]
        keys, at = np.unique(pairs[apart] @ [count, 1], return_inverse=True)
        affinity = np.bincount(at, affinity[apart], len(keys))
        pairs = np.stack(np.divmod(keys, count), 1)


def _groups_of(group):
    """(groups, clusters) sparse, 1 where a cluster is in the group."""
    names, at = np.unique(group, return_inverse=True)
    ones = np.ones(len(group), np.int32)
    shape = len(names), len(group)
    return sparse.csr_array((ones, (at, np.arange(len(group)))), shape=shape)
