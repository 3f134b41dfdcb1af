"""Snippets of a user as a trained model takes them."""

import jax
import numpy as np
import pytest

from jaxbio.clustering.spikes import simulate, snippets

SHAPE = (snippets.LENGTH, snippets.CHANNELS)


def test_snippets_are_padded_and_reduced_as_in_training():
    x = np.random.default_rng(0).normal(size=(9, *SHAPE)).astype(np.float32)
    assert simulate.size_of(x) == 9
    whole = simulate.inputs_of([x], 16, simulate.Config())["x"][0]
    np.testing.assert_array_equal(whole[:9], x)
    assert whole.shape == (16, *SHAPE) and not np.asarray(whole[9:]).any()
    cfg = simulate.Config(features=3)
    few = np.asarray(simulate.inputs_of([x], 16, cfg)["x"][0])
    expected = snippets.features(x, np.ones(9, bool), 3)
    np.testing.assert_allclose(few[:9], expected, atol=1e-3)
    assert few.shape == (16, 3) and not few[9:].any()


def test_a_problem_keeps_as_many_snippets_as_it_has_places():
    cfg = simulate.Config(
        min_spikes=120, max_spikes=120, max_points=20, max_clusters=4, features=2
    )
    problem = jax.jit(lambda key: simulate.draw(key, cfg))(jax.random.key(0))
    labels = np.asarray(problem["labels"])
    assert problem["inputs"]["x"].shape == (20, 2)
    assert (labels >= 0).all() and labels.max() < 4


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 32)), "want shape \\(n, 32, 7\\), n above 0, got \\(3, 32\\)"),
        (np.zeros((0, *SHAPE)), "n above 0, got \\(0, 32, 7\\)"),
        (np.full((2, *SHAPE), np.nan), "snippets: a value is not finite"),
    ],
)
def test_bad_snippets_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        simulate.size_of(x)


def test_more_places_than_spikes_are_refused():
    with pytest.raises(ValueError, match="max_points: want 1 to max_spikes=100"):
        simulate.Config(min_spikes=50, max_spikes=100)
