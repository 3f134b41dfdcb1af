"""Shortened vectors and mean shift, against plain loops and what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.spikes import modes

RAY = np.array([2.0, -1.0, 2.0]) / 3


def moved(x, width, rounds=3):
    """In float64, a point at a time."""
    crowds = None
    for _ in range(rounds):
        kernel = [np.exp(-((x - at) ** 2).sum(1) / (2 * width**2)) for at in x]
        crowds = np.log([k.sum() for k in kernel]) if crowds is None else crowds
        x = np.array([k @ x / k.sum() for k in kernel])
    return x, crowds


def test_against_a_loop():
    x = np.random.default_rng(0).normal(size=(40, 3)) * 3
    places, crowds = modes.modes(jnp.asarray(x, jnp.float32), jnp.ones(40, bool))
    assert places.shape == (40, len(modes.WIDTHS), 3)
    assert crowds.shape == (40, len(modes.WIDTHS))
    for i, width in enumerate(modes.WIDTHS):
        place, crowd = moved(x, width)
        np.testing.assert_allclose(places[:, i], place, atol=1e-4)
        np.testing.assert_allclose(crowds[:, i], crowd, atol=1e-4)


def test_padding_moves_nothing_and_is_zero():
    x = jax.random.normal(jax.random.key(0), (30, 3))
    valid = jnp.arange(50) < 30
    alone = modes.modes(x, jnp.ones(30, bool))
    padded = modes.modes(jnp.zeros((50, 3)).at[:30].set(x), valid)
    for part, whole in zip(padded, alone, strict=True):
        np.testing.assert_allclose(part[:30], whole, atol=1e-5)
        assert not np.asarray(part[30:]).any()


def test_clusters_come_together_and_strays_stay():
    random = np.random.default_rng(0)
    centres = np.array([[0.0, 0, 0], [12, 0, 0]])
    x = np.concatenate([c + random.normal(size=(60, 3)) for c in centres])
    x = np.concatenate([x, [[0.0, 40, 0]]])
    places, crowds = modes.modes(jnp.asarray(x, jnp.float32), jnp.ones(121, bool))
    places, crowds = np.asarray(places), np.asarray(crowds)
    for i, centre in enumerate(centres):
        own = slice(60 * i, 60 * i + 60)
        assert np.abs(places[own] - centre).max() < 0.8
        assert np.linalg.norm(x[own] - centre, axis=1).mean() > 1.5
    np.testing.assert_allclose(places[-1], np.tile(x[-1], (3, 1)), atol=1e-5)
    np.testing.assert_allclose(crowds[-1], 0, atol=1e-5)
    assert (np.diff(crowds[:60].mean(0)) > 0).all() and crowds[:60].min() > 1


def test_one_place_for_all():
    places, crowds = modes.modes(jnp.full((5, 2), 3.0), jnp.ones(5, bool))
    np.testing.assert_allclose(places, 3, rtol=1e-6)
    np.testing.assert_allclose(crowds, np.log(5), rtol=1e-6)


@pytest.mark.parametrize("length", [30.0, 60.0, 200.0])
def test_one_jitter_is_the_same_for_units_of_all_sizes(length):
    """A tenth of the length, where it is more than the noise, is one step."""
    x = jnp.asarray(np.stack([length * RAY, length * 1.1 * RAY]))
    short, lengths = modes.shortened(x, 0.1)
    assert float(lengths[1, 0] - lengths[0, 0]) == pytest.approx(1, rel=0.1)
    np.testing.assert_allclose(short, lengths * RAY, rtol=1e-5)
    np.testing.assert_allclose(modes.shortened(jnp.zeros(3), 0.1)[0], 0)
