"""One partition for many: against enumeration, and where samples disagree."""

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from jaxbio.clustering.consensus import consensus, expected_loss, maxami, together
from jaxbio.clustering.metrics import adjusted_mutual_info, adjusted_rand
from jaxbio.clustering.partitions import all_partitions


def samples(seed, count=40, size=5):
    """Samples around a partition: each point moves with a probability of .2."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, size)
    moved = random.random((count, size)) < 0.2
    return np.where(moved, random.integers(0, 3, (count, size)), truth)


def variation_of_information(one, other):
    def entropy(labels):
        _, counts = np.unique(labels, axis=1, return_counts=True)
        share = counts / counts.sum()
        return -(share * np.log2(share)).sum()

    both = entropy(np.stack([one, other]))
    return 2 * both - entropy(one[None]) - entropy(other[None])


def test_together():
    found = together(np.array([[0, 0, 1], [0, 1, 1], [0, 1, 2], [0, 0, 0]]))
    np.testing.assert_allclose(
        found, [[1, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 1]], atol=1e-7
    )


def test_the_loss_is_the_mean_variation_of_information():
    """Up to what does not depend on the labels."""
    random = np.random.default_rng(0)
    rows = random.integers(0, 4, (7, 30))
    one, other = random.integers(0, 5, (2, 30))
    gap = expected_loss(one, rows) - expected_loss(other, rows)
    exact = [
        variation_of_information(row, one) - variation_of_information(row, other)
        for row in rows
    ]
    assert gap == pytest.approx(np.mean(exact), abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_nearly_the_best_of_all_partitions(seed):
    rows = samples(seed)
    losses = [expected_loss(row, rows) for row in all_partitions(5)]
    found = consensus(rows)
    assert expected_loss(found, rows) <= min(losses) + 0.02
    np.testing.assert_array_equal(consensus(rows, together(rows)), found)


def test_strays_make_no_clusters():
    """Every sample puts another few points by themselves; the consensus none."""
    truth = np.repeat([0, 1, 2], 30)
    random = np.random.default_rng(1)
    rows = np.tile(truth, (20, 1))
    for row in rows:
        row[random.choice(90, 6, replace=False)] = 3 + np.arange(6)
    found = consensus(rows)
    np.testing.assert_array_equal(found, truth)
    assert found.dtype == np.int32


def test_samples_that_agree_and_single_points():
    rows = np.tile([0, 1, 0, 2], (8, 1))
    np.testing.assert_array_equal(consensus(rows), rows[0])
    np.testing.assert_array_equal(consensus(np.zeros((8, 1), int)), [0])


def expected_information(labels, rows):
    """Adjusted for chance, expectations apart, in nats and by the margins."""

    def entropy(labels):
        _, counts = np.unique(labels, axis=-1, return_counts=True)
        return -(counts / counts.sum() * np.log(counts / counts.sum())).sum()

    n, own = len(labels), entropy(labels)
    theirs = np.mean([entropy(row) for row in rows])
    both = np.mean([entropy(np.stack([labels, row])) for row in rows])
    others = np.mean([len(np.unique(row)) for row in rows])
    chance = (len(np.unique(labels)) - 1) * (others - 1) / (2 * n)
    return (own + theirs - both - chance) / ((own + theirs) / 2 - chance)


@pytest.mark.parametrize("seed", range(4))
def test_maxami_is_near_the_best_of_few_clusters(seed):
    rows = samples(seed, size=6)
    most = max(int(np.median(rows.max(1))) + 1, 2)
    every = [row for row in all_partitions(6)[1:] if row.max() < most]
    best = max(expected_information(row, rows) for row in every)
    found = maxami(rows)
    assert expected_information(found, rows) >= best - 0.02
    np.testing.assert_array_equal(maxami(rows, together(rows)), found)
    assert found.dtype == np.int32 and found.max() < most


def test_maxami_sees_more_than_any_sample_and_any_cut():
    """Samples with 70 % of the points anywhere."""
    truth = np.repeat(np.arange(4), 25)
    random = np.random.default_rng(0)
    moved = random.random((24, 100)) < 0.7
    rows = np.where(moved, random.integers(0, 4, (24, 100)), truth)
    tree = hierarchy.linkage(squareform(1 - together(rows), checks=False), "average")
    others = [*rows, *hierarchy.cut_tree(tree, range(1, 9)).T]
    found = maxami(rows)
    reached = adjusted_mutual_info(truth, found)
    assert reached > max(adjusted_mutual_info(truth, row) for row in others) + 0.1
    assert len(np.unique(found)) == 4


def test_maxami_finds_blocks_that_no_sample_shows_well():
    """Each sample has a quarter of the points wrong: their nearest is one cluster."""
    truth = np.repeat([0, 1], 60)
    random = np.random.default_rng(0)
    rows = np.where(random.random((32, 120)) < 0.25, 1 - truth, truth)
    assert consensus(rows).max() == 0
    assert adjusted_rand(truth, maxami(rows)) > 0.9


def test_maxami_of_one_cluster_and_of_few_points():
    np.testing.assert_array_equal(maxami(np.zeros((4, 6), int)), np.zeros(6))
    np.testing.assert_array_equal(maxami(np.zeros((4, 1), int)), [0])
    np.testing.assert_array_equal(maxami(np.array([[0, 1], [0, 0]])), [0, 1])
    np.testing.assert_array_equal(maxami(np.array([[0, 1, 1], [0, 0, 0]])), [0, 1, 1])
    alone = np.tile(np.arange(5), (3, 1))
    np.testing.assert_array_equal(maxami(alone), np.arange(5))
