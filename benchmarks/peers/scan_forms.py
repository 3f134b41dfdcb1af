"""Other forms of the linear recurrence h_t = lambda keep_t h_{t-1} + x_t, in JAX.

All take ``(lam, x, keep)``, batch-major as published: lam (h,) complex, x (b, t, h)
complex, keep (b, t) real, and return h (b, t, h). The split form takes and returns
complex arrays as pairs (real, imaginary) of real arrays; `split` makes them.

| form             | where it comes from                                          |
|------------------|--------------------------------------------------------------|
| `doubling`       | LRURec (Yue et al., WSDM 2024, Algorithm 1), as released     |
| `doubling_split` | the same without complex arrays                              |
| `associative`    | `jax.lax.associative_scan` of (lambda keep_t, x_t)           |
| `sequential`     | `jax.lax.scan` over axis 1                                   |

Recursive doubling looks at `keep` only where a chunk is joined to the one before it.
That is the recurrence when all resets stand at the left (left padding), not for resets
elsewhere; the other two take any `keep`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Pair = tuple[jax.Array, jax.Array]


def split(value: jax.Array) -> Pair:
    """Returns the real and the imaginary part of a complex array."""
    return jnp.real(value), jnp.imag(value)


def doubling(lam: jax.Array, x: jax.Array, keep: jax.Array) -> jax.Array:
    """Recursive doubling over left padded powers of two, complex."""
    length = x.shape[1]
    x, keep = _pad_to_power_of_two(x), _pad_to_power_of_two(keep)
    padded, half, powers = x.shape[1], 1, lam[None]
    while half < padded:
        chunks = x.reshape(-1, 2, half, x.shape[-1])
        joined = keep.reshape(-1, 2, half)[:, 1, 0, None, None]
        left, right = chunks[:, 0], chunks[:, 1]
        right = right + powers * (joined * left[:, -1:])
        x = jnp.stack([left, right], 1).reshape(x.shape)
        powers = jnp.concatenate([powers, powers * powers[-1]])
        half *= 2
    return x[:, padded - length :]


def doubling_split(lam: Pair, x: Pair, keep: jax.Array) -> Pair:
    """Recursive doubling with real and imaginary parts as separate arrays."""
    length = keep.shape[1]
    real, imaginary = map(_pad_to_power_of_two, x)
    keep = _pad_to_power_of_two(keep)
    padded, half = keep.shape[1], 1
    powers = lam[0][None], lam[1][None]
    while half < padded:
        shape = (-1, 2, half, real.shape[-1])
        joined = keep.reshape(-1, 2, half)[:, 1, 0, None, None]
        chunks = real.reshape(shape), imaginary.reshape(shape)
        ends = joined * chunks[0][:, 0, -1:], joined * chunks[1][:, 0, -1:]
        added = _multiply(powers, ends)
        real, imaginary = (
            jnp.stack([part[:, 0], part[:, 1] + more], 1).reshape(real.shape)
            for part, more in zip(chunks, added, strict=True)
        )
        further = _multiply(powers, (powers[0][-1], powers[1][-1]))
        powers = tuple(map(jnp.concatenate, zip(powers, further, strict=True)))
        half *= 2
    return real[:, padded - length :], imaginary[:, padded - length :]


def associative(lam: jax.Array, x: jax.Array, keep: jax.Array) -> jax.Array:
    """`jax.lax.associative_scan` of (lambda keep_t, x_t), complex."""

    def join(earlier, later):
        return earlier[0] * later[0], later[0] * earlier[1] + later[1]

    factors = lam * keep[..., None]
    return jax.lax.associative_scan(join, (factors, x), axis=1)[1]


def sequential(lam: jax.Array, x: jax.Array, keep: jax.Array) -> jax.Array:
    """`jax.lax.scan` over time of batch-major arrays, complex."""

    def step(state, inputs):
        x_t, keep_t = inputs
        state = lam * (keep_t[:, None] * state) + x_t
        return state, state

    inputs = x.swapaxes(0, 1), keep.swapaxes(0, 1)
    return jax.lax.scan(step, jnp.zeros_like(x[:, 0]), inputs)[1].swapaxes(0, 1)


def forward_backward(form: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a form together with its gradient.

    The result takes ``(lam, x, keep, cotangent)``, the cotangent shaped like h, and
    returns h, the gradient of lam and the gradient of x.
    """

    def both(lam, x, keep, cotangent):
        h, pull = jax.vjp(lambda lam, x: form(lam, x, keep), lam, x)
        return h, *pull(cotangent)

    return both


def _multiply(a: Pair, b: Pair) -> Pair:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _pad_to_power_of_two(value: jax.Array) -> jax.Array:
    """Pads axis 1 on the left with zeros."""
    missing = (1 << (value.shape[1] - 1).bit_length()) - value.shape[1]
    widths = [(0, 0)] * value.ndim
    widths[1] = (missing, 0)
    return jnp.pad(value, widths)
