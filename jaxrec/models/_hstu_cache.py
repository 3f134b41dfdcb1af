"""Serving of `jaxrec.models.hstu`: keys and values kept, or the window encoded anew."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxrec.core.attention import attention_mask
from jaxrec.core.pointwise_attention import (
    causal_pointwise,
    pointwise_attend,
    relative_bias,
)
from jaxrec.models._hstu_network import blocks, embedded, unit
from jaxrec.models._layers import split_heads
from jaxrec.models._windows import anew_where_full, last_ids, pushed, question

if TYPE_CHECKING:
    from jaxrec.models.hstu import HSTUConfig

Params = dict[str, Any]
State = dict[str, jax.Array]


def window(cfg: "HSTUConfig") -> int:
    """How many of the last events an output depends on."""
    return cfg.length


def start(cfg: "HSTUConfig", batch: int) -> State:
    """The state of users without history.

    Args:
      cfg: sizes.
      batch: how many.

    Returns:
      ids (b, length) int32, left padded; keys (b, blocks, length, heads x dim_qk) and
      values (b, blocks, length, heads x dim_v) float32 by position, which count for
      nothing once the window is full.
    """
    places = (batch, cfg.blocks, cfg.length)
    return {
        "ids": jnp.zeros((batch, cfg.length), jnp.int32),
        "keys": jnp.zeros((*places, cfg.heads * cfg.dim_qk)),
        "values": jnp.zeros((*places, cfg.heads * cfg.dim_v)),
    }


def step(
    params: Params, cfg: "HSTUConfig", state: State, ids: jax.Array
) -> tuple[State, jax.Array]:
    """One event: state and ids (b,) to the next state and outputs (b, D).

    Inside the window it costs one position; for the whole batch, if one row's window is
    full, also one encoding of the window. Id 0 gives the output of an empty history for
    a fresh state; its state must then not be kept.
    """
    full = state["ids"][:, 0] != 0
    state, hidden = _cached_step(params, cfg, state, ids)

    def encoded(window):
        return prefill(params, cfg, window)[1]

    return state, anew_where_full(full, state["ids"], hidden, encoded)


def extend(
    params: Params, cfg: "HSTUConfig", state: State, ids: jax.Array
) -> tuple[State, jax.Array]:
    """State and last output (b, D) after ids (b, t) that follow what led to `state`."""
    return prefill(params, cfg, pushed(state["ids"], ids))


def prefill(
    params: Params, cfg: "HSTUConfig", ids: jax.Array
) -> tuple[State, jax.Array]:
    """State and last output (b, D) after histories ids (b, t), left padded with 0.

    Only the last `cfg.length` ids count. The same as `step` on each item in turn.
    """
    ids = ids[:, max(ids.shape[1] - cfg.length, 0) :]
    batch, t = ids.shape
    state = start(cfg, batch)
    state["ids"] = last_ids(ids, cfg.length)
    # On the left edge slots are positions, and nothing stands between them.
    ids, at = question(ids, None)
    slots = jnp.arange(t)[None]

    def attention(i, q, k, v):
        if i == cfg.blocks - 1:
            return _attend(params, cfg, i, (q, k, v), at, slots)
        relative = params[f"block_{i}"]["relative_bias"]
        return causal_pointwise(q, k, v, relative, length=cfg.length)

    x = embedded(params, cfg, ids, slots, None)
    x, caches = blocks(params, cfg, x, ids != 0, attention, at=at)
    item = (ids != 0)[:, None, :, None]
    for name, parts in zip(("keys", "values"), zip(*caches, strict=True), strict=True):
        kept = jnp.where(item, jnp.stack(parts, 1).astype(jnp.float32), 0)
        state[name] = jnp.pad(kept, ((0, 0), (0, 0), (0, cfg.length - t), (0, 0)))
    return state, unit(x)[:, 0]


def _cached_step(params, cfg, state, ids):
    """One event of users whose window has room; for others nothing that counts."""
    place = (state["ids"] != 0).sum(1)
    ids = ids[:, None]
    state = state | {"ids": pushed(state["ids"], ids)}
    x = embedded(params, cfg, ids, jnp.minimum(place, cfg.length - 1)[:, None], None)
    slots, row = jnp.arange(cfg.length)[None], jnp.arange(ids.shape[0])

    def attention(i, q, k, v):
        whole = []
        for name, new in (("keys", k), ("values", v)):
            flat = new.reshape(ids.shape[0], -1).astype(jnp.float32)
            state[name] = state[name].at[row, i, place].set(flat, mode="drop")
            whole.append(split_heads(state[name][:, i].astype(new.dtype), cfg.heads))
        return _attend(params, cfg, i, (q, *whole), place[:, None], slots)

    x, _ = blocks(params, cfg, x, ids != 0, attention)
    return state, unit(x)[:, 0]


def _attend(params, cfg, i, qkv, places, slots):
    """Attention of block i for queries at places (b, m) to keys at slots (1, k)."""
    mask = attention_mask(places, slots, causal=True)
    bias = relative_bias(params[f"block_{i}"]["relative_bias"], places, slots)
    return pointwise_attend(*qkv, bias, mask, cfg.length)
