"""Attention bias by the time that passed, in buckets of equal ratio.

Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers
for Generative Recommendations", ICML 2024. With t in seconds, of an event and, on the
side of the query, of the event that follows the query's:

    bias_ij   = w[bucket(t_{i+1} - t_j)]
    bucket(d) = clip(floor(ln(max(|d|, 1)) / 0.301), 0, 128)

Times are int32, seconds modulo 2^32 (see `jaxrec.data.times`): what passed is exact up
to 2^31 seconds, which are in bucket 71.
"""

import math

import jax
import jax.numpy as jnp

BUCKETS = 129

_WIDTH = 0.301  # of a bucket, in the logarithm
# The most seconds in each bucket that int32 reaches.
_MOST = [math.ceil(math.exp(_WIDTH * (k + 1))) - 1 for k in range(71)] + [2**31 - 1]


def with_next(times: jax.Array) -> jax.Array:
    """Times (b, t) of whole sequences as pairs (b, t, 2): of a slot and of the next.

    The last slot has its own time twice.
    """
    return jnp.stack([times, jnp.concatenate([times[:, 1:], times[:, -1:]], 1)], -1)


def time_buckets(passed: jax.Array) -> jax.Array:
    """Buckets, int32, of seconds that passed, int32; exact, unlike the logarithm."""
    size = jnp.maximum(jnp.abs(passed), 1)
    # A little low, and so the bucket or the one below it: float32 has 24 bits.
    log = jnp.log(size.astype(jnp.float32)) * (1 - 1e-6)
    low = jnp.floor(log / _WIDTH).astype(jnp.int32)
    return low + (size > jnp.asarray(_MOST, jnp.int32)[low])


def time_bias(table: jax.Array, asked: jax.Array, times: jax.Array) -> jax.Array:
    """The bias (b, 1, q, k) by the time between events and queries.

    Args:
      table: (129,) float, w.
      asked: (b, q) int32, the time of the event after each query's.
      times: (b, k) int32, of the keys' events.
    """
    return table[time_buckets(asked[:, :, None] - times[:, None, :])][:, None]
