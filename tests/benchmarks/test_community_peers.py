"""The usual ways to find communities find those that are plain to see."""

import sys

import numpy as np
import pytest

from benchmarks.peers import communities
from jaxbio.clustering.metrics import adjusted_mutual_info


def planted(inside, across, size=90, seed=0):
    """Adjacency matrix and labels of three equal blocks."""
    rng = np.random.default_rng(seed)
    labels = np.arange(size) % 3
    wanted = np.where(labels[:, None] == labels, inside, across)
    upper = np.triu(rng.random((size, size)) < wanted, 1)
    return (upper | upper.T).astype(float), labels


@pytest.mark.parametrize(
    "peer", [communities.normalised_spectral, communities.bethe_hessian]
)
def test_spectral_peers_find_dense_blocks(peer):
    adjacency, labels = planted(0.6, 0.1)
    found = peer(adjacency, 3, seed=0)
    assert adjusted_mutual_info(labels, found) > 0.95
    np.testing.assert_array_equal(found, peer(adjacency, 3, seed=0))


def test_the_bethe_hessian_finds_blocks_with_few_edges_inside():
    adjacency, labels = planted(0.02, 0.4)
    found = communities.bethe_hessian(adjacency, 3, seed=0)
    assert adjusted_mutual_info(labels, found) > 0.9
    other = communities.normalised_spectral(adjacency, 3, seed=0)
    assert adjusted_mutual_info(labels, other) < 0.5


def test_a_node_without_edges_and_one_community_are_no_trouble():
    adjacency, _ = planted(0.6, 0.1)
    adjacency[0] = adjacency[:, 0] = 0
    for peer in (communities.normalised_spectral, communities.bethe_hessian):
        assert set(peer(adjacency, 1, seed=0)) == {0}


def test_leiden_finds_dense_blocks():
    pytest.importorskip("leidenalg")
    adjacency, labels = planted(0.6, 0.1)
    found = communities.leiden(np.argwhere(np.triu(adjacency)), 90, seed=0)
    assert adjusted_mutual_info(labels, found) > 0.95


def test_leiden_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "leidenalg", None)
    with pytest.raises(ImportError, match="pip install leidenalg igraph"):
        communities.leiden(np.array([[0, 1]]), 2, seed=0)
