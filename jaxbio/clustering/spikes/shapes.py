"""Encoder of snippets' features: each by itself, and beside an anchor.

What it is given is of `jaxbio.clustering.spikes.modes`: vectors are compared on a scale
on which units of all sizes spread alike, and so are the places that snippets come to
when each is moved to where it is crowded.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxbio.clustering.layers import Params, mlp, mlp_init
from jaxbio.clustering.spikes.modes import WIDTHS, shortened

_FAR = 4.0  # noise sd, a little over what spikes of one unit differ by
_NEAR = 2.0  # and their modes
_CROWD = 3.0  # logarithm of a number of snippets
_MIDDLE = len(WIDTHS) // 2


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
    width = 2 * cfg.dims + 1 + len(WIDTHS)
    return mlp_init(key, [width, *[cfg.hidden] * 4, cfg.dim])


def encode(params: Params, cfg: Config, inputs: Any, valid: jax.Array) -> jax.Array:
    """Encodes every snippet, (B, N, dim).

    Args:
        params: From `init`.
        cfg: See `Config`.
        inputs: See `relate`.
        valid: (B, N) bool; not looked at.
    """
    del valid
    short, length = shortened(inputs["x"], cfg.jitter)
    parts = [short, length, inputs["modes"][..., _MIDDLE, :]]
    scaled = jnp.concatenate(parts, -1) * cfg.jitter
    crowds = inputs["crowds"] / _CROWD
    return mlp(params, jnp.concatenate([scaled, crowds], -1))


def related_dim(cfg: Config) -> int:
    """Numbers that `relate` gives of a snippet."""
    return 3 * cfg.dims + 6 + 3 * len(WIDTHS)


def relate(cfg: Config, inputs: Any, anchor: jax.Array) -> jax.Array:
    """Snippets relative to anchors.

    Args:
        cfg: See `Config`.
        inputs: "x": (B, N, dims), zeros for padding; "modes": (B, N, widths, dims) and
            "crowds": (B, N, widths), of `modes.modes` of the shortened x.
        anchor: (B, R) int.

    Returns:
        (B, R, N, related_dim) float32: differences of shortened vectors, plain and
        squashed; those of modes, of the middle width, squashed; the logarithms of 1
        plus the squared length of differences, shortened, before shortening, of what
        is across the anchor's own ray, and of modes of every width; differences of
        shortened lengths, plain and squashed, and that of the anchor; differences of
        crowds, and those of the anchor.
    """
    x, places, crowds = inputs["x"], inputs["modes"], inputs["crowds"]
    short, length = shortened(x, cfg.jitter)
    at, at_short, at_length, at_place, at_crowd = (
        _taken(part, anchor) for part in (x, short, length, places, crowds)
    )
    difference = short[:, None] - at_short
    away = places[:, None] - at_place
    ray = at / jnp.maximum(jnp.linalg.norm(at, axis=-1, keepdims=True), 1e-6)
    along = (x[:, None] * ray).sum(-1, keepdims=True)
    longer = length[:, None] - at_length
    found = [difference * cfg.jitter, jnp.tanh(difference / _FAR)]
    found += [jnp.tanh(away[..., _MIDDLE, :] / _NEAR), _size(difference)]
    found += [_size(x[:, None] - at), _size(x[:, None] - along * ray)]
    found += [_size(away)[..., 0]]
    found += [longer * cfg.jitter, jnp.tanh(longer / _FAR)]
    found.append(jnp.broadcast_to(at_length * cfg.jitter, longer.shape))
    more = crowds[:, None] - at_crowd
    found += [more / _CROWD, jnp.broadcast_to(at_crowd / _CROWD, more.shape)]
    return jnp.concatenate(found, -1)


def _taken(part: jax.Array, anchor: jax.Array) -> jax.Array:
    """(B, R, 1, ...) of anchors (B, R) among (B, N, ...)."""
    return jax.vmap(lambda rows, at: rows[at])(part, anchor)[:, :, None]


def _size(x: jax.Array) -> jax.Array:
    return jnp.log1p(jnp.square(x).sum(-1, keepdims=True) / _FAR**2)
