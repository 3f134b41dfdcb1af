"""The last ids of each user, for backbones that look at no more than a window of them.

Serving and evaluation give histories left padded with 0; a window is kept in the same
way, so that a new id pushes the oldest out on the left.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


def last_ids(ids: jax.Array, length: int) -> jax.Array:
    """The last `length` columns of left padded ids (b, t), filled up on the left."""
    ids = ids[:, max(ids.shape[1] - length, 0) :]
    return jnp.pad(ids, ((0, 0), (length - ids.shape[1], 0)))


def pushed(window: jax.Array, ids: jax.Array) -> jax.Array:
    """A window (b, length) after more ids (b, t)."""
    return jnp.concatenate([window, ids], 1)[:, ids.shape[1] :]


def anew_where_full(
    full: jax.Array,
    window: jax.Array,
    hidden: jax.Array,
    encoded: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """Outputs (b, d) of an event: from a cache, or of the window where it was full.

    Args:
      full: (b,) bool, windows that the event pushed an item out of.
      window: (b, length) int32, after the event.
      hidden: (b, d), what the cache gave.
      encoded: from windows to outputs (b, d); runs only if some window was full.
    """

    def mixed(window, hidden):  # Without the caches, which a branch would copy.
        return jnp.where(full[:, None], encoded(window), hidden)

    return jax.lax.cond(
        full.any(), mixed, lambda window, hidden: hidden, window, hidden
    )


def right_padded(ids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Left padded ids (b, t) moved to the left edge, and how many there are (b,)."""
    count = (ids != 0).sum(1)
    t = ids.shape[1]
    source = (jnp.arange(t) + t - count[:, None]) % t
    return jnp.take_along_axis(ids, source, 1), count


def question(ids: jax.Array, token: int | None) -> tuple[jax.Array, jax.Array]:
    """Left padded histories ids (b, t) as a model is asked what comes next.

    Args:
      ids: (b, t) int32.
      token: the mask token, which is put behind each history; `None` where the output
        of the last item is the answer.

    Returns:
      `(ids, at)`: right padded ids, (b, t) or (b, t + 1), and the slot (b, 1) of the
      answer; that of an empty history is 0.
    """
    ids, count = right_padded(ids)
    if token is None:
        return ids, jnp.maximum(count - 1, 0)[:, None]
    ids = jnp.pad(ids, ((0, 0), (0, 1)))
    behind = jnp.arange(ids.shape[1]) == count[:, None]
    return jnp.where(behind, token, ids), count[:, None]


def window(cfg: Any) -> int:
    """How many of the last events an output depends on."""
    return cfg.length if cfg.causal else cfg.length - 1


def mask_token(cfg: Any) -> int | None:
    """The id that stands for an item to be predicted; `None` for a causal model."""
    return None if cfg.causal else cfg.items + 1


class Serving(NamedTuple):
    """The serving functions of a backbone, see `jaxrec.models`."""

    start: Callable
    step: Callable
    extend: Callable
    prefill: Callable


def serving(encode: Callable[..., jax.Array]) -> Serving:
    """Serving that keeps the last ids and encodes them anew at every event.

    Args:
      encode: of a backbone whose config has `length`, `causal` and `items`.
    """

    def start(cfg, batch):
        """The state of users without history: ids (batch, window), left padded."""
        return {"ids": jnp.zeros((batch, window(cfg)), jnp.int32)}

    def step(params, cfg, state, ids):
        """One event: state and ids (b,) to the next state and outputs (b, w).

        Costs one encoding of the window. Id 0 gives the output of an empty history for
        a fresh state; its state must then not be kept.
        """
        return extend(params, cfg, state, ids[:, None])

    def extend(params, cfg, state, ids):
        """State and answer (b, w) after ids (b, t) that follow those of `state`."""
        return prefill(params, cfg, pushed(state["ids"], ids))

    def prefill(params, cfg, ids):
        """State and answer (b, w) after histories ids (b, t), left padded with 0.

        Only the last `window(cfg)` ids count. The answer is the output of the mask
        token behind them, or of the last item of a causal model.
        """
        ids = ids[:, max(ids.shape[1] - window(cfg), 0) :]
        asked, at = question(ids, mask_token(cfg))
        state = {"ids": last_ids(ids, window(cfg))}
        return state, encode(params, cfg, asked, at=at)[:, 0]

    return Serving(start, step, extend, prefill)
