"""LLaMA: rotary positions, RMSNorm, SwiGLU and no biases, as a recommender.

Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023; rotary
positions: Su et al., "RoFormer", 2021; SwiGLU: Shazeer, "GLU Variants Improve
Transformer", 2020. In the place that the AE / AR study gives it (Yue et al., "Your
Causal Self-Attentive Recommender Hosts a Lonely Neighborhood", WSDM 2025).

    x   = E[id]
    x   = x + W_o MHA(rotated q, rotated k, v of RMS(x))
    x   = x + W_2 (silu(W_g n) * W_1 n),  n = RMS(x)
    s   = E RMS(x),   RMS(x) = x / sqrt(mean(x^2) + 1e-6) * scale

Queries and keys are turned by their position times 10000^(-2 k / e), in the pairs of
elements k and k + e / 2 of a head of width e, so that a product depends on the distance
alone; which elements make a pair is a matter of the order of W_q's and W_k's columns.
Nothing is dropped. Without `causal` the mask of the future is left out and the model is
trained on masked items. Ids are 1..items, 0 is padding, items + 1 the mask token.

Differences: the paper's scores have a table of their own, here as in the study it is
that of the embedding; the study's gate is a gelu.

Serving encodes the window anew at every event: what leaves a full window had a part in
what the other items were encoded as.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxrec.core.attention import segment_positions
from jaxrec.models._encoder import (
    EncoderConfig,
    Form,
    Params,
    affine,
    attention_of,
    blocks,
    decayed,
    drawn,
    head,
    score,
)
from jaxrec.models._layers import check_length, linear, rows_at
from jaxrec.models._windows import mask_token, serving, window

__all__ = [
    "LLaMAConfig",
    "attention",
    "decayed",
    "encode",
    "extend",
    "head",
    "init",
    "mask_token",
    "prefill",
    "score",
    "start",
    "step",
    "window",
]

_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class LLaMAConfig(EncoderConfig):
    """Sizes, see `jaxrec.models._encoder`; AR if nothing else is said."""

    def __post_init__(self):
        super().__post_init__()
        if self.dim // self.heads % 2:
            raise ValueError(
                "LLaMAConfig: want heads of an even width, got "
                f"dim={self.dim}, heads={self.heads}"
            )


def init(key: jax.Array, cfg: LLaMAConfig) -> Params:
    """Draws parameters: a plain nested dict of float32 arrays.

    Matrices and the table are normal with standard deviation 0.02, norms 1.
    """
    d, inner = cfg.dim, cfg.inner_ratio * cfg.dim
    block = {
        **{name: affine(d, d, False) for name in ("query", "key", "value", "out")},
        "norm": {"scale": (d,)},
        "gate": affine(d, inner, False),
        "ffn_in": affine(d, inner, False),
        "ffn_out": affine(inner, d, False),
        "ffn_norm": {"scale": (d,)},
    }
    layers = {f"block_{i}": block for i in range(cfg.blocks)}
    return drawn(key, cfg, {**layers, "norm": {"scale": (d,)}})


def encode(
    params: Params,
    cfg: LLaMAConfig,
    ids: jax.Array,
    *,
    segments: jax.Array | None = None,
    keys: jax.Array | None = None,
    at: jax.Array | None = None,
    weights: list[jax.Array] | None = None,
) -> jax.Array:
    """Outputs (b, t, D) float32 for ids (b, t) int32, padded on any side or packed.

    Arguments and errors are those of `jaxrec.models.bert4rec.encode`; dropout keys
    change nothing.
    """
    check_length(ids, cfg.length)
    positions = segment_positions(ids, segments)

    def positional(block, q, k, at):
        return _rotated(q, rows_at(positions, at)), _rotated(k, positions)

    x = params["embedding"]["table"][ids]
    layers = [params[f"block_{i}"] for i in range(cfg.blocks)]
    x = blocks(
        _FORM,
        cfg,
        layers,
        x,
        ids,
        segments,
        keys=keys,
        at=at,
        positional=positional,
        weights=weights,
    )
    return _rms_norm(params["norm"], x)


attention = attention_of(encode)
start, step, extend, prefill = serving(encode)


def _rms_norm(params, x):
    """x over its root mean square, times a scale, float32."""
    x = x.astype(params["scale"].dtype)
    mean = jnp.square(x).mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(mean + _EPSILON) * params["scale"]


def _swiglu(block, x, dtype):
    gate = jax.nn.silu(linear(block["gate"], x, dtype))
    return linear(block["ffn_out"], gate * linear(block["ffn_in"], x, dtype), dtype)


def _rotated(x, positions):
    """x (b, t, h, e) turned by its positions (b, t), in its dtype."""
    half = x.shape[-1] // 2
    angles = positions[..., None, None] * 10000.0 ** (-jnp.arange(half) / half)
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    one, two = jnp.split(x.astype(angles.dtype), 2, -1)
    turned = jnp.concatenate([one * cos - two * sin, one * sin + two * cos], -1)
    return turned.astype(x.dtype)


_FORM = Form(norm=_rms_norm, feed_forward=_swiglu, norm_first=True)
