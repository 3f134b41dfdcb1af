"""Encoder of snippets' features: amplitude and shape apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.spikes import shapes

CONFIG = shapes.Config(dims=3, dim=8, hidden=8, jitter=0.1)
RAY = np.array([2.0, -1.0, 2.0]) / 3


def related(x):
    x = jnp.asarray(x, jnp.float32)[None]
    found = shapes.relate(CONFIG, {"x": x}, jnp.zeros((1, 1), int))[0, 0]
    assert found.shape == (x.shape[1], shapes.related_dim(CONFIG))
    difference, squashed, across, rest = jnp.split(found, [3, 6, 9], axis=1)
    return difference, squashed, across, rest


def test_encoding_has_its_shape_and_is_of_each_snippet_alone():
    params = shapes.init(jax.random.key(0), CONFIG)
    x = jax.random.normal(jax.random.key(1), (2, 5, 3)) * 20
    found = shapes.encode(params, CONFIG, {"x": x}, jnp.ones((2, 5), bool))
    assert found.shape == (2, 5, 8)
    alone = shapes.encode(params, CONFIG, {"x": x[:, 2:3]}, jnp.ones((2, 1), bool))
    np.testing.assert_allclose(alone[:, 0], found[:, 2], rtol=1e-4, atol=1e-5)


def test_an_amplitude_is_not_a_shape():
    x = np.stack([30 * RAY, 33 * RAY, -10 * RAY, np.zeros(3)])
    difference, squashed, across, rest = related(x)
    np.testing.assert_allclose(difference, (x - x[0]) / CONFIG.scale, atol=1e-6)
    np.testing.assert_allclose(squashed, np.tanh((x - x[0]) / 4), atol=1e-5)
    np.testing.assert_allclose(across, 0, atol=1e-5)
    np.testing.assert_allclose(rest[:, 1], 0, atol=1e-6)
    assert abs(rest[0, 2]) < 1e-5 < rest[1, 2] and (rest[2:, 2] < -0.99).all()


@pytest.mark.parametrize("length", [30.0, 60.0, 200.0])
def test_one_jitter_is_the_same_for_units_of_all_sizes(length):
    """A jitter of the amplitude, where it is more than the noise, is one step."""
    *_, rest = related(np.stack([length * RAY, length * 1.1 * RAY]))
    assert rest[1, 2] == pytest.approx(np.tanh(0.1 / 0.4), rel=0.12)


def test_what_is_across_the_ray_is_a_shape():
    off = np.array([1.0, 2.0, 0.0]) / 5**0.5
    *_, across, rest = related(np.stack([50 * RAY, 40 * RAY + 3 * off]))
    np.testing.assert_allclose(across[1], np.tanh(3 * off / 4), atol=1e-5)
    assert rest[1, 1] == pytest.approx(np.log1p(9 / 16), rel=1e-4)
    assert rest[1, 0] == pytest.approx(np.log1p(109 / 16), rel=1e-4)


def test_an_anchor_of_zeros_has_no_ray():
    found = related(np.stack([np.zeros(3), 5 * RAY]))
    assert all(np.isfinite(part).all() for part in found)


@pytest.mark.parametrize("name", ["dims", "scale", "jitter"])
def test_sizes_are_checked(name):
    with pytest.raises(ValueError, match=f"encoder.{name}: want above 0, got 0"):
        shapes.Config(**{name: 0})
