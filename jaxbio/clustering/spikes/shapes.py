"""Encoder of snippets' features: what differs in shape, and what in amplitude only.

A neuron's spikes differ in amplitude by some share of it, so that snippets of a unit
lie along a ray from the origin, the longer the larger the unit is. Relative to an
anchor a snippet is therefore described across the anchor's ray and along it apart, and
along it on a scale on which all units spread alike.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxbio.clustering.layers import Params, mlp, mlp_init

_FAR = 4.0  # noise sd, a little over what spikes of one unit differ by


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        dims: Features of a snippet, as of `snippets.features`.
        dim: Of the vectors.
        hidden: Width of the four hidden layers.
        scale: Features are divided by it.
        jitter: sd of a unit's amplitudes, as a share of them.
    """

    dims: int = 12
    dim: int = 64
    hidden: int = 64
    scale: float = 20.0
    jitter: float = 0.08

    def __post_init__(self):
        for name in ("dims", "dim", "hidden", "scale", "jitter"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"encoder.{name}: want above 0, got {getattr(self, name)}"
                )


def init(key: jax.Array, cfg: Config) -> Params:
    """Draws parameters."""
    return mlp_init(key, [2 * cfg.dims + 1, *[cfg.hidden] * 4, cfg.dim])


def encode(params: Params, cfg: Config, inputs: Any, valid: jax.Array) -> jax.Array:
    """Encodes every snippet by itself: x (B, N, dims), noise sd, to (B, N, dim)."""
    del valid
    x = inputs["x"]
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    known = [x / cfg.scale, jnp.tanh(x / _FAR), _amplitude(cfg, length)]
    return mlp(params, jnp.concatenate(known, -1))


def related_dim(cfg: Config) -> int:
    """Numbers that `relate` gives of a snippet."""
    return 3 * cfg.dims + 3


def relate(cfg: Config, inputs: Any, anchor: jax.Array) -> jax.Array:
    """Snippets relative to anchors.

    Args:
        cfg: See `Config`.
        inputs: "x": (B, N, dims).
        anchor: (B, R) int.

    Returns:
        (B, R, N, related_dim) float32: the difference, over `scale` and squashed; what
        is across the anchor's ray, squashed; the logarithms of 1 plus the squares of
        both; and the difference of the amplitudes along the ray, squashed.
    """
    x = inputs["x"]
    at = jnp.take_along_axis(x, anchor[..., None], 1)
    length = jnp.linalg.norm(at, axis=-1, keepdims=True)
    ray = at / jnp.maximum(length, 1e-6)
    along = jnp.einsum("bnf,brf->brn", x, ray)[..., None]
    difference = x[:, None] - at[:, :, None]
    across = x[:, None] - along * ray[:, :, None]
    longer = _amplitude(cfg, along) - _amplitude(cfg, length)[:, :, None]
    found = [difference / cfg.scale, jnp.tanh(difference / _FAR)]
    found += [jnp.tanh(across / _FAR), _size(difference), _size(across)]
    return jnp.concatenate([*found, jnp.tanh(longer / (_FAR * cfg.jitter))], -1)


def _amplitude(cfg: Config, length: jax.Array) -> jax.Array:
    """Noise sd, on which the spread grows, to where it is `jitter` everywhere."""
    return jnp.arcsinh(length * cfg.jitter)


def _size(x: jax.Array) -> jax.Array:
    return jnp.log1p(jnp.square(x).sum(-1, keepdims=True) / _FAR**2)
