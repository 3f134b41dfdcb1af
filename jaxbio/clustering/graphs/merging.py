"""One partition of a graph from samples of partitions of its overlapping parts.

Two nodes that some parts have are together in a share of these parts' samples. The
leading eigenvectors of these shares, each pair of nodes as heavy as the number of its
parts, tell which nodes belong together where single samples, and the best partition of
a single part, are mostly wrong: errors of parts average out there. There are as many
clusters as agree best with the samples of all parts.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging
from scipy import linalg, sparse
from scipy.cluster import vq
from scipy.sparse.linalg import ArpackNoConvergence, svds

from jaxbio.clustering.consensus import consensus
from jaxbio.clustering.graphs.contraction import contracted

MOST = 64  # clusters by eigenvectors
_PAIRS = 50_000  # of nodes, drawn to compare how many are together
_ROWS = 5_000  # of these at once


def merged(
    parts: Sequence[np.ndarray],
    answers: Sequence[np.ndarray],
    size: int,
    whole: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """One partition of all nodes.

    Parts that no others overlap keep their own partition. Others are merged by
    eigenvectors; where more than 64 clusters would be needed, by what single clusters
    have in common (`jaxbio.clustering.graphs.contraction`), for which parts have to
    agree better.

    Args:
      parts: positions of the nodes of each part.
      answers: for each part, (S, nodes) clusters numbered from 0, samples of its
        partition.
      size: number n of all nodes.
      whole: makes one partition of samples; `consensus` if None.

    Returns:
      (n,) int32, numbered from 0 in the order of first appearance; a node that is in no
      part is alone.
    """
    whole = whole or consensus
    found, taken = np.arange(size), size
    for group in _overlapping(parts, size):
        nodes, inverse = np.unique(
            np.concatenate([parts[i] for i in group]), return_inverse=True
        )
        ends = np.cumsum([len(parts[i]) for i in group])[:-1]
        inside, rows = np.split(inverse, ends), [answers[i] for i in group]
        labels = by_eigenvectors(inside, rows, len(nodes)) if len(group) > 1 else None
        if labels is None:
            single = [row[0] if len(row) == 1 else whole(row) for row in rows]
            labels = contracted(inside, single, len(nodes))
        found[nodes] = taken + labels
        taken += int(labels.max()) + 1
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int32)


def certainty(
    parts: Sequence[np.ndarray], answers: Sequence[np.ndarray], labels: np.ndarray
) -> np.ndarray:
    """How often each node is with the nodes of its cluster, (n,) in (0, 1].

    The mean over these nodes, itself included, and over the samples of all parts that
    have both. It says nothing of nodes that no part has together.

    Args:
      parts: as for `merged`; every node is in one.
      answers: as for `merged`.
      labels: (n,) from 0.
    """
    once = [np.zeros((1, len(part)), int) for part in parts]
    member, present = (_indicator(parts, rows, len(labels)) for rows in (answers, once))
    return _with_own(member, labels) / _with_own(present, labels)


def _with_own(member, labels):
    """(n,) sums over a node's cluster of its row of M M^T."""
    chosen = np.ones(len(labels), np.float32), (np.arange(len(labels)), labels)
    sums = sparse.csr_array(member.T @ sparse.csr_array(chosen))
    pairs = sparse.coo_array(member)
    each = pairs.data * sums[pairs.col, labels[pairs.row]]
    return np.bincount(pairs.row, each, len(labels))


def by_eigenvectors(
    parts: Sequence[np.ndarray], answers: Sequence[np.ndarray], size: int
) -> np.ndarray | None:
    """Labels (n,) of nodes that are all in parts; None beyond 64 clusters, or if the
    eigenvectors are not found.

    W = M M^T, with M (n, clusters of all samples) of 1 / sqrt(S), is how often two
    nodes are together, a sum over parts. The eigenvectors of W over the roots of its
    sums are left singular vectors of M over the same, so that W is never made. Rows of
    the first k, times their eigenvalues, at length one, are clustered by k-means (Ng,
    Jordan and Weiss, NIPS 2001), which begins at the columns that a pivoted QR
    decomposition takes (Damle, Minden and Ying, Information and Inference 8, 2019):
    nothing is drawn but the pairs.

    The number k is that of the largest adjusted Rand index with the samples, over all
    pairs of nodes that share a part, each as heavy as any other (Fritsch and Ickstadt,
    Bayesian Analysis 4, 2009), or the smallest that comes to a hundredth of what the
    largest lacks to 1. It is one where every other has more pairs otherwise than the
    samples have them.
    """
    member = _indicator(parts, answers, size)
    most = min(MOST, size - 1, member.shape[1] - 1)
    if most < 1:
        return None
    pairs, weights, together = _pairs(parts, member)
    if not together.any():
        return None
    wanted = np.average(together, weights=weights)
    try:
        vectors = _leading(member, most)
    except ArpackNoConvergence as error:
        logging.warning("Parts are merged by what clusters have in common: %s", error)
        return None

    tried, indices = [np.zeros(size, int)], [0.0]
    for count in _numbers(most):
        labels = _by_rows(vectors[:, :count])
        same = labels[pairs[0]] == labels[pairs[1]]
        share, both = np.average(np.stack([same, same * together]), 1, weights)
        chance = share * wanted
        better = share + wanted - 2 * both < 1 - wanted  # than one cluster
        gain = (both - chance) / max((share + wanted) / 2 - chance, 1e-9)
        tried.append(labels)
        indices.append(gain if better else 0.0)
    if most == MOST and share > wanted:
        return None  # 64 clusters have more pairs together than the samples.
    enough = max(indices) - 0.01 * (1 - max(indices))
    return tried[int(np.argmax(np.array(indices) >= enough))]


