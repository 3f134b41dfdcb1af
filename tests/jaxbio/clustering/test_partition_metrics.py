"""AMI and ARI: by hand, by simulation of chance, and against scikit-learn if here."""

import numpy as np
import pytest

from jaxbio.clustering.metrics import adjusted_mutual_info, adjusted_rand, contingency

BOTH = [adjusted_mutual_info, adjusted_rand]


@pytest.mark.parametrize("metric", BOTH)
def test_equal_partitions_have_one_whatever_the_names(metric):
    assert metric([0, 0, 1, 2], [5, 5, -3, 1]) == pytest.approx(1)
    assert metric([0, 0, 0], [1, 1, 1]) == 1
    assert metric([0, 1, 2], [2, 0, 1]) == 1
    assert metric([4], [2]) == 1


@pytest.mark.parametrize("metric", BOTH)
def test_a_single_cluster_knows_nothing(metric):
    assert metric([0, 0, 1, 1], [0, 0, 0, 0]) == pytest.approx(0, abs=1e-12)
    assert metric([0, 0, 0, 0], [0, 1, 1, 1]) == pytest.approx(0, abs=1e-12)


def test_rand_by_pairs():
    true, found = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    pairs = [(i, j) for i in range(6) for j in range(i)]
    same = np.array([[true[i] == true[j], found[i] == found[j]] for i, j in pairs])
    both, a, b = same.all(1).sum(), *same.sum(0)
    expected = a * b / len(pairs)
    by_hand = (both - expected) / ((a + b) / 2 - expected)
    assert adjusted_rand(true, found) == pytest.approx(by_hand)


def test_chance_has_zero_mutual_information():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 60)
    found = [adjusted_mutual_info(true, rng.permutation(true)) for _ in range(400)]
    assert np.mean(found) == pytest.approx(0, abs=4 * np.std(found) / 20)


def test_against_scikit_learn():
    peer = pytest.importorskip(
        "sklearn.metrics", reason="scikit-learn is not installed"
    )
    rng = np.random.default_rng(1)
    for n, k in [(5, 2), (40, 6), (300, 12)]:
        true, found = rng.integers(0, k, n), rng.integers(0, k, n)
        found = np.where(rng.random(n) < 0.5, true, found)
        ami = peer.adjusted_mutual_info_score(true, found)
        assert adjusted_mutual_info(true, found) == pytest.approx(ami, abs=1e-9)
        ari = peer.adjusted_rand_score(true, found)
        assert adjusted_rand(true, found) == pytest.approx(ari, abs=1e-12)


def test_contingency_and_bad_labels():
    np.testing.assert_array_equal(contingency([0, 0, 5], [1, 2, 2]), [[1, 1], [0, 1]])
    with pytest.raises(ValueError, match="same length of 1 or more, got shapes"):
        contingency([0, 1], [0])
    with pytest.raises(ValueError, match="same length of 1 or more"):
        contingency([], [])
