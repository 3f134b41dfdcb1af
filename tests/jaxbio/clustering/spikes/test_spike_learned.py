"""A trained process as the clusterer of the sorter."""

import jax
import numpy as np
import pytest

from jaxbio.clustering.spikes import snippets
from jaxbio.clustering.spikes.learned import learned


def test_a_model_of_points_is_no_clusterer_of_spikes():
    with pytest.raises(ValueError, match="'crp2d-tau4' is of points, not of spikes"):
        learned("crp2d-tau4")


def test_the_shipped_model_tells_two_units_apart():
    rng = np.random.default_rng(0)
    shape = (snippets.LENGTH, snippets.CHANNELS)
    time = np.arange(snippets.LENGTH)[:, None]
    trough = -np.exp(-(((time - snippets.BEFORE) / 3.0) ** 2))
    one = 15 * trough * np.array([1, 0.8, 0.5, 0.2, 0.1, 0, 0])
    other = 15 * trough * np.array([1, 0.1, 0.2, 0.6, 0.9, 0.3, 0])
    truth = np.arange(60) % 2
    x = np.where(truth[:, None, None] == 0, one, other) + rng.normal(size=(60, *shape))
    cluster = learned("spikes", samples=8)
    labels = cluster(x.astype(np.float32), jax.random.key(0))
    assert (labels == labels[truth.argmin()]).tolist() == (truth == 0).tolist()
    again = cluster(x.astype(np.float32), jax.random.key(0))
    np.testing.assert_array_equal(labels, again)
