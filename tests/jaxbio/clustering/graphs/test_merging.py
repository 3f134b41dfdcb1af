"""One partition from samples of partitions of overlapping parts."""

import numpy as np
import pytest
from scipy.sparse.linalg import ArpackNoConvergence

from jaxbio.clustering.graphs import merging
from jaxbio.clustering.graphs.merging import by_eigenvectors, certainty, merged
from jaxbio.clustering.metrics import adjusted_mutual_info


def drawn(sizes, parts, samples, wrong):
    """Blocks of some sizes, parts of half of the nodes, and samples in which a share of
    the nodes is in any block. Every node is in half of the parts."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    places, answers = [], []
    halves = [rng.permutation(len(truth)).reshape(2, -1) for _ in range(parts // 2)]
    for part in np.sort(np.concatenate(halves)):
        labels = np.tile(truth[part], (samples, 1))
        other = rng.choice(labels.ravel(), labels.shape)
        labels = np.where(rng.random(labels.shape) < wrong, other, labels)
        answers.append(
            np.stack([np.unique(row, return_inverse=True)[1] for row in labels])
        )
        places.append(part)
    return truth, places, answers


def test_samples_that_are_mostly_wrong_tell_together():
    truth, parts, answers = drawn((80, 60, 40, 20), 16, 8, 0.4)
    single = [
        adjusted_mutual_info(truth[p], a[0])
        for p, a in zip(parts, answers, strict=True)
    ]
    found = merged(parts, answers, len(truth))
    assert np.mean(single) < 0.35
    assert adjusted_mutual_info(truth, found) > 0.95


def test_exact_samples_give_as_many_clusters_as_there_are():
    for sizes in ((100,), (50, 50), (70, 10, 10, 10), (20,) * 10):
        truth, parts, answers = drawn(sizes, 8, 2, 0.0)
        found = by_eigenvectors(parts, answers, len(truth))
        assert len(np.unique(found)) == len(sizes)
        assert adjusted_mutual_info(truth, found) == pytest.approx(1)


def test_samples_of_one_cluster_and_noise_have_no_structure():
    rng = np.random.default_rng(0)
    _, parts, answers = drawn((150,), 12, 8, 0.0)
    answers = [(rng.random(rows.shape) < 0.1).astype(int) for rows in answers]
    found = by_eigenvectors(parts, answers, 150)
    assert not found.any()


def test_samples_that_join_blocks_do_not_hide_them():
    """Each sample has two of six blocks as one, others every time: twice as many pairs
    are together as in truth."""
    rng = np.random.default_rng(0)
    truth, parts, answers = drawn((30,) * 6, 12, 6, 0.0)
    for rows in answers:
        for row in rows:
            row[:] = (rng.permutation(6) // 2)[row]
    found = by_eigenvectors(parts, answers, len(truth))
    assert adjusted_mutual_info(truth, found) == pytest.approx(1)


def test_more_clusters_than_eigenvectors_are_contracted():
    sizes = (6,) * 100
    truth, parts, answers = drawn(sizes, 8, 1, 0.0)
    assert by_eigenvectors(parts, answers, len(truth)) is None
    found = merged(parts, answers, len(truth))
    assert adjusted_mutual_info(truth, found) > 0.99


def test_without_eigenvectors_clusters_are_contracted(monkeypatch):
    def fails(*_, **__):
        raise ArpackNoConvergence("none of 3 found", np.zeros(0), np.zeros((0, 0)))

    monkeypatch.setattr(merging, "svds", fails)
    truth, parts, answers = drawn((20, 20, 20), 8, 1, 0.0)
    found = merged(parts, answers, len(truth))
    assert adjusted_mutual_info(truth, found) == pytest.approx(1)


def test_parts_that_nothing_overlaps_keep_their_partition():
    rng = np.random.default_rng(0)
    truth, parts, answers = drawn((30, 30), 4, 3, 0.0)
    apart = len(truth) + np.arange(12)
    samples = np.repeat([[0] * 4 + [1] * 8], 3, 0)
    samples[0] = rng.permutation(samples[0])
    found = merged([*parts, apart], [*answers, samples], len(truth) + 14)
    assert len(set(found[: len(truth)])) == 2
    assert [len(set(found[apart[:4]])), len(set(found[apart[4:]]))] == [1, 1]
    # Four clusters, and two nodes that no part has.
    assert found.max() + 1 == 6 and len(set(found[-2:])) == 2
    called = []

    def whole(rows):
        called.append(rows.shape)
        return rows[0]

    merged([*parts, apart], [*answers, samples], len(truth) + 14, whole)
    assert called == [(3, 12)]


def test_nothing_is_drawn_twice():
    truth, parts, answers = drawn((40, 30, 20), 6, 4, 0.3)
    one, again = (merged(parts, answers, len(truth)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    # Names of clusters and the order of the parts are nothing.
    other = [row.max() - row for row in answers]
    changed = merged(parts[::-1], other[::-1], len(truth))
    assert adjusted_mutual_info(one, changed) > 0.98


def test_certainty_is_how_often_a_node_is_with_its_cluster():
    truth, parts, answers = drawn((8, 6, 4, 2), 6, 3, 0.4)
    found = merged(parts, answers, len(truth))
    sure = certainty(parts, answers, found)
    together, shared = np.zeros((2, len(truth), len(truth)))
    for part, samples in zip(parts, answers, strict=True):
        pairs = np.ix_(part, part)
        together[pairs] += (samples[:, :, None] == samples[:, None]).mean(0)
        shared[pairs] += 1
    same = found[:, None] == found
    expected = (together * same).sum(1) / (shared * same).sum(1)
    np.testing.assert_allclose(sure, expected, rtol=1e-5)
    assert sure.min() > 0 and 0.3 < sure.mean() < 0.9
