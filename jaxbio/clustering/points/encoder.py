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
    """

    dims: int = 2
    dim: int = 64
    hidden: int = 64
    scale: float = 10.0


def init(key: jax.Array, cfg: Config) -> Params:
    """Draws parameters."""
    return mlp_init(key, [cfg.dims, *[cfg.hidden] * 4, cfg.dim])


def encode(params: Params, cfg: Config, inputs: Any, valid: jax.Array) -> jax.Array:
    """Points x (B, N, dims) to (B, N, dim), each by itself."""
    del valid
    return mlp(params, inputs["x"] / cfg.scale)


def related_dim(cfg: Config) -> int:
    """Numbers that `relate` gives of a point."""
    return 2 * cfg.dims


def relate(cfg: Config, inputs: Any, anchor: jax.Array) -> jax.Array:
    """Points relative to anchors: (B, R, N, related_dim) for anchors (B, R).

    Differences of coordinates, once over `scale` and once squashed to (-1, 1) at a
    tenth of it: near the anchor a cluster ends or goes on, far away it does not matter
    how far.
    """
    x = inputs["x"] / cfg.scale
    at = jnp.take_along_axis(x, anchor[..., None], 1)
    difference = x[:, None] - at[:, :, None]
    return jnp.concatenate([difference, jnp.tanh(10 * difference / 3)], -1)
