"""What models with a linear recurrent unit share: lambda, and where its state goes on.

h_t = lambda * keep_t * h_{t-1} + u_t,    lambda = exp(-exp(nu_log) + i exp(theta_log))
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, Any]


def draw_logs(key: jax.Array, channels: int, r_min: float, r_max: float) -> Params:
    """Logs of nu, theta and the gain gamma, lambda uniform in area on a ring.

    Args:
      key: typed key.
      channels: number of complex channels.
      r_min: smallest |lambda|.
      r_max: largest |lambda|.
    """
    u1, u2 = jax.random.uniform(key, (2, channels))
    squared = u1 * (r_max**2 - r_min**2) + r_min**2  # |lambda|^2
    squared = jnp.maximum(squared, 1e-12)  # A ring without a hole has 0 in it.
    return {
        "nu_log": jnp.log(-0.5 * jnp.log(squared)),
        "theta_log": jnp.log(2 * np.pi * u2),
        "gamma_log": 0.5 * jnp.log1p(-squared),
    }


def poles(logs: Params) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part of lambda."""
    radius = jnp.exp(-jnp.exp(logs["nu_log"]))
    theta = jnp.exp(logs["theta_log"])
    return radius * jnp.cos(theta), radius * jnp.sin(theta)


def goes_on(
    ids: jax.Array,
    segments: jax.Array | None = None,
    before: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """keep (t, b): whether the state of the step before has a part in a step.

    Args:
      ids: (t, b) int32, 0 where there is no item; what comes after one begins anew.
      segments: (t, b) int32; where it changes a sequence begins.
      before: (ids, segments) of the step before the first one, each (b,).
    """
    keep = ids[:-1] != 0
    if segments is not None:
        keep &= segments[1:] == segments[:-1]
    first = jnp.ones_like(ids[0], bool)
    if before is not None:
        first = before[0] != 0
        if segments is not None:
            first &= segments[0] == before[1]
    return jnp.concatenate([first[None], keep])


def kept_where_some(state: Any, ids: jax.Array) -> Any:
    """A state (b, ...), 0 where the last of ids (b, t) is: padding leaves no trace."""
    some = ids[:, -1] != 0
    return jax.tree.map(
        lambda part: jnp.where(some.reshape(-1, *[1] * (part.ndim - 1)), part, 0), state
    )
