"""The Gibbs peer samples the exact posterior."""

import numpy as np
import pytest

from jaxbio.clustering.exact import posterior
from jaxbio.clustering.partitions import canonical

pytest.importorskip("numba", reason="numba is not installed")


def test_chains_have_the_exact_law():
    from benchmarks.peers import gibbs

    points = np.array([[0.0, 0.1], [1.5, 0.0], [3.0, -0.5], [0.5, 2.0]])
    exact = posterior(points, 0.7, 2.0)
    options = {"alpha": 0.7, "tau": 2.0, "sweeps": 20}
    chains = [gibbs.cluster(points, seed=seed, **options) for seed in range(4000)]
    drawn = canonical(np.array([chain.last for chain in chains]))
    found = np.array([(drawn == row).all(1).mean() for row in exact.labels])
    np.testing.assert_allclose(found, np.exp(exact.log_prob), atol=0.035)
    best = max(chains, key=lambda chain: chain.best_joint)
    expected = exact.labels[exact.log_prob.argmax()]
    np.testing.assert_array_equal(canonical(best.best), expected)
    # The joint is that of the enumeration up to a constant.
    offsets = []
    for chain in chains[:50]:
        (row,) = np.flatnonzero((exact.labels == canonical(chain.best)).all(1))
        offsets.append(chain.best_joint - exact.log_prob[row])
    assert np.ptp(offsets) < 1e-8
