"""Snippets to vectors: a residual network along time.

The stages of the network of Neural Clustering Processes for spikes (Wang et al., 2019):
a convolution, then residual blocks of rising width at falling resolution, a mean over
time, a linear layer. Where theirs normalises by the batch, ours does by the channels of
each sample in time, so that no snippet depends on another one, nor on padding.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxbio.clustering.spikes import snippets


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
        dim: Of the vectors.
        channels: Electrodes in a snippet.
        widths: Of the stages; each but the first halves the resolution.
        kernel: Samples that a convolution spans; odd.
        scale: Snippets are divided by it: they are in noise sd, troughs around ten.
    """

    dim: int = 128
    channels: int = 7
    widths: tuple[int, ...] = (32, 64, 128)
    kernel: int = 3
    scale: float = 5.0

    def __post_init__(self):
        if not self.widths or min(self.widths + (self.dim, self.channels)) < 1:
            raise ValueError(f"a snippet encoder's sizes must be positive, got {self}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")


def init(key: jax.Array, cfg: Config) -> dict[str, Any]:
    """Draws the parameters; weights of the variance that keeps that of activations."""
    stem, out, *stages = jax.random.split(key, 2 + len(cfg.widths))
    inputs = (cfg.widths[0], *cfg.widths)
    return {
        "stem": _init_convolution(stem, cfg.channels, cfg.widths[0], cfg.kernel),
        "stages": [
            _init_block(key, before, width, cfg.kernel)
            for key, before, width in zip(stages, inputs, cfg.widths, strict=False)
        ],
        "norm": _init_norm(cfg.widths[-1]),
        "out": _init_convolution(out, cfg.widths[-1], cfg.dim, 1),
    }


def encode(
    params: dict[str, Any], cfg: Config, inputs: dict[str, jax.Array], valid: jax.Array
) -> jax.Array:
    """Encodes every snippet by itself.

    Args:
        params: As `init` makes them.
        cfg: See `Config`.
        inputs: "x": (B, N, time, channels) prepared snippets, noise sd.
        valid: (B, N) bool; the others become zeros.

    Returns:
        (B, N, dim) float32.

    Raises:
        ValueError: The snippets have another number of channels.
    """
    x = inputs["x"]
    if x.ndim != 4 or x.shape[3] != cfg.channels:
        raise ValueError(
            f"the encoder takes snippets of shape (B, N, time, {cfg.channels}), got "
            f"{x.shape}"
        )
    x = jnp.where(valid[..., None, None], x / cfg.scale, 0)
    x = x.reshape(-1, *x.shape[2:])
    x = _convolution(params["stem"], x)
    for number, block in enumerate(params["stages"]):
        x = _block(block, x, stride=1 + (number > 0))
    x = jax.nn.relu(_norm(params["norm"], x)).mean(axis=1, keepdims=True)
    x = _convolution(params["out"], x).reshape(*valid.shape, cfg.dim)
    return jnp.where(valid[..., None], x, 0)


def related_dim(cfg: Config) -> int:
    """Numbers that `relate` gives of a snippet."""
    return 2 * snippets.FUNCTIONS * cfg.channels


def relate(cfg: Config, inputs: dict[str, jax.Array], anchor: jax.Array) -> jax.Array:
    """Snippets relative to anchors.

    Differences of the projections on `snippets.time_basis`, once divided by `scale` and
    once squashed, as within a cluster they have an sd of about 1.4.

    Args:
        cfg: See `Config`.
        inputs: "x": (B, N, time, channels).
        anchor: (B, R) int.

    Returns:
        (B, R, N, related_dim) float32.
    """
    x = inputs["x"]
    basis = jnp.asarray(snippets.time_basis(x.shape[2]))
    x = jnp.einsum("bntc,tk->bnkc", x, basis)
    x = x.reshape(*x.shape[:2], -1)
    difference = x[:, None] - jnp.take_along_axis(x, anchor[..., None], 1)[:, :, None]
    return jnp.concatenate([difference / cfg.scale, jnp.tanh(difference / 4)], -1)


def _block(params: dict[str, Any], x: jax.Array, stride: int) -> jax.Array:
    """(B, T, C) to (B, T / stride, width); normalised before each convolution."""
    inside = jax.nn.relu(_norm(params["norm1"], x))
    beside = _convolution(params["beside"], x, stride)
    x = _convolution(params["first"], inside, stride)
    x = _convolution(params["second"], jax.nn.relu(_norm(params["norm2"], x)))
    return beside + x


def _convolution(params: dict[str, jax.Array], x: jax.Array, stride: int = 1):
    x = jax.lax.conv_general_dilated(
        x, params["w"], (stride,), "SAME", dimension_numbers=("NTC", "TIO", "NTC")
    )
    return x + params["b"]


def _norm(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Over the channels of each sample in time."""
    away = x - x.mean(axis=-1, keepdims=True)
    unit = away * jax.lax.rsqrt(jnp.square(away).mean(axis=-1, keepdims=True) + 1e-5)
    return unit * params["scale"] + params["bias"]


def _init_block(key: jax.Array, inputs: int, width: int, kernel: int):
    first, second, beside = jax.random.split(key, 3)
    return {
        "norm1": _init_norm(inputs),
        "first": _init_convolution(first, inputs, width, kernel),
        "norm2": _init_norm(width),
        "second": _init_convolution(second, width, width, kernel),
        "beside": _init_convolution(beside, inputs, width, 1),
    }


def _init_convolution(key: jax.Array, inputs: int, outputs: int, kernel: int):
    draw = jax.nn.initializers.he_normal(in_axis=(0, 1), out_axis=2)
    return {
        "w": draw(key, (kernel, inputs, outputs), jnp.float32),
        "b": jnp.zeros(outputs, jnp.float32),
    }


def _init_norm(width: int) -> dict[str, jax.Array]:
    return {"scale": jnp.ones(width, jnp.float32), "bias": jnp.zeros(width)}
