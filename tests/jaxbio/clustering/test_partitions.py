"""Partitions: priors against their exact laws, orders, names, enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

from jaxbio.clustering.exact import posterior
from jaxbio.clustering.partitions import (
    all_partitions,
    by_first_appearance,
    canonical,
    crp,
    mfm,
)

BELL = [1, 2, 5, 15, 52, 203, 877]


def frequencies(labels, known):
    code = canonical(labels) @ (10 ** np.arange(labels.shape[1]))
    return np.array([(code == row).mean() for row in known @ 10 ** np.arange(4)])


def test_all_partitions_are_distinct_and_canonical():
    for size, count in enumerate(BELL, 1):
        rows = all_partitions(size)
        assert rows.shape == (count, size)
        assert len(np.unique(rows, axis=0)) == count
        np.testing.assert_array_equal(canonical(rows), rows)


def test_canonical_forgets_names_and_keeps_padding():
    labels = np.array([[7, 7, 3, -1], [0, 2, 0, 2], [-1, -1, -1, -1]])
    expected = [[0, 0, 1, -1], [0, 1, 0, 1], [-1, -1, -1, -1]]
    np.testing.assert_array_equal(canonical(labels), expected)


@pytest.mark.parametrize("alpha", [0.7, 3.0])
def test_crp_has_its_exact_law(alpha):
    count = 40_000
    keys = jax.random.split(jax.random.key(0), count)
    draw = jax.jit(jax.vmap(lambda key: crp(key, 4, 4, alpha, 4)))
    known = all_partitions(4)
    sizes = (known[:, :, None] == np.arange(4)).sum(1)
    blocks = np.where(sizes > 0, np.log(alpha) + gammaln(np.maximum(sizes, 1)), 0)
    exact = np.exp(blocks.sum(1) + gammaln(alpha) - gammaln(alpha + 4))
    assert exact.sum() == pytest.approx(1)
    found = frequencies(np.asarray(draw(keys)), known)
    assert np.abs(found - exact).max() < 4 * (0.25 / count) ** 0.5


def test_crp_pads_and_keeps_to_the_largest_number():
    keys = jax.random.split(jax.random.key(1), 200)
    sizes = jnp.arange(200) % 30 + 1
    labels = jax.vmap(lambda key, size: crp(key, size, 30, 5.0, 6))(keys, sizes)
    labels = np.asarray(labels)
    np.testing.assert_array_equal((labels >= 0).sum(1), sizes)
    assert labels.max() == 5
    np.testing.assert_array_equal(canonical(labels), labels)


def test_mfm_has_its_exact_law():
    """With 1 or 2 flat components the chance of one cluster of two is 1/2 + 1/2 2/3."""
    count = 20_000
    keys = jax.random.split(jax.random.key(2), count)
    rate = np.log(2.0)  # P(0 more) = 1/2; P(1 more) = log(2) / 2
    labels = np.asarray(jax.vmap(lambda key: mfm(key, 2, 3, rate, 2))(keys))
    assert (labels[:, 2] == -1).all()
    one = 1 / (1 + rate)
    expected = one + (1 - one) * 2 / 3
    found = (labels[:, 0] == labels[:, 1]).mean()
    assert found == pytest.approx(expected, abs=4 * (0.25 / count) ** 0.5)


def test_first_appearance_in_an_order():
    labels = jnp.array([2, 0, -1, 2, 1])
    renamed = by_first_appearance(labels, jnp.array([3, 1, 0, 4, 2]), 3)
    np.testing.assert_array_equal(renamed, [2, 0, -1, 2, 1])
    renamed = by_first_appearance(labels, jnp.array([0, 1, 2, 3, 4]), 3)
    np.testing.assert_array_equal(renamed, [0, 1, -1, 0, 2])


def test_the_exact_posterior_of_two_points():
    """One block of two against two of one, by their densities."""
    x = np.array([[0.3], [1.1]])
    tau, sigma, alpha = 2.0, 0.5, 0.7
    together = np.full((2, 2), tau**2) + np.eye(2) * sigma**2
    apart = np.eye(2) * (tau**2 + sigma**2)

    def density(covariance):
        y = x[:, 0]
        fit = y @ np.linalg.solve(covariance, y)
        return np.exp(-fit / 2) / (2 * np.pi * np.linalg.det(covariance) ** 0.5)

    joint = np.array([density(together), alpha * density(apart)]) / (1 + alpha)
    found = posterior(x, alpha, tau, sigma)
    np.testing.assert_allclose(np.exp(found.log_prob), joint / joint.sum(), rtol=1e-10)
    assert found.log_evidence == pytest.approx(np.log(joint.sum()))
    assert found.coclustering[0, 1] == pytest.approx(joint[0] / joint.sum())


def test_the_exact_entropy_is_the_mean_of_the_true_partitions_score():
    """The specification's check of generator, prior and likelihood together."""
    from jaxbio.clustering.points.mixtures import Config, draw

    cfg = Config(min_points=4, max_points=4, max_clusters=4, spread=2.0, centre=False)
    sets = jax.vmap(lambda key: draw(key, cfg))(
        jax.random.split(jax.random.key(3), 600)
    )
    entropy, score = [], []
    for x, labels in zip(sets["inputs"]["x"], canonical(sets["labels"]), strict=True):
        found = posterior(np.asarray(x), 0.7, 2.0)
        entropy.append(found.entropy)
        (row,) = np.flatnonzero((found.labels == labels).all(1))
        score.append(-found.log_prob[row])
    error = np.std(np.subtract(score, entropy)) / 600**0.5
    assert np.mean(score) == pytest.approx(np.mean(entropy), abs=4 * error)
    assert np.mean(entropy) == pytest.approx(1.340, abs=0.1)  # of the specification


def test_too_many_points_to_enumerate_are_refused():
    with pytest.raises(ValueError, match="want 1 to 10 rows, got shape \\(11, 2\\)"):
        posterior(np.zeros((11, 2)), 0.7, 1.0)


@pytest.mark.parametrize(
    ("prior", "parameter", "message"),
    [
        (crp, 20.0, "alpha=20.0: about 60 clusters, .* max_clusters=6"),
        (mfm, 30.0, "rate=30.0: about 31 clusters, .* max_clusters=6"),
    ],
)
def test_priors_that_would_never_end_are_refused(prior, parameter, message):
    with pytest.raises(ValueError, match=message):
        prior(jax.random.key(0), 100, 380, parameter, 6)
