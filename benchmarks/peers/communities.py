"""Usual ways to find communities, to compare a learned one with.

Two spectral ones are told the true number of communities; Leiden and Infomap need
packages of the extra `[bench]`.
"""

import warnings

import numpy as np
from scipy import linalg
from scipy.cluster.vq import kmeans2

_STARTS = 10


def normalised_spectral(adjacency: np.ndarray, count: int, seed: int) -> np.ndarray:
    """k-means of the leading eigenvectors of the normalised adjacency matrix.

    Rows of the `count` eigenvectors with the largest eigenvalues are divided by their
    norms. Source: Ng, Jordan and Weiss, NeurIPS 2001.

    Args:
        adjacency: (n, n) of 0 and 1, symmetric.
        count: Number of communities.
        seed: Of the starts of k-means.

    Returns:
        (n,) labels.
    """
    root = np.maximum(adjacency.sum(1), 1) ** -0.5
    size = len(adjacency)
    _, rows = linalg.eigh(
        root[:, None] * adjacency * root,
        subset_by_index=(max(size - count, 0), size - 1),
    )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return kmeans(rows / np.maximum(norms, 1e-12), count, seed)


def bethe_hessian(adjacency: np.ndarray, count: int, seed: int) -> np.ndarray:
    """k-means of the eigenvectors of the Bethe Hessian's smallest eigenvalues.

    (r^2 - 1) I - r A + D with r^2 the mean degree, once with the positive and once with
    the negative root, which finds communities with few edges inside; of both the
    `count` smallest. Source: Saade, Krzakala and Zdeborova, NeurIPS 2014.

    Args:
        adjacency: (n, n) of 0 and 1, symmetric.
        count: Number of communities.
        seed: Of the starts of k-means.

    Returns:
        (n,) labels.
    """
    degree = adjacency.sum(1)
    values, vectors = [], []
    for root in np.sqrt(max(degree.mean(), 1)) * np.array([1, -1]):
        matrix = np.diag(root**2 - 1 + degree) - root * adjacency
        least = min(count, len(matrix)) - 1
        found = linalg.eigh(matrix, subset_by_index=(0, least))
        values.append(found[0])
        vectors.append(found[1])
    smallest = np.argsort(np.concatenate(values))[:count]
    return kmeans(np.concatenate(vectors, 1)[:, smallest], count, seed)


def leiden(edges: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Labels (size,) by the Leiden algorithm for modularity.

    Args:
        edges: (m, 2), each pair once.
        size: Number of nodes.
        seed: Of the algorithm.

    Raises:
        ImportError: leidenalg or igraph is not installed.
    """
    try:
        import igraph
        import leidenalg
    except ImportError as error:
        raise ImportError(
            "this peer needs Leiden, which is not installed: "
            "pip install leidenalg igraph"
        ) from error
    graph = igraph.Graph(size, edges.tolist())
    kind = leidenalg.ModularityVertexPartition
    found = leidenalg.find_partition(graph, kind, n_iterations=-1, seed=seed)
    return np.array(found.membership)


def infomap(edges: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Labels (size,) by Infomap, two levels.

    Args:
        edges: (m, 2), each pair once.
        size: Number of nodes.
        seed: Of the algorithm.

    Raises:
        ImportError: infomap is not installed.
    """
    try:
        from infomap import Infomap
    except ImportError as error:
        raise ImportError(
            "this peer needs Infomap, which is not installed: pip install infomap"
        ) from error
    search = Infomap(f"--two-level --silent --seed {seed + 1}")
    search.add_nodes(range(size))
    search.add_links((int(u), int(v)) for u, v in edges)
    search.run()
    modules = search.get_modules()
    return np.array([modules[node] for node in range(size)])


def kmeans(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Labels (n,) of rows (n, d), of the best of several starts."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(_STARTS):
        with warnings.catch_warnings():
            # A start may lose a cluster; another one is better then.
            warnings.simplefilter("ignore", UserWarning)
            centres, labels = kmeans2(rows, count, minit="++", rng=rng)
        found.append((np.sum((rows - centres[labels]) ** 2), labels))
    return min(found, key=lambda pair: pair[0])[1]
