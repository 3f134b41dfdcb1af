"""What models with a linear recurrent unit share: lambda, and where its state goes on.

h_t = lambda * keep_t * h_{t-1} + u_t,    lambda = exp(-exp(nu_log) + i exp(theta_log))

Also what every such model makes of its one function `run` over time-major ids: the
functions that `jaxrec.models` asks of a backbone and of its serving companion.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, Any]


def check_recurrence(cfg: Any) -> None:
    """Raises ValueError for a ring or a compute_dtype that no such model can have."""
    name = type(cfg).__name__
    if not 0 <= cfg.r_min < cfg.r_max < 1:
        raise ValueError(
            f"{name}: want 0 <= r_min < r_max < 1, got {cfg.r_min}, {cfg.r_max}"
        )
    if cfg.compute_dtype not in ("float32", "bfloat16", "float64"):
        raise ValueError(
            f"{name}: compute_dtype must be float32, bfloat16 or float64, got "
            f"{cfg.compute_dtype!r}"
        )


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


class Forms(NamedTuple):
    """Functions of a backbone, see `jaxrec.models`."""

    encode: Callable
    step: Callable
    prefill: Callable


def forms(run: Callable[..., tuple[Any, jax.Array]]) -> Forms:
    """The functions of a backbone whose `run(params, cfg, ids, *, segments, keys,
    state, last_only)` goes over ids (t, b) from a state to `(state, hidden)`."""

    def encode(
        params: Params,
        cfg: Any,
        ids: jax.Array,
        *,
        segments: jax.Array | None = None,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """Outputs (b, t, d) for ids (b, t) int32, left padded with 0 or packed.

        Args:
          params: as from `init`.
          cfg: sizes.
          ids: (b, t) int32. With `segments`, any arrangement of sequences.
          segments: (b, t) int32, different for neighbouring sequences of one row.
          keys: (b,) typed dropout keys, or `None` for inference.
        """
        segments = None if segments is None else segments.T
        _, hidden = run(params, cfg, ids.T, segments=segments, keys=keys)
        return hidden.swapaxes(0, 1)

    def step(
        params: Params, cfg: Any, state: Any, ids: jax.Array
    ) -> tuple[Any, jax.Array]:
        """One event: state and ids (b,) to the next state and outputs (b, d).

        Costs the same after any number of events. Id 0 gives the output of an empty
        history for a fresh state; its state must then not be kept.
        """
        state, hidden = run(params, cfg, ids[None], state=state)
        return state, hidden[0]

    def prefill(params: Params, cfg: Any, ids: jax.Array) -> tuple[Any, jax.Array]:
        """State and last output (b, d) after histories ids (b, t), left padded with 0.

        The same as `step` on each item in turn; padding leaves no trace in the state,
        and the state of an empty history (a row of 0) is that of `start`.
        """
        state, hidden = run(params, cfg, ids.T, last_only=True)
        return kept_where_some(state, ids), hidden[-1]

    return Forms(encode, step, prefill)


class FoldedForms(NamedTuple):
    """Functions of a serving companion, see `jaxrec.models`."""

    encode: Callable
    extend: Callable
    prefill: Callable


def folded_forms(
    start: Callable[[Any, int], jax.Array],
    run: Callable[..., tuple[jax.Array, jax.Array]],
) -> FoldedForms:
    """The functions of a companion from its `start(cfg, batch)` and from
    `run(folded, cfg, state, ids, *, last_only)` over ids (t, b)."""

    def extend(
        folded: Params, cfg: Any, state: jax.Array, ids: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """State and last output after ids (b, t) that follow what led to `state`.

        A zero in `ids` is a beginning: what comes after it is encoded as without
        history.
        """
        state, hidden = run(folded, cfg, state, ids.T, last_only=True)
        return state, hidden[-1]

    def prefill(
        folded: Params, cfg: Any, ids: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """State and last output after histories ids (b, t), as the backbone's."""
        return extend(folded, cfg, start(cfg, ids.shape[0]), ids)

    def encode(folded: Params, cfg: Any, ids: jax.Array) -> jax.Array:
        """Outputs (b, t, d) at every position of ids (b, t), as the backbone's."""
        _, hidden = run(folded, cfg, start(cfg, ids.shape[0]), ids.T, last_only=False)
        return hidden.swapaxes(0, 1)

    return FoldedForms(encode, extend, prefill)


def for_platform(cfg: Any, platform: str) -> Any:
    """The config for a program that is exported to a platform, wherever this runs.

    Args:
      cfg: has the field "scan", the form of the recurrence.
      platform: "cpu", "cuda" or "tpu". A CPU gets the sequential loop, the others
        `lax.associative_scan`: plain XLA, no kernel of one device generation.
    """
    form = "sequential" if platform == "cpu" else "associative"
    return dataclasses.replace(cfg, scan=form)
