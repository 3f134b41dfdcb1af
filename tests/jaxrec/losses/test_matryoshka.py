"""The loss at every width: separate losses, values, gradients and memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.losses import matryoshka
from jaxrec.losses.matryoshka import choose_chunk, linear_matryoshka_ce
from jaxrec.losses.softmax import softmax_ce
from tests.jaxrec.compiling import quick_jit
from tests.jaxrec.losses.test_softmax import draw, scratch_bytes, value_and_gradients

SIZES = ((4, 0.2), (8, 0.5), (20, 1.7))


def separate(x, table, bias, labels, weights, sizes=SIZES):
    """As many plain losses as there are sizes."""
    return sum(
        share * softmax_ce(x[:, :size], table[:, :size], bias, labels, weights)
        for size, share in sizes
    )


@functools.cache
def wanted(n=21, d=20, v=33):
    with jax.enable_x64(True):
        return value_and_gradients(separate, *draw(n, d, v))


@pytest.mark.parametrize("chunk", [0, 8], ids=["one-block", "padded"])
def test_values_and_gradients_in_float64(chunk):
    with jax.enable_x64(True):
        value, grads = value_and_gradients(
            linear_matryoshka_ce, *draw(21, 20, 33), sizes=SIZES, chunk=chunk
        )
    assert float(value) == pytest.approx(float(wanted()[0]), rel=1e-12)
    for got, gradient in zip(grads, wanted()[1], strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, gradient, rtol=0, atol=1e-12)


def test_value_without_gradient_is_the_same():
    case = draw(21, 20, 33, np.float32)
    loss = functools.partial(linear_matryoshka_ce, sizes=SIZES, chunk=8)
    assert float(quick_jit(loss)(*case)) == pytest.approx(float(wanted()[0]), rel=1e-6)


def test_one_size_is_the_plain_loss():
    case = draw(21, 20, 33, np.float32)
    loss = functools.partial(linear_matryoshka_ce, sizes=((20, 1.0),))
    assert float(quick_jit(loss)(*case)) == pytest.approx(
        float(softmax_ce(*case)), rel=1e-6
    )


def test_bfloat16_input_is_summed_in_float32():
    x, table, bias, labels, weights = draw(21, 20, 33, np.float32, scale=0.5)
    coarse = jnp.asarray(x, jnp.bfloat16)
    seen = np.float32(coarse), np.float32(jnp.asarray(table, jnp.bfloat16))
    exact, exact_grads = value_and_gradients(separate, *seen, bias, labels, weights)
    value, grads = value_and_gradients(
        linear_matryoshka_ce,
        *(coarse, table, bias, labels, weights),
        sizes=SIZES,
        chunk=8,
    )
    assert value.dtype == jnp.float32
    assert float(value) == pytest.approx(float(exact), rel=1e-4)
    for got, gradient in zip(grads, exact_grads, strict=True):
        largest = np.abs(gradient).max()
        np.testing.assert_allclose(got, gradient, rtol=0, atol=0.01 * largest)


def test_huge_logits():
    # At width 4 the logits are 0, 0, 0; at width 8 they are 3e4, 0, -3e4.
    x, table = np.zeros((1, 8), np.float32), np.zeros((3, 8), np.float32)
    x[:, 4], table[:, 4] = 300, (100, 0, -100)
    case = (x, table, np.zeros(3, np.float32), np.int32([1]), np.ones(1, np.float32))
    value, grads = value_and_gradients(
        linear_matryoshka_ce, *case, sizes=((4, 1.0), (8, 1.0))
    )
    assert float(value) == pytest.approx(3e4 + np.log(3))
    np.testing.assert_allclose(grads[0][0, 4], 100)
    np.testing.assert_allclose(grads[2], [4 / 3, -5 / 3, 1 / 3], rtol=1e-6)


def test_scratch_memory_has_no_array_of_all_logits():
    n, d, v, chunk = 4096, 16, 5000, 128
    sizes = ((4, 1.0), (8, 1.0), (16, 1.0))
    logits, inputs = 4 * n * v, 4 * (n + v) * d
    assert scratch_bytes(functools.partial(separate, sizes=sizes), n, d, v) > 2 * logits
    loss = functools.partial(linear_matryoshka_ce, sizes=sizes, chunk=chunk)
    bound = 8 * inputs + (2 * len(sizes) + 2) * 4 * chunk * v
    assert bound < logits / 2
    assert scratch_bytes(loss, n, d, v) < bound


def test_blocks_are_chosen_by_device_catalogue_and_sizes(monkeypatch):
    assert choose_chunk(12_000, 8, "cpu") == 128
    assert choose_chunk(2**13, 8, "gpu") == 2**10
    assert choose_chunk(2_000_000, 8, "gpu") == 128
    monkeypatch.setattr(matryoshka, "choose_chunk", lambda items, sizes: items - 23)
    case = draw(21, 20, 33, np.float32)
    text = str(
        jax.make_jaxpr(functools.partial(linear_matryoshka_ce, sizes=SIZES))(*case)
    )
    assert "f32[3,7,20]" in text  # of 10 positions at most


def test_sizes_that_end_elsewhere_are_refused():
    with pytest.raises(ValueError, match=r"sizes: \(4, 8\) do not end at the width 20"):
        linear_matryoshka_ce(*draw(5, 20, 9), sizes=SIZES[:2])
