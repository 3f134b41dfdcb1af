"""Pointwise attention: the equation, and parts of the queries one after the other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.attention import attention_mask
from jaxrec.core.pointwise_attention import (
    causal_pointwise,
    pointwise_attend,
    pointwise_weights,
    relative_bias,
)
from tests.jaxrec.compiling import numpy_jit

B, T, H, E, F, N = 2, 9, 2, 3, 4, 12
SEGMENTS = np.array([[1] * 4 + [2] * 5, [1] * 9], np.int32)


def draw():
    rng = np.random.default_rng(0)
    shapes = ((B, T, H, E), (B, T, H, E), (B, T, H, F), (N,))
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def restated(q, k, v, relative, table=None, segments=None, times=None):
    """One pair of slots after the other, float64."""
    q, k, v, relative = (np.float64(a) for a in (q, k, v, relative))
    y = np.zeros((B, T, H, F))
    for b, i, h in np.ndindex(B, T, H):
        for j in range(i + 1):
            if segments is None or segments[b, i] == segments[b, j]:
                score = q[b, i, h] @ k[b, j, h] + relative[i - j]
                if times is not None:
                    passed = max(abs(times[b, i, 1] - times[b, j, 0]), 1)
                    score += table[int(np.log(passed) / 0.301)]
                y[b, i, h] += score / (1 + np.exp(-score)) / N * v[b, j, h]
    return y


@pytest.mark.parametrize(
    ("segments", "timed"),
    [(None, False), (SEGMENTS, False), (SEGMENTS, True)],
    ids=["whole", "packed", "timed"],
)
def test_parts_equal_the_equation_and_the_whole(segments, timed):
    rng = np.random.default_rng(1)
    arrays = [*draw(), rng.normal(size=40).astype(np.float32)]
    times = rng.integers(0, 90_000, (B, T, 2), dtype=np.int32) if timed else None

    def gradients(part):
        def total(*arrays):
            *arrays, table = arrays
            y = causal_pointwise(
                *arrays,
                length=N,
                segments=segments,
                timed=(table, times) if timed else None,
                part=part,
            )
            return jnp.sin(3 * y).sum(), y

        return numpy_jit(jax.grad(total, (0, 1, 2, 3, 4), has_aux=True))(*arrays)

    grads, y = gradients(4)
    assert np.abs(grads[4]).max() > 0.1 or not timed
    wanted = restated(*arrays, segments, times)
    assert np.abs(wanted).max() > 0.5
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-6)
    for got, whole in zip(grads, gradients(T)[0], strict=True):
        np.testing.assert_allclose(got, whole, rtol=0, atol=1e-5)


def test_some_queries_with_a_mask():
    q, k, v, relative = draw()
    slots, at = jnp.arange(T)[None], jnp.array([[8, 0], [3, 3]])
    some = jnp.take_along_axis(q, at[..., None, None], 1)
    mask = attention_mask(at, slots, causal=True)
    bias = relative_bias(relative, at, slots)
    y = pointwise_attend(some, k, v, bias, mask, N)
    wanted = np.take_along_axis(
        restated(q, k, v, relative), np.asarray(at)[..., None, None], 1
    )
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-6)


def test_weights_are_those_of_the_sum():
    q, k, v, relative = draw()
    slots = jnp.arange(T)[None]
    mask = attention_mask(slots, slots, causal=True)
    bias = relative_bias(relative, slots, slots)
    weights = np.asarray(pointwise_weights(q, k, bias, mask, N))
    assert weights.dtype == np.float32 and weights.min() < 0
    y = np.einsum("bhqk,bkhe->bqhe", weights, v)
    np.testing.assert_allclose(y, restated(q, k, v, relative), rtol=0, atol=1e-6)
    # Also where a score is so low that its SiLU is 0.
    low = np.asarray(pointwise_weights(q, k, bias - 1e3, mask, N))
    np.testing.assert_array_equal(low != 0, np.broadcast_to(mask, low.shape))
    assert np.abs(low).max() < 1e-30


def test_relative_bias_by_distance():
    queries, keys = np.array([[2], [0]]), np.array([[0, 1, 2, 3]])
    bias = relative_bias(jnp.array([5.0, 6.0, 7.0]), queries, keys)
    np.testing.assert_array_equal(bias[:, 0], [[[7, 6, 5, 5]], [[5, 5, 5, 5]]])


def test_bfloat16_products_with_float32_between_them():
    *qkv, relative = draw()
    half = [a.astype(jnp.bfloat16) for a in qkv]
    y = numpy_jit(functools.partial(causal_pointwise, length=N))(*half, relative)
    assert y.dtype == jnp.bfloat16
    error = np.abs(np.float32(y) - restated(*map(np.float32, half), relative))
    assert 1e-5 < error.max() < 4 * 2**-8


def test_a_part_without_queries_is_refused():
    with pytest.raises(ValueError, match="part: want at least 1, got 0"):
        causal_pointwise(*draw(), length=N, part=0)
