"""Encoder of snippets' features: amplitudes, shapes, and anchors that are moved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.spikes import shapes

CONFIG = shapes.Config(dims=3, dim=8, hidden=8, jitter=0.1)
RAY = np.array([2.0, -1.0, 2.0]) / 3


def related(x, anchor=0):
    x = jnp.asarray(x, jnp.float32)[None]
    found = shapes.relate(CONFIG, {"x": x}, jnp.full((1, 1), anchor))[0, 0]
    assert found.shape == (x.shape[1], shapes.related_dim(CONFIG))
    names = ("plain", "squashed", "away", "rest")
    return dict(zip(names, jnp.split(found, [3, 6, 9], axis=1), strict=True))


def shortened(x):
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x * np.arcsinh(0.1 * length) / (0.1 * length)


def test_encoding_has_its_shape_and_is_of_each_snippet_alone():
    params = shapes.init(jax.random.key(0), CONFIG)
    x = jax.random.normal(jax.random.key(1), (2, 5, 3)) * 20
    found = shapes.encode(params, CONFIG, {"x": x}, jnp.ones((2, 5), bool))
    assert found.shape == (2, 5, 8)
    alone = shapes.encode(params, CONFIG, {"x": x[:, 2:3]}, jnp.ones((2, 1), bool))
    np.testing.assert_allclose(alone[:, 0], found[:, 2], rtol=1e-4, atol=1e-5)


def test_relations_are_of_shortened_vectors():
    x = np.stack([30 * RAY, 33 * RAY, [4.0, 0, 3.0]])
    found = related(x)
    difference = shortened(x) - shortened(x)[0]
    np.testing.assert_allclose(found["plain"], difference * 0.1, atol=1e-5)
    np.testing.assert_allclose(found["squashed"], np.tanh(difference / 4), atol=1e-5)
    rest = np.asarray(found["rest"])
    squares = np.log1p((difference**2).sum(1) / 16)
    np.testing.assert_allclose(rest[:, 0], squares, atol=1e-5)
    squares = np.log1p(((x - x[0]) ** 2).sum(1) / 16)
    np.testing.assert_allclose(rest[:, 2], squares, rtol=1e-4, atol=1e-5)
    across = x - np.outer(x @ RAY, RAY)
    np.testing.assert_allclose(rest[:, 3], np.log1p((across**2).sum(1) / 16), atol=1e-4)
    longer = np.arcsinh(0.1 * np.linalg.norm(x, axis=1)) - np.arcsinh(3.0)
    np.testing.assert_allclose(rest[:, 4], longer, atol=1e-5)
    np.testing.assert_allclose(rest[:, 5], np.tanh(10 * longer / 4), atol=1e-4)
    np.testing.assert_allclose(rest[:, 6], np.arcsinh(3.0), rtol=1e-5)


@pytest.mark.parametrize("length", [30.0, 60.0, 200.0])
def test_one_jitter_is_the_same_for_units_of_all_sizes(length):
    """A jitter of the amplitude, where it is more than the noise, is one step."""
    found = related(np.stack([length * RAY, length * 1.1 * RAY]))
    assert found["rest"][1, 5] == pytest.approx(np.tanh(0.1 / 0.4), rel=0.12)


def test_an_anchor_is_moved_to_the_middle_of_its_cluster():
    random = np.random.default_rng(0)
    cluster = 6 * RAY + 0.5 * random.normal(size=(200, 3))
    other = -20 * RAY + random.normal(size=(200, 3))
    x = np.concatenate([6 * RAY[None] + [1.5, 0, -1.0], cluster, other])
    middle = shortened(cluster).mean(0)
    away = 2 * np.arctanh(np.asarray(related(x)["away"])[0])
    np.testing.assert_allclose(away, shortened(x)[0] - middle, atol=0.15)


def test_padding_moves_no_anchor():
    x = np.stack([1.0 * RAY, 2 * RAY, 1.5 * RAY + 0.1])
    padded = np.concatenate([x, np.zeros((50, 3))])
    for name, part in related(padded).items():
        np.testing.assert_allclose(part[:3], related(x)[name], atol=1e-5)


def test_an_anchor_of_zeros_has_no_ray():
    found = related(np.stack([np.zeros(3), 5 * RAY]))
    assert all(np.isfinite(part).all() for part in found.values())


@pytest.mark.parametrize("name", ["dims", "hidden", "jitter"])
def test_sizes_are_checked(name):
    with pytest.raises(ValueError, match=f"encoder.{name}: want above 0, got 0"):
        shapes.Config(**{name: 0})
