"""Serving of `jaxrec.models.hstu`: keys and values kept, or the window encoded anew.

With times an event changes what precedes it: the bias of a query is that of the *next*
event's time, which the last one has not yet and for which its own stands. A step then
computes two positions: the one before, now for good, and the new one, for the time
being.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxrec.core.attention import attention_mask
from jaxrec.core.pointwise_attention import pointwise_attend
from jaxrec.core.time_bias import with_next
from jaxrec.models._hstu_network import (
    bias_of,
    blocks,
    causal,
    check_times,
    embedded,
    unit,
)
from jaxrec.models._layers import rows_at, split_heads
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
      nothing once the window is full; of a model with times also times (b, length)
      int32, as ids.
    """
    places = (batch, cfg.blocks, cfg.length)
    state = {
        "ids": jnp.zeros((batch, cfg.length), jnp.int32),
        "keys": jnp.zeros((*places, cfg.heads * cfg.dim_qk)),
        "values": jnp.zeros((*places, cfg.heads * cfg.dim_v)),
    }
    return state | {"times": jnp.zeros_like(state["ids"])} if cfg.times else state


def step(
    params: Params,
    cfg: "HSTUConfig",
    state: State,
    ids: jax.Array,
    *,
    times: jax.Array | None = None,
) -> tuple[State, jax.Array]:
    """One event: state, ids (b,) and times (b,) to the next state and outputs (b, D).

    Inside the window it costs one position, or two with times; for the whole batch, if
    one row's window is full, also one encoding of the window. Id 0 gives the output of
    an empty history for a fresh state; its state must then not be kept.
    """
    check_times(cfg, times, ids.shape)
    full = state["ids"][:, 0] != 0
    state, hidden = _cached_step(params, cfg, state, ids, times)

    def encoded(window):
        return prefill(params, cfg, window, times=state.get("times"))[1]

    return state, anew_where_full(full, state["ids"], hidden, encoded)


def extend(
    params: Params,
    cfg: "HSTUConfig",
    state: State,
    ids: jax.Array,
    *,
    times: jax.Array | None = None,
) -> tuple[State, jax.Array]:
    """State and last output (b, D) after ids (b, t) that follow what led to `state`.

    Times are (b, t) as well.
    """
    check_times(cfg, times, ids.shape)
    if times is not None:
        times = pushed(state["times"], times)
    return prefill(params, cfg, pushed(state["ids"], ids), times=times)


def prefill(
    params: Params,
    cfg: "HSTUConfig",
    ids: jax.Array,
    *,
    times: jax.Array | None = None,
) -> tuple[State, jax.Array]:
    """State and last output (b, D) after histories ids (b, t), left padded with 0.

    Only the last `cfg.length` ids count. The same as `step` on each item in turn. Times
    are (b, t) as well; the last one also is the time of the prediction.
    """
    check_times(cfg, times, ids.shape)
    begin = max(ids.shape[1] - cfg.length, 0)
    ids = ids[:, begin:]
    batch, t = ids.shape
    state = start(cfg, batch)
    state["ids"] = last_ids(ids, cfg.length)
    if times is not None:
        times = times[:, begin:]
        state["times"] = last_ids(times, cfg.length)
        times = with_next(_on_the_left(times, ids))
    # On the left edge slots are positions, and nothing stands between them.
    ids, at = question(ids, None)
    slots = jnp.arange(t)[None]

    def attention(i, q, k, v):
        if i < cfg.blocks - 1:
            return causal(params, cfg, i, (q, k, v), times)
        timed = () if times is None else (rows_at(times, at)[..., 1], times[..., 0])
        return _attend(params, cfg, i, (q, k, v), at, slots, *timed)

    x = embedded(params, cfg, ids, slots, None)
    x, caches = blocks(params, cfg, x, ids != 0, attention, at=at)
    item = (ids != 0)[:, None, :, None]
    for name, parts in zip(("keys", "values"), zip(*caches, strict=True), strict=True):
        kept = jnp.where(item, jnp.stack(parts, 1).astype(jnp.float32), 0)
        state[name] = jnp.pad(kept, ((0, 0), (0, 0), (0, cfg.length - t), (0, 0)))
    return state, unit(x)[:, 0]


def _cached_step(params, cfg, state, ids, times):
    """One event of users whose window has room; for others nothing that counts."""
    places = (state["ids"] != 0).sum(1)[:, None]
    before, ids, timed = state["ids"][:, -1:], ids[:, None], ()
    state = state | {"ids": pushed(state["ids"], ids)}
    if times is not None:
        state["times"] = pushed(state["times"], times[:, None])
        # The event before, if there is one, and the new one.
        ids = jnp.concatenate([before, ids], 1)
        places = places + jnp.array([[-1, 0]])
        asked = jnp.broadcast_to(times[:, None], ids.shape)
        timed = (asked, _on_the_left(state["times"], state["ids"]))
    x = embedded(params, cfg, ids, jnp.clip(places, 0, cfg.length - 1), None)
    slots, row = jnp.arange(cfg.length)[None], jnp.arange(ids.shape[0])[:, None]
    kept = jnp.where(places < 0, cfg.length, places)  # Behind the end: not written.

    def attention(i, q, k, v):
        whole = []
        for name, new in (("keys", k), ("values", v)):
            flat = new.reshape(*ids.shape, -1).astype(jnp.float32)
            state[name] = state[name].at[row, i, kept].set(flat, mode="drop")
            whole.append(split_heads(state[name][:, i].astype(new.dtype), cfg.heads))
        return _attend(params, cfg, i, (q, *whole), places, slots, *timed)

    x, _ = blocks(params, cfg, x, ids != 0, attention)
    return state, unit(x)[:, -1]


def _attend(params, cfg, i, qkv, places, slots, *timed):
    """Attention of block i for queries at places (b, m) to keys at slots (1, k)."""
    mask = attention_mask(places, slots, causal=True)
    bias = bias_of(params[f"block_{i}"], places, slots, *timed)
    return pointwise_attend(*qkv, bias, mask, cfg.length)


def _on_the_left(times, ids):
    """Times (b, t) of left padded ids from the left edge on; the last one goes on."""
    t, count = ids.shape[1], (ids != 0).sum(1)[:, None]
    return jnp.take_along_axis(times, jnp.minimum(jnp.arange(t) + t - count, t - 1), 1)
