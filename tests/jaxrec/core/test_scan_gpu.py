"""The kernel of the recurrence, interpreted on a CPU, against the sequential form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core import scan, scan_gpu
from tests.jaxrec.compiling import quick_jit
from tests.jaxrec.gpu_kernels import interpreted, lowered_for_gpu

CHANNELS = scan_gpu.LANES


def draw(length, batch, channels):
    """lambda, x, keep, h0 and a gradient of the states, float32."""
    rng = np.random.default_rng(length)

    def pair(*shape):
        return tuple(rng.standard_normal((2, *shape), np.float32))

    lam = tuple(rng.uniform(-0.7, 0.7, (2, channels)).astype(np.float32))
    keep = (rng.random((length, batch)) < 0.8).astype(np.float32)
    sequences = (length, batch, channels)
    return lam, pair(*sequences), keep, pair(batch, channels), pair(*sequences)


def join(parts):
    return np.concatenate(parts, -1)


def value_and_gradients(form, lam, x, keep, h0, g, reverse):
    def run(lam, x, h0):
        return scan.linear_recurrence(lam, x, keep, h0, reverse=reverse, form=form)[0]

    h, pull = jax.vjp(run, lam, x, h0)
    return h, pull(g)


@pytest.mark.parametrize(
    ("length", "batch", "channels", "masked", "reverse", "joined"),
    [
        pytest.param(16, 2, CHANNELS, True, False, False, id="one-block"),
        pytest.param(5, 2, CHANNELS, True, True, True, id="shorter-than-a-block"),
        pytest.param(37, 1, 2 * CHANNELS, True, False, True, id="filled-up"),
        pytest.param(37, 2, CHANNELS, True, True, False, id="filled-up-in-front"),
        pytest.param(100, 1, CHANNELS, False, False, True, id="more-than-stages"),
        pytest.param(130, 1, CHANNELS, True, True, True, id="keep-beyond-a-row"),
    ],
)
def test_equals_the_sequential_form(
    monkeypatch, length, batch, channels, masked, reverse, joined
):
    lam, x, keep, h0, g = draw(length, batch, channels)
    keep = keep if masked else None
    wanted = quick_jit(
        lambda *a: value_and_gradients("sequential", *a, keep, h0, g, reverse)
    )(lam, x)
    if joined:
        x, g = join(x), join(g)
    with interpreted(monkeypatch):
        found = quick_jit(
            lambda *a: value_and_gradients("kernel", *a, keep, h0, g, reverse)
        )(lam, x)
        found = jax.tree.map(np.asarray, found)
    if joined:
        h, (d_lam, d_x, d_h0) = wanted
        wanted = join(h), (d_lam, join(d_x), d_h0)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=3e-6 * np.abs(other).max())


@pytest.mark.parametrize("joined", [True, False])
def test_a_gpu_is_given_two_kernels(joined):
    lam, x, keep, h0, g = draw(200, 8, CHANNELS)
    if joined:
        x, g = join(x), join(g)
    program = lowered_for_gpu(
        lambda *a: value_and_gradients("kernel", *a, False), lam, x, keep, h0, g
    )
    assert program.count("custom_call @mosaic_gpu") == 2


@pytest.mark.parametrize(
    ("length", "channels", "dtype"),
    [(5, 64, np.float32), (scan.KERNEL_LONGEST + 1, 128, np.float32)],
)
def test_what_the_kernel_does_not_take_is_refused(length, channels, dtype):
    x = jax.ShapeDtypeStruct((length, 1, channels), dtype)
    lam = jax.ShapeDtypeStruct((channels,), dtype)
    with pytest.raises(ValueError, match=f"'kernel' wants .* {channels} channels"):
        jax.eval_shape(
            lambda lam, x: scan.linear_recurrence(lam, x, form="kernel"),
            (lam, lam),
            (x, x),
        )


def test_float64_is_refused():
    with jax.enable_x64(True):
        lam, x = jnp.zeros(CHANNELS), jnp.zeros((5, 1, CHANNELS))
        with pytest.raises(ValueError, match="wants float32, .* got float64"):
            scan.linear_recurrence((lam, lam), (x, x), form="kernel")
