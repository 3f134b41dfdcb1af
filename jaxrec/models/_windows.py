"""The last ids of each user, for backbones that look at no more than a window of them.

Serving and evaluation give histories left padded with 0; a window is kept in the same
way, so that a new id pushes the oldest out on the left.
"""

from collections.abc import Callable

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
