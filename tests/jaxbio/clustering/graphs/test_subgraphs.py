"""Parts of a graph, and one partition from those of its parts."""

import dataclasses

import numpy as np
import pytest

from jaxbio.clustering.graphs.contraction import contracted
from jaxbio.clustering.graphs.graph import from_pairs
from jaxbio.clustering.graphs.subgraphs import balls, cluster_in_parts
from jaxbio.clustering.metrics import adjusted_mutual_info


def planted(nodes=600, blocks=6, seed=0):
    """Blocks, 10 edges per node inside and 1 across; the last 9 nodes are a clique."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, blocks, nodes)
    pairs = [rng.integers(0, nodes, (nodes // 2, 2))]
    for block in range(blocks):
        members = np.flatnonzero(labels == block)
        pairs.append(rng.choice(members, (5 * len(members), 2)))
    clique = nodes + np.arange(9)
    pairs.append(np.stack(np.meshgrid(clique, clique), -1).reshape(-1, 2))
    labels = np.concatenate([labels, np.full(9, blocks)]).astype(np.int32)
    return from_pairs(np.arange(nodes + 9), np.concatenate(pairs), labels)


def each(cluster):
    """Clusters graphs one by one."""
    return lambda graphs: [cluster(graph) for graph in graphs]


def test_parts_are_connected_and_cover_every_node():
    graph = planted()
    parts = balls(graph, 100, 3, seed=0)
    matrix = graph.matrix()
    count = np.zeros(len(graph), int)
    for part in parts:
        assert part.dtype == np.int32 and (np.diff(part) > 0).all()
        assert len(part) == 100 or set(part) == set(range(600, 609))
        count[part] += 1
        reached = np.arange(len(part)) == 0
        inside = matrix[part][:, part]
        for _ in range(len(part)):
            reached = reached | (inside @ reached > 0)
        assert reached.all()
    # A component that one part holds is not clustered again.
    assert (count[:600] >= 3).all() and (count[600:] == 1).all()
    assert len(parts) < 70


def test_parts_follow_the_seed():
    one, again, other = (balls(planted(), 100, 2, seed) for seed in (0, 0, 1))
    assert all(map(np.array_equal, one, again))
    assert not all(map(np.array_equal, one, other))


def test_a_small_graph_is_one_part():
    graph = planted(60, 3)
    seen = []

    def cluster(part):
        seen.append(len(part))
        return part.labels

    found, sure = cluster_in_parts(graph, each(cluster), 1000)
    assert sorted(seen)[0] == 9 and sum(seen) == len(graph)
    assert (sure == 1).all()
    assert adjusted_mutual_info(graph.labels, found) == pytest.approx(1)


def test_exact_clusters_of_parts_give_the_partition_whatever_they_are_called():
    graph = planted()
    rng = np.random.default_rng(0)

    def cluster(part):
        return rng.permutation(100)[part.labels]

    found, sure = cluster_in_parts(graph, each(cluster), 150)
    assert found.dtype == np.int32
    assert adjusted_mutual_info(graph.labels, found) == pytest.approx(1)
    assert set(found) == set(range(7))
    np.testing.assert_allclose(sure, 1, rtol=1e-6)


def test_errors_of_single_parts_are_outvoted():
    graph = planted()
    rng = np.random.default_rng(0)
    errors = []

    def cluster(part):
        """A tenth of the nodes anywhere, a fifth of the clusters halved, two joined."""
        labels = part.labels.copy()
        for block in np.unique(labels):
            if rng.random() < 0.2:
                half = rng.random(len(labels)) < 0.5
                labels[(part.labels == block) & half] = 100 + block
        if rng.random() < 0.2:
            one, other = rng.choice(part.labels, 2)
            labels[labels == one] = other
        wrong = rng.random(len(labels)) < 0.1
        labels[wrong] = rng.choice(part.labels, wrong.sum())
        errors.append(adjusted_mutual_info(part.labels, labels))
        return labels

    found, sure = cluster_in_parts(graph, each(cluster), 150, cover=4)
    agreement = adjusted_mutual_info(graph.labels, found)
    assert np.mean(errors) < 0.85 and agreement > 0.97
    assert 0.6 < sure[:600].mean() < 0.95


def test_clusters_are_merged_by_the_nodes_that_they_share():
    parts = [np.arange(6), np.arange(3, 9), np.array([10])]
    # 3 and 4 in both, 5 apart in the second part: 2 of 3 agree.
    labels = [np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 0, 0, 0, 2]), np.array([0])]
    found = contracted(parts, labels, 11)
    assert found[:5].tolist() == [0, 0, 0, 1, 1]
    assert len(set(found[[0, 3, 6, 8, 9, 10]])) == 6
    # A vote of one to one goes to the group with more nodes in it.
    assert found[5] == 1


def test_less_than_half_in_common_keeps_clusters_apart():
    parts = [np.arange(6), np.arange(6)]
    labels = [np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 3, 3, 3])]
    found = contracted(parts, labels, 6)
    assert len(set(found[3:])) == 1 and len(set(found[:3])) == 1
    assert found[0] != found[3]


def test_what_cannot_be_is_refused():
    graph = planted(60, 3)
    with pytest.raises(ValueError, match=r"cluster: labels \(2,\) for a graph of"):
        cluster_in_parts(graph, each(lambda part: np.zeros(2)), 20)
    for size, cover in ((0, 1), (5, 0)):
        with pytest.raises(ValueError, match=f"size: {size} and cover: {cover}"):
            balls(graph, size, cover, seed=0)


def test_nodes_without_edges_are_alone():
    graph = dataclasses.replace(planted(60, 3), edges=np.zeros((0, 2), np.int32))
    found, sure = cluster_in_parts(graph, each(lambda part: part.labels), 20)
    assert len(set(found)) == len(graph) and (sure == 1).all()
