"""Serving of `jaxrec.models.sar`: keys and values kept, or the window encoded anew."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxrec.core.attention import attention_mask
from jaxrec.models._layers import layer_norm, linear, projected, split_heads
from jaxrec.models._sar_local import heads_of, limits
from jaxrec.models._sar_network import (
    after_attention,
    blocks,
    check_users,
    embedded,
    encode,
    output,
)
from jaxrec.models._windows import (
    anew_where_full,
    last_ids,
    mask_token,
    pushed,
    question,
    window,
)

if TYPE_CHECKING:
    from jaxrec.models.sar import SARConfig

Params = dict[str, Any]
State = dict[str, jax.Array]


def start(cfg: "SARConfig", batch: int, *, users: jax.Array | None = None) -> State:
    """The state of users without history.

    Args:
      cfg: sizes.
      batch: how many.
      users: (batch,) int32 in 0..cfg.users, `None` for the unknown user 0.

    Returns:
      ids (b, window) int32, left padded; of a causal model also keys and values, each
      (b, blocks, length, D) float32 by position, which count for nothing once the
      window is full; with user vectors also user (b,).

    Raises:
      ValueError: users of another shape, or for a model without user vectors.
    """
    check_users(cfg, users, (batch,))
    state = {"ids": jnp.zeros((batch, window(cfg)), jnp.int32)}
    if cfg.causal:
        cache = jnp.zeros((batch, cfg.blocks, cfg.length, cfg.dim))
        state |= {"keys": cache, "values": cache}
    if cfg.users:
        state["user"] = jnp.zeros((batch,), jnp.int32) if users is None else users
    return state


def step(
    params: Params, cfg: "SARConfig", state: State, ids: jax.Array
) -> tuple[State, jax.Array]:
    """One event: state and ids (b,) to the next state and outputs (b, w).

    Inside the window of a causal model it costs one position; otherwise, and for the
    whole batch if one row's window is full, also one encoding of the window. Id 0 gives
    the output of an empty history for a fresh state; its state must then not be kept.
    """
    if not cfg.causal:
        return extend(params, cfg, state, ids[:, None])
    full = state["ids"][:, 0] != 0
    state, hidden = _cached_step(params, cfg, state, ids)

    def encoded(window):
        return prefill(params, cfg, window, users=state.get("user"))[1]

    hidden = anew_where_full(full, state["ids"], hidden, encoded)
    return state, hidden


def extend(
    params: Params, cfg: "SARConfig", state: State, ids: jax.Array
) -> tuple[State, jax.Array]:
    """State and last output (b, w) after ids (b, t) that follow what led to `state`."""
    return prefill(params, cfg, pushed(state["ids"], ids), users=state.get("user"))


def prefill(
    params: Params, cfg: "SARConfig", ids: jax.Array, *, users: jax.Array | None = None
) -> tuple[State, jax.Array]:
    """State and last output (b, w) after histories ids (b, t), left padded with 0.

    Only the last `window(cfg)` ids count. The same as `step` on each item in turn from
    `start` with the same users (b,).
    """
    ids = ids[:, max(ids.shape[1] - window(cfg), 0) :]
    batch, t = ids.shape
    state = start(cfg, batch, users=users)
    state["ids"] = last_ids(ids, window(cfg))
    # On the left edge slots are positions, and nothing stands between them.
    ids, at = question(ids, mask_token(cfg))
    users = None if users is None else jnp.broadcast_to(users[:, None], ids.shape)
    if not cfg.causal:
        return state, encode(params, cfg, ids, at=at, users=users)[:, 0]
    slots = jnp.arange(t)[None]

    def mask(at):  # What is padded stands behind every query that counts.
        queries = slots if at is None else at
        return attention_mask(queries, slots, causal=True, windows=limits(cfg))

    x = embedded(params, cfg, ids, slots, users, None)
    x, caches = blocks(params, cfg, x, mask, at=at)
    item = (ids != 0)[:, None, :, None]
    for name, parts in zip(("keys", "values"), zip(*caches, strict=True), strict=True):
        kept = jnp.where(item, jnp.stack(parts, 1).astype(jnp.float32), 0)
        state[name] = jnp.pad(kept, ((0, 0), (0, 0), (0, cfg.length - t), (0, 0)))
    users = None if users is None else users[:, :1]
    return state, output(params, cfg, x, users)[:, 0]


def _cached_step(params, cfg, state, ids):
    """One event of users whose window has room; for others nothing that counts."""
    place = (state["ids"] != 0).sum(1)
    users = state["user"][:, None] if cfg.users else None
    dtype = jnp.dtype(cfg.compute_dtype)
    state = state | {"ids": pushed(state["ids"], ids[:, None])}
    position = jnp.minimum(place, cfg.length - 1)[:, None]
    x = embedded(params, cfg, ids[:, None], position, users, None)
    slots = jnp.arange(cfg.length)[None]
    mask = attention_mask(place[:, None], slots, causal=True, windows=limits(cfg))
    row = jnp.arange(ids.shape[0])
    for i in range(cfg.blocks):
        block = params[f"block_{i}"]
        if cfg.norm_first:
            x = layer_norm(block["norm"], x)
        q, k, v = projected(block, ("query", "key", "value"), x, dtype)
        for name, new in (("keys", k), ("values", v)):
            new = new[:, 0].astype(jnp.float32)
            state[name] = state[name].at[row, i, place].set(new, mode="drop")
        cached = (state[name][:, i].astype(dtype) for name in ("keys", "values"))
        heads = (split_heads(a, cfg.heads) for a in (q, *cached))
        y = heads_of(cfg, block, *heads, mask, position).reshape(q.shape)
        y = linear(block["out"], y, dtype)
        x = after_attention(block, cfg, x + y, None, 0)
    return state, output(params, cfg, x, users)[:, 0]
