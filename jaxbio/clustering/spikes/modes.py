"""Where snippets crowd: lengths on a fair scale, and points moved to their clusters.

A neuron's spikes differ in amplitude by some share of it, and are aligned up to some
share of a sample, so that a unit spreads the more the larger it is (`python -m
benchmarks.clustering --only spread`). Vectors are therefore shortened, each along
itself, to where units spread about alike.

There a single snippet is a poor place to look from: collisions and noise move it. All
snippets at once are moved to the mean of those near them, a few times (blurring mean
shift, Fukunaga and Hostetler, 1975), so that those of one unit come to lie together,
strays stay where they are, and distances have little of the noise left. That is done
with kernels of several widths, since units of few snippets and units that lie close
want different ones.
"""

import jax
import jax.numpy as jnp

WIDTHS = (2.0, 3.0, 4.0)  # sd of the kernels, in noise sd of shortened vectors
_ROUNDS = 3


def shortened(x: jax.Array, jitter: float) -> tuple[jax.Array, jax.Array]:
    """Vectors on a scale where a step of `jitter` of their length is one everywhere.

    Args:
        x: (..., dims), noise sd.
        jitter: sd of a unit's amplitudes, as a share of them.

    Returns:
        (..., dims), and their lengths (..., 1): arcsinh(length jitter) / jitter.
    """
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    short = jnp.arcsinh(length * jitter) / jitter
    return x * (short / jnp.maximum(length, 1e-6)), short


def modes(x: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Points of one problem moved to where they crowd, by kernels of `WIDTHS`.

    Args:
        x: (N, dims), shortened.
        valid: (N,) bool.

    Returns:
        (N, widths, dims) moved points, and (N, widths), for how many points each has
        near it before they move, itself included: the logarithm of the sum of the
        kernel. 0 where not valid.
    """
    found = [_moved(x, valid, width) for width in WIDTHS]
    places, crowds = (jnp.stack(each, 1) for each in zip(*found, strict=True))
    there = valid[:, None]
    return jnp.where(there[..., None], places, 0), jnp.where(there, crowds, 0)


def _moved(x, valid, width):
    crowd = None
    for _ in range(_ROUNDS):
        squares = (x * x).sum(-1)
        apart = squares[:, None] + squares - 2 * x @ x.T
        weight = jnp.exp(-jnp.maximum(apart, 0) / (2 * width**2)) * valid
        total = jnp.maximum(weight.sum(-1), 1e-9)
        crowd = jnp.log(total) if crowd is None else crowd
        x = weight @ x / total[:, None]
    return x, crowd
