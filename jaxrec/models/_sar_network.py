"""The network of `jaxrec.models.sar`: embedding, blocks and outputs."""

import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxrec.core.attention import segment_positions
from jaxrec.core.dropout import dropout_rows
from jaxrec.models._layers import (
    check_length,
    layer_norm,
    linear,
    rows_at,
    self_attention,
    sequence_mask,
)
from jaxrec.models._sar_local import has_positions, heads_of, limits, without_attention

if TYPE_CHECKING:
    from jaxrec.models.sar import SARConfig

Params = dict[str, Any]


def encode(
    params: Params,
    cfg: "SARConfig",
    ids: jax.Array,
    *,
    segments: jax.Array | None = None,
    keys: jax.Array | None = None,
    at: jax.Array | None = None,
    users: jax.Array | None = None,
) -> jax.Array:
    """Outputs (b, t, w) float32 for ids (b, t) int32, padded on any side or packed.

    The width w is D, or D / 2 + 1 with user vectors, see `head`.

    Args:
      params: as from `init`.
      cfg: sizes.
      ids: (b, t) int32, 0 for padding, items + 1 for the mask token; t is at most
        `cfg.length`.
      segments: (b, t) int32, different for neighbouring sequences of one row.
      keys: (b,) typed dropout keys, or `None` for inference.
      at: (b, m) int32, the slots whose outputs are wanted, (b, m, w); the last block
        then computes nothing else but keys and values. `None` for all.
      users: (b, t) int32 in 0..cfg.users, whose item each slot holds; `None` for the
        unknown user 0 everywhere.

    Raises:
      ValueError: rows longer than the positions; users of another shape, or for a model
        without user vectors.
    """
    check_length(ids, cfg.length)
    check_users(cfg, users, ids.shape)

    def mask(at):
        return sequence_mask(ids, segments, at, cfg.causal, limits(cfg))

    x = embedded(params, cfg, ids, segment_positions(ids, segments), users, keys)
    x, _ = blocks(params, cfg, x, mask, keys=keys, at=at)
    return output(params, cfg, x, None if users is None else rows_at(users, at))


def check_users(cfg, users, shape):
    """Raises ValueError for users that the model has no vectors for, or too few."""
    if users is None:
        return
    if not cfg.users:
        raise ValueError("users: given to a model without user vectors (users=0)")
    if users.shape != shape:
        raise ValueError(f"users: want shape {shape}, got {users.shape}")


def attention(
    params: Params,
    cfg: "SARConfig",
    ids: jax.Array,
    *,
    segments: jax.Array | None = None,
    users: jax.Array | None = None,
) -> jax.Array:
    """Attention weights (blocks, b, h, t, t) float32 of `encode`, for analyses.

    See `jaxrec.core.attention.attention_weights`. Arguments and errors are those of
    `encode`; nothing is dropped. Local heads of the kinds conv and rnn have no weights:
    h counts the others.

    Raises:
      ValueError: no head has attention weights.
    """
    check_length(ids, cfg.length)
    if len(without_attention(cfg)) == cfg.heads:
        raise ValueError(f"local={cfg.local!r}: no head has attention weights")

    def mask(at):
        return sequence_mask(ids, segments, at, cfg.causal, limits(cfg))

    weights: list[jax.Array] = []
    x = embedded(params, cfg, ids, segment_positions(ids, segments), users, None)
    blocks(params, cfg, x, mask, weights=weights)
    return jnp.stack(weights)


def embedded(params, cfg, ids, positions, users, keys):
    tables = params["embedding"]
    x = tables["table"][ids] * math.sqrt(cfg.dim)
    if cfg.users:
        user = tables["user"][jnp.zeros(ids.shape, int) if users is None else users]
        x = jnp.concatenate([x, user], -1)
    if has_positions(cfg):
        x = x + tables["position"][positions]
    return dropout_rows(x, cfg.dropout, keys, 0)


def blocks(params, cfg, x, mask, *, keys=None, at=None, weights=None):
    """The blocks; `at` cuts the last one. Also the keys and values of each.

    A list `weights` gets the attention weights of each.
    """
    caches = []
    for i in range(cfg.blocks):
        block, salt = params[f"block_{i}"], 1 + 3 * i
        wanted = at if i == cfg.blocks - 1 else None
        if cfg.norm_first:
            x = layer_norm(block["norm"], x)
        y, cache = self_attention(
            block,
            x,
            mask(wanted),
            cfg.heads,
            jnp.dtype(cfg.compute_dtype),
            at=wanted,
            rate=cfg.dropout_attention,
            keys=keys,
            salt=salt,
            weights=weights,
            heads_of=functools.partial(heads_of, cfg),
        )
        caches.append(cache)
        x = after_attention(block, cfg, rows_at(x, wanted) + y, keys, salt)
    return x, caches


def after_attention(block, cfg, x, keys, salt):
    """The rest of a block behind the sum with the attention."""
    dtype = jnp.dtype(cfg.compute_dtype)
    x = layer_norm(block["ffn_norm" if cfg.norm_first else "norm"], x)
    y = linear(block["ffn_in"], x, dtype)
    y = jax.nn.relu(dropout_rows(y, cfg.dropout, keys, salt + 1))
    y = linear(block["ffn_out"], y, dtype)
    x = x + dropout_rows(y, cfg.dropout, keys, salt + 2)
    return x if cfg.norm_first else layer_norm(block["ffn_norm"], x)


def output(params, cfg, x, users):
    x = layer_norm(params["norm"], x)
    if not cfg.users:
        return x
    table = params["embedding"]["user"]
    user = table[jnp.zeros(x.shape[:2], int) if users is None else users]
    items, own = jnp.split(x, 2, axis=-1)
    product = (own * user).sum(-1, keepdims=True)
    return jnp.concatenate([items, product], -1)