def _numbers(most):
    """2, 3, .. 16 and then in steps of about a seventh, up to `most`."""
    numbers = [2]
    while numbers[-1] < most:
        numbers.append(min(numbers[-1] + max(1, numbers[-1] // 7), most))
    return numbers


def _overlapping(parts, size):
    """Groups of parts that are linked by common nodes."""
    rows = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    columns = np.concatenate([np.zeros(0, int), *parts])
    shape = len(parts), size
    member = sparse.csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape)
    _, group = sparse.csgraph.connected_components(member @ member.T, directed=False)
    order = np.argsort(group, kind="stable")
    return (
        np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(parts) else []
    )


def _indicator(parts, answers, size):
    """(n, clusters of all samples) sparse, 1 / sqrt(S) where a node is in a cluster."""
    rows, columns, values, begin = [], [], [], 0
    for part, samples in zip(parts, answers, strict=True):
        counts = samples.max(1) + 1
        starts = begin + np.cumsum([0, *counts[:-1]])
        begin += int(counts.sum())
        rows.append(np.tile(part, len(samples)))
        columns.append((samples + starts[:, None]).ravel())
        values.append(np.full(samples.size, len(samples) ** -0.5, np.float32))
    at = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_array((np.concatenate(values), at), shape=(size, begin))


def _pairs(parts, member):
    """Positions (2, P) of pairs of nodes that share a part, what makes each such pair
    as heavy as any other, and in what share of the samples it is together."""
    rng = np.random.default_rng(0)
    sizes = np.array([len(part) for part in parts])
    chances = sizes * (sizes - 1.0)
    if not chances.sum():
        return np.zeros((2, 0), int), np.zeros(0), np.zeros(0)
    which = rng.choice(len(parts), _PAIRS, p=chances / chances.sum())
    first = rng.integers(0, sizes[which])
    second = (first + rng.integers(1, sizes[which])) % sizes[which]
    flat, begin = np.concatenate(parts), np.cumsum(sizes) - sizes
    pairs = np.stack([flat[begin[which] + first], flat[begin[which] + second]])
    once = _indicator(parts, [np.zeros((1, n), int) for n in sizes], member.shape[0])
    weights = 1 / _common(once, pairs)
    return pairs, weights, _common(member, pairs) * weights


def _common(member, pairs):
    """(P,) of W at pairs of nodes."""
    return np.concatenate(
        [
            np.asarray(member[one].multiply(member[other]).sum(1)).ravel()
            for one, other in zip(
                *(np.split(row, range(_ROWS, len(row), _ROWS)) for row in pairs),
                strict=True,
            )
        ]
    )


def _leading(member, count):
    """(n, count) leading eigenvectors of W over the roots of its sums, times their
    eigenvalues, the largest first."""
    sums = member @ member.sum(0)
    scaled = sparse.diags_array(sums**-0.5) @ member
    begin = np.random.default_rng(0).standard_normal(min(scaled.shape))
    left, singular, _ = svds(scaled, k=count, v0=begin)
    order = np.argsort(-singular)
    return left[:, order] * singular[order] ** 2


def _by_rows(vectors):
    """Labels (n,) by k-means on rows (n, k) at length one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = vectors / np.maximum(lengths, 1e-12)
    count = rows.shape[1]
    begin = linalg.qr(rows.T, mode="r", pivoting=True)[1][:count]
    with warnings.catch_warnings():
        # Of fewer kinds of rows than clusters some clusters are empty.
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        return vq.kmeans2(rows, rows[begin], iter=30, minit="matrix")[1]
