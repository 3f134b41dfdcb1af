"""Clusters of a graph that is larger than what a model takes: in parts, then merged.

1. Parts: from a node that the fewest parts have yet, breadth first, until a part has
   the wanted number of nodes or its component is used up; of neighbours those in the
   fewest parts come first, in random order. Again until every node is in as many as
   wanted. Most are in many more: a part is as connected as its neighbourhood is, which
   is what a model can read, and begins where no other has been.
2. Every part is clustered by itself, into samples of its posterior.
3. The answers of all parts are merged (`jaxbio.clustering.graphs.merging`).
"""

from collections.abc import Callable, Sequence

import numpy as np

from jaxbio.clustering.graphs.graph import Graph, induced
from jaxbio.clustering.graphs.merging import certainty, merged
from jaxrec.core.progress import CountLine

_AT_ONCE = 16  # parts that are given together


def cluster_in_parts(
    graph: Graph,
    cluster: Callable[[list[Graph]], Sequence[np.ndarray]],
    size: int,
    *,
    cover: int = 1,
    seed: int = 0,
    whole: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) int32 from 0 of a graph of any size, and how sure each is (n,).

    Args:
      graph: to be clustered.
      cluster: gives for each of some graphs of at most `size` nodes labels of any kind,
        one per node, or S rows of them: samples.
      size: most nodes of a part.
      cover: in how many parts every node is, or more.
      seed: of the parts.
      whole: makes one partition of samples (S, n), where the samples of one part are
        all that is asked; `jaxbio.clustering.consensus.consensus` if None.

    Returns:
      `(labels, certainty)`, the latter as from `jaxbio.clustering.graphs.merging`.

    Raises:
      ValueError: `cluster` gives another number of labels than there are nodes, or
        the size or the cover is below 1.
    """
    parts = balls(graph, size, cover, seed)
    alone = [len(part) == 1 for part in parts]
    asked = [i for i, one in enumerate(alone) if not one]
    answers = [np.zeros((1, 1), int)] * len(parts)
    with CountLine("parts", len(asked)) as progress:
        for begin in range(0, len(asked), _AT_ONCE):
            few = asked[begin : begin + _AT_ONCE]
            found = cluster([induced(graph, parts[i]) for i in few])
            for i, labels in zip(few, found, strict=True):
                answers[i] = _checked(labels, len(parts[i]))
            progress.done(len(few))
    labels = merged(parts, answers, len(graph), whole)
    return labels, certainty(parts, answers, labels)


def _checked(labels, size):
    """Rows (S, size) of clusters numbered from 0."""
    rows = np.atleast_2d(labels)
    if rows.ndim != 2 or rows.shape[1] != size:
        raise ValueError(
            f"cluster: labels {np.shape(labels)} for a graph of {size} nodes"
        )
    return np.stack([np.unique(row, return_inverse=True)[1] for row in rows])


def balls(graph: Graph, size: int, cover: int, seed: int) -> list[np.ndarray]:
    """Overlapping connected parts, each increasing int32 positions of its nodes.

    Args:
      graph: to be covered.
      size: most nodes of a part; fewer if the component has fewer.
      cover: in how many parts every node is, or more. Nodes of a component that one
        part holds are in one part, as further ones would be the same.
      seed: of the order in which nodes begin a part and are met.

    Raises:
      ValueError: the size or the cover is below 1.
    """
    if size < 1 or cover < 1:
        raise ValueError(f"size: {size} and cover: {cover} must be 1 or more")
    rng = np.random.default_rng(seed)
    matrix = graph.matrix()
    count = np.zeros(len(graph), int)
    parts = []
    for least in range(cover):
        for start in rng.permutation(len(graph)):
            if count[start] > least:
                continue
            part, whole = _ball(matrix, start, size, count + rng.random(len(count)))
            count[part] += cover if whole else 1
            parts.append(np.sort(part).astype(np.int32))
    return parts


def _ball(matrix, start, size, rank):
    """The first `size` nodes breadth first, and whether that is the component.

    Of a node's neighbours those of the smallest rank come first.
    """
    seen, order, at = {start}, [start], 0
    while at < len(order):
        node = order[at]
        near = matrix.indices[matrix.indptr[node] : matrix.indptr[node + 1]]
        for other in near[np.argsort(rank[near])].tolist():
            if other not in seen:
                if len(order) == size:
                    return np.array(order), False
                seen.add(other)
                order.append(other)
        at += 1
    return np.array(order), True
