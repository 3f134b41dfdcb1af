"""Encoder of snippets' features: relations beside an anchor, in numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.spikes import modes, shapes

CONFIG = shapes.Config(dims=3, dim=8, hidden=8, jitter=0.1)
RAY = np.array([2.0, -1.0, 2.0]) / 3


def inputs_of(x):
    """Of one problem, (1, n, ...); rows of zeros are padding."""
    x = jnp.asarray(x, jnp.float32)
    short, _ = modes.shortened(x, CONFIG.jitter)
    places, crowds = modes.modes(short, jnp.abs(x).max(-1) > 0)
    return {"x": x[None], "modes": places[None], "crowds": crowds[None]}


def related(x, anchor=0):
    found = shapes.relate(CONFIG, inputs_of(x), jnp.full((1, 1), anchor))[0, 0]
    assert found.shape == (len(x), shapes.related_dim(CONFIG))
    names = ("plain", "squashed", "away", "rest")
    return dict(zip(names, jnp.split(found, [3, 6, 9], axis=1), strict=True))


def shortened(x):
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x * np.arcsinh(0.1 * length) / (0.1 * length)


def test_encoding_has_its_shape_and_is_of_each_snippet_alone():
    params = shapes.init(jax.random.key(0), CONFIG)
    inputs = inputs_of(jax.random.normal(jax.random.key(1), (5, 3)) * 20)
    found = shapes.encode(params, CONFIG, inputs, jnp.ones((1, 5), bool))
    assert found.shape == (1, 5, 8)
    one = {name: part[:, 2:3] for name, part in inputs.items()}
    alone = shapes.encode(params, CONFIG, one, jnp.ones((1, 1), bool))
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
    np.testing.assert_allclose(rest[:, 1], squares, rtol=1e-4, atol=1e-5)
    across = x - np.outer(x @ RAY, RAY)
    np.testing.assert_allclose(rest[:, 2], np.log1p((across**2).sum(1) / 16), atol=1e-4)
    longer = np.arcsinh(0.1 * np.linalg.norm(x, axis=1)) - np.arcsinh(3.0)
    np.testing.assert_allclose(rest[:, 6], longer, atol=1e-5)
    np.testing.assert_allclose(rest[:, 7], np.tanh(10 * longer / 4), atol=1e-4)
    np.testing.assert_allclose(rest[:, 8], np.arcsinh(3.0), rtol=1e-5)


def test_relations_of_modes_and_crowds():
    x = np.random.default_rng(0).normal(size=(30, 3)) * 4 + 10 * RAY
    found, inputs = related(x, anchor=7), inputs_of(x)
    places, crowds = np.asarray(inputs["modes"][0]), np.asarray(inputs["crowds"][0])
    away = places - places[7]
    np.testing.assert_allclose(found["away"], np.tanh(away[:, 1] / 2), atol=1e-5)
    rest = np.asarray(found["rest"])
    sizes = np.log1p((away**2).sum(-1) / 16)
    np.testing.assert_allclose(rest[:, 3:6], sizes, atol=1e-5)
    np.testing.assert_allclose(rest[:, 9:12], (crowds - crowds[7]) / 3, atol=1e-5)
    np.testing.assert_allclose(rest[:, 12:], np.tile(crowds[7] / 3, (30, 1)), atol=1e-5)


def test_padding_changes_nothing():
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
