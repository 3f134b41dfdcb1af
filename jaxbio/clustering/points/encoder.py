"""Encoder of points in space: a perceptron of their coordinates."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxbio.clustering.layers import Params, mlp, mlp_init


@dataclasses.dataclass(frozen=True)
class Config:
    """Attributes:
    dims: coordinates of a point.
    dim: of the encoding.
    hidden: width of the four hidden layers.
    scale: coordinates are divided by it. The published model takes them as they are,
      with values of 30, which is hard on a perceptron.
    distance: whether `relate` gives the distance as well, which a perceptron would have
      to learn from two coordinates, and can hardly learn from many.
    """

    dims: int = 2
    dim: int = 64
    hidden: int = 64
    scale: float = 10.0
    distance: bool = False


def init(key: jax.Array, cfg: Config) -> Params:
    """Draws parameters."""
    return mlp_init(key, [cfg.dims, *[cfg.hidden] * 4, cfg.dim])


def encode(params: Params, cfg: Config, inputs: Any, valid: jax.Array) -> jax.Array:
    """Points x (B, N, dims) to (B, N, dim), each by itself."""
    del valid
    return mlp(params, inputs["x"] / cfg.scale)


def related_dim(cfg: Config) -> int:
    """Numbers that `relate` gives of a point."""
    return 2 * cfg.dims + cfg.distance


def relate(cfg: Config, inputs: Any, anchor: jax.Array) -> jax.Array:
    """Points relative to anchors: (B, R, N, related_dim) for anchors (B, R).

    Differences of coordinates, once over `scale` and once squashed to (-1, 1) at a
    tenth of it: near the anchor a cluster ends or goes on, far away it does not matter
    how far. With `distance`, the logarithm of 1 + its square in such tenths too.
    """
    x = inputs["x"] / cfg.scale
    at = jnp.take_along_axis(x, anchor[..., None], 1)
    difference = x[:, None] - at[:, :, None]
    near = 10 * difference / 3
    found = [difference, jnp.tanh(near)]
    if cfg.distance:
        found.append(jnp.log1p(jnp.square(near).sum(-1, keepdims=True)))
    return jnp.concatenate(found, -1)
