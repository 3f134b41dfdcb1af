"""The network of `jaxrec.models.hstu`: embedding, blocks and outputs."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxrec.core.attention import segment_positions
from jaxrec.core.dropout import dropout_rows
from jaxrec.core.pointwise_attention import (
    causal_pointwise,
    pointwise_attend,
    pointwise_weights,
    relative_bias,
)
from jaxrec.core.time_bias import time_bias
from jaxrec.models._layers import (
    check_length,
    linear,
    mapped,
    rows_at,
    sequence_mask,
    split_heads,
    standardised,
)

if TYPE_CHECKING:
    from jaxrec.models.hstu import HSTUConfig

Params = dict[str, Any]
_EPSILON = 1e-6


def encode(
    params: Params,
    cfg: "HSTUConfig",
    ids: jax.Array,
    *,
    segments: jax.Array | None = None,
    keys: jax.Array | None = None,
    times: jax.Array | None = None,
) -> jax.Array:
    """Outputs (b, t, D) float32 of length 1 for ids (b, t) int32, padded or packed.

    Args:
      params: as from `init`.
      cfg: sizes.
      ids: (b, t) int32, 0 for padding, on either side; t is at most `cfg.length`.
      segments: (b, t) int32, different for neighbouring sequences of one row.
      keys: (b,) typed dropout keys, or `None` for inference.
      times: (b, t, 2) int32, when the event of each slot was and when the next one is,
        see `jaxrec.core.time_bias`; of a model with times, and of no other.

    Raises:
      ValueError: rows longer than the positions; times of another shape, or not as the
        model has them.
    """
    check_length(ids, cfg.length)
    check_times(cfg, times, (*ids.shape, 2))
    x = embedded(params, cfg, ids, segment_positions(ids, segments), keys)

    def attention(i, q, k, v):
        return causal(params, cfg, i, (q, k, v), times, segments)

    x, _ = blocks(params, cfg, x, ids != 0, attention, keys=keys)
    return unit(x)


def attention(
    params: Params,
    cfg: "HSTUConfig",
    ids: jax.Array,
    *,
    segments: jax.Array | None = None,
    times: jax.Array | None = None,
) -> jax.Array:
    """Weights (blocks, b, h, t, t) float32 that values are summed with in `encode`.

    For analyses, see `jaxrec.core.pointwise_attention.pointwise_weights`. Padding has
    values of 0 in the sum; here its weights are 0. Arguments and errors are those of
    `encode`; nothing is dropped.
    """
    check_length(ids, cfg.length)
    check_times(cfg, times, (*ids.shape, 2))
    slots = jnp.arange(ids.shape[1])[None]
    mask = sequence_mask(ids, segments, None, causal=True)
    weights = []

    def attend(i, q, k, v):
        timed = () if times is None else (times[..., 1], times[..., 0])
        bias = bias_of(params[f"block_{i}"], slots, slots, *timed)
        weights.append(pointwise_weights(q, k, bias, mask, cfg.length))
        return pointwise_attend(q, k, v, bias, mask, cfg.length)

    x = embedded(params, cfg, ids, segment_positions(ids, segments), None)
    blocks(params, cfg, x, ids != 0, attend)
    return jnp.stack(weights)


def check_times(cfg, times, shape):
    """Raises ValueError for times where the model has none, or none where it has."""
    if times is None:
        if cfg.times:
            raise ValueError("times: this model wants to know when events were")
    elif not cfg.times:
        raise ValueError("times: given to a model without them (times=false)")
    elif times.shape != shape:
        raise ValueError(f"times: want shape {shape}, got {times.shape}")


def causal(params, cfg, i, qkv, times, segments=None):
    """Attention of block i for sequences to themselves, as `causal_pointwise`."""
    block = params[f"block_{i}"]
    timed = None if times is None else (block["time_bias"], times)
    return causal_pointwise(
        *qkv, block["relative_bias"], length=cfg.length, segments=segments, timed=timed
    )


def bias_of(block, queries, keys, asked=None, times=None):
    """The bias (b or 1, 1, q, k) of slots and, with times, of what time passed."""
    bias = relative_bias(block["relative_bias"], queries, keys)
    return bias if times is None else bias + time_bias(block["time_bias"], asked, times)


def embedded(params, cfg, ids, positions, keys):
    """The input (b, t, D) of the first block, 0 where there is no item."""
    tables = params["embedding"]
    x = tables["table"][ids] * math.sqrt(cfg.dim) + tables["position"][positions]
    return jnp.where((ids != 0)[..., None], dropout_rows(x, cfg.dropout, keys, 0), 0)


def blocks(
    params: Params,
    cfg: "HSTUConfig",
    x: jax.Array,
    item: jax.Array,
    attention: Callable[..., jax.Array],
    *,
    keys: jax.Array | None = None,
    at: jax.Array | None = None,
) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]:
    """The blocks of x (b, t, D), and keys and values (b, t, h e) of each for a cache.

    Args:
      params: as from `init`.
      cfg: sizes.
      x: (b, t, D).
      item: (b, t) bool, False at padding, whose values are 0.
      attention: (i, queries, keys, values) -> (b, m, h, f), of block i; it knows the
        slots.
      keys: (b,) typed dropout keys, or `None` for inference.
      at: (b, m) slots that the last block is wanted at; `None` for all of them.
    """
    caches = []
    for i in range(cfg.blocks):
        block = params[f"block_{i}"]
        wanted = at if i == cfg.blocks - 1 else None
        u, v, q, k = _uvqk(block, cfg, standardised(x, _EPSILON), wanted)
        v = jnp.where(item[..., None], v, 0)
        caches.append((k, v))
        y = attention(i, *(split_heads(a, cfg.heads) for a in (q, k, v)))
        # The gate is read by the output map only: round once, behind the product.
        o = standardised(y.reshape(u.shape).astype(x.dtype), _EPSILON)
        o = dropout_rows(u * o, cfg.dropout_block, keys, 1 + i)
        y = linear(block["out"], o, jnp.dtype(cfg.compute_dtype))
        x = rows_at(x, wanted) + y.astype(x.dtype)
    return x, caches


def unit(x: jax.Array) -> jax.Array:
    """x over its Euclidean length, or over 1e-6 if that is more."""
    # The root of a sum that may be 0 has no gradient there; the bound is inside it.
    squared = jnp.square(x).sum(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, _EPSILON**2))


def _uvqk(block, cfg, n, at):
    """SiLU of the four maps of n (b, t, D); u and q only at the slots wanted."""
    dtype = jnp.dtype(cfg.compute_dtype)
    v, k = cfg.heads * cfg.dim_v, cfg.heads * cfg.dim_qk
    kernel = block["uvqk"]["kernel"].astype(dtype)

    def parts(x, kernel, *widths):
        y = jax.nn.silu(mapped(x.astype(dtype), kernel))
        ends = [sum(widths[: i + 1]) for i in range(len(widths) - 1)]
        return jnp.split(y, ends, -1)

    if at is None:
        return parts(n, kernel, v, v, k, k)
    of_u, of_v, of_q, of_k = jnp.split(kernel, (v, 2 * v, 2 * v + k), 1)
    u, q = parts(rows_at(n, at), jnp.concatenate([of_u, of_q], 1), v, k)
    v, k = parts(n, jnp.concatenate([of_v, of_k], 1), v, k)
    return u, v, q, k
