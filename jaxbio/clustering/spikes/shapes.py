"""Encoder of snippets' features: amplitudes compressed, anchors moved to their cluster.

A neuron's spikes differ in amplitude by some share of it, and are aligned up to some
share of a sample, so that a unit spreads the more the larger it is: by 2.5 noise sd
along and 1.5 across where it is 21 from the origin, by 10.9 and 2.1 at 119 (`python -m
benchmarks.clustering --only spread`). Vectors are therefore shortened, each along
itself, to where units spread about alike.

And a single snippet is a poor place to look from: collisions and noise move it. Beside
the anchor itself there is the mean of the snippets near it, taken a few times (mean
shift, Fukunaga and Hostetler, 1975), from which distances have half the noise.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxbio.clustering.layers import Params, mlp, mlp_init

_FAR = 4.0  # noise sd, a little over what spikes of one unit differ by
_NEAR = 2.0  # sd of the kernel of the mean shift
_SHIFTS = 3


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        dims: Features of a snippet, as of `snippets.features`.
        dim: Of the vectors.
        hidden: Width of the four hidden layers.
        jitter: sd of a unit's amplitudes, as a share of them.
    """

    dims: int = 12
    dim: int = 64
    hidden: int = 64
    jitter: float = 0.08

    def __post_init__(self):
        for name in ("dims", "dim", "hidden", "jitter"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"encoder.{name}: want above 0, got {getattr(self, name)}"
                )


def init(key: jax.Array, cfg: Config) -> Params:
    """Draws parameters."""
    return mlp_init(key, [cfg.dims + 1, *[cfg.hidden] * 4, cfg.dim])


def encode(params: Params, cfg: Config, inputs: Any, valid: jax.Array) -> jax.Array:
    """Encodes every snippet by itself: x (B, N, dims), noise sd, to (B, N, dim)."""
    del valid
    short, length = _shortened(cfg, inputs["x"])
    return mlp(params, jnp.concatenate([short, length], -1) * cfg.jitter)


def related_dim(cfg: Config) -> int:
    """Numbers that `relate` gives of a snippet."""
    return 3 * cfg.dims + 7


def relate(cfg: Config, inputs: Any, anchor: jax.Array) -> jax.Array:
    """Snippets relative to anchors.

    Args:
        cfg: See `Config`.
        inputs: "x": (B, N, dims), zeros for padding.
        anchor: (B, R) int.

    Returns:
        (B, R, N, related_dim) float32: differences of shortened vectors, plain and
        squashed; those from the moved anchor, squashed; the logarithms of 1 plus the
        squared length of both, of the difference before shortening, and of what is
        across the anchor's own ray; differences of shortened lengths, plain and
        squashed, and that of the anchor.
    """
    x = inputs["x"]
    short, length = _shortened(cfg, x)
    at, at_short, at_length = (
        jnp.take_along_axis(a, anchor[..., None], 1)[:, :, None]
        for a in (x, short, length)
    )
    real = jnp.abs(x).max(-1)[:, None] > 0
    moved = _moved(short, at_short, real)
    difference, away = short[:, None] - at_short, short[:, None] - moved
    ray = at / jnp.maximum(jnp.linalg.norm(at, axis=-1, keepdims=True), 1e-6)
    along = (x[:, None] * ray).sum(-1, keepdims=True)
    longer = length[:, None] - at_length
    found = [difference * cfg.jitter, jnp.tanh(difference / _FAR)]
    found += [jnp.tanh(away / _NEAR), _size(difference), _size(away)]
    found += [_size(x[:, None] - at), _size(x[:, None] - along * ray)]
    found += [longer * cfg.jitter, jnp.tanh(longer / _FAR)]
    found.append(jnp.broadcast_to(at_length * cfg.jitter, longer.shape))
    return jnp.concatenate(found, -1)


def _shortened(cfg: Config, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Vectors (..., dims) and their lengths (..., 1), on which the spread grows, to
    where a step of `jitter` is one everywhere."""
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    short = jnp.arcsinh(length * cfg.jitter) / cfg.jitter
    return x * (short / jnp.maximum(length, 1e-6)), short


def _moved(x: jax.Array, at: jax.Array, real: jax.Array) -> jax.Array:
    """Anchors (B, R, 1, d) moved to the mean of x (B, N, d) near them."""
    for _ in range(_SHIFTS):
        # Squared distances without an array of differences.
        apart = (x * x).sum(-1)[:, None] - 2 * jnp.einsum(
            "bnd,brd->brn", x, at[:, :, 0]
        )
        apart = apart + (at * at).sum(-1)
        weight = jax.nn.softmax(jnp.where(real, -apart / (2 * _NEAR**2), -1e9))
        at = jnp.einsum("brn,bnd->brd", weight, x)[:, :, None]
    return at


def _size(x: jax.Array) -> jax.Array:
    return jnp.log1p(jnp.square(x).sum(-1, keepdims=True) / _FAR**2)
