"""One partition for many: against enumeration, and where samples disagree."""

import numpy as np
import pytest

from jaxbio.clustering.consensus import consensus, expected_loss, maxpear, together
from jaxbio.clustering.metrics import adjusted_rand
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


def pear(labels, shared):
    """The expected adjusted Rand index, pair by pair."""
    first, second = np.triu_indices(len(labels), 1)
    probable, same = shared[first, second], labels[first] == labels[second]
    chance = same.sum() * probable.sum() / len(first)
    return (same @ probable - chance) / ((same + probable).sum() / 2 - chance)


def test_maxpear_against_the_equation():
    """Over all partitions."""
    rows = samples(3)
    shared = together(rows)
    scores = [pear(row, shared) for row in all_partitions(5)[1:]]  # not one cluster
    found = maxpear(rows)
    assert pear(found, shared) >= max(scores) - 0.02
    np.testing.assert_array_equal(maxpear(rows, shared), found)
    assert found.dtype == np.int32


def test_maxpear_moves_points_to_where_the_index_gains():
    """Samples with half of the points anywhere: no cut, no sample is as good."""
    truth = np.repeat(np.arange(4), 25)
    random = np.random.default_rng(0)
    moved = random.random((24, 100)) < 0.6
    rows = np.where(moved, random.integers(0, 4, (24, 100)), truth)
    shared = together(rows)
    found = maxpear(rows)
    index = pear(found, shared)
    assert index > max(pear(row, shared) for row in rows) + 0.02
    assert index > pear(truth, shared)
    assert len(np.unique(found)) == 4
    for point in range(0, 100, 7):  # no move of a point gains
        for cluster in range(4):
            other = found.copy()
            other[point] = cluster
            assert pear(other, shared) < index + 1e-4


def test_maxpear_finds_blocks_that_no_sample_shows_well():
    """Each sample has a quarter of the points wrong: their nearest is one cluster."""
    truth = np.repeat([0, 1], 60)
    random = np.random.default_rng(0)
    rows = np.where(random.random((32, 120)) < 0.25, 1 - truth, truth)
    assert consensus(rows).max() == 0
    assert adjusted_rand(truth, maxpear(rows)) > 0.9


def test_maxpear_of_one_cluster_and_of_one_point():
    np.testing.assert_array_equal(maxpear(np.zeros((4, 6), int)), np.zeros(6))
    np.testing.assert_array_equal(maxpear(np.zeros((4, 1), int)), [0])
