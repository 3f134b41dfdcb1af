"""States of users: what a model remembers of them, as plain arrays.

A state is a dict of arrays (numpy or JAX), one row per user in every array:

    model    what the backbone carries from event to event (a pytree)
    hidden   (b, d) float32, its last output, from which items are scored
    seen     what is excluded from recommendation, see `jaxrec.serve.seen`

Its size does not depend on how many events it has taken in.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.core.checkpoint_record import flatten

State = dict[str, Any]


def repeat(state: State, batch: int) -> State:
    """`batch` copies of a state of one user, as numpy arrays of their own."""
    return jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), batch, 0), state)


def users(state: State, like: State) -> int:
    """How many users a state has.

    Raises:
        ValueError: `state` is none, or is that of another model than `like`.
    """
    wanted = flatten(like)
    found = flatten(state) if isinstance(state, dict) else {}
    if found.keys() != wanted.keys():
        got = sorted(found) if isinstance(state, dict) else type(state).__name__
        raise ValueError(
            f"a state of this model has the arrays {sorted(wanted)}, got {got}"
        )
    batch = np.shape(found["hidden"])[:1]
    for name, leaf in found.items():
        shape = (*batch, *wanted[name].shape[1:])
        if np.shape(leaf) != shape or leaf.dtype != wanted[name].dtype:
            raise ValueError(
                f"state[{name!r}]: this model has {wanted[name].dtype}"
                f"{['users', *shape[1:]]}, got {leaf.dtype}{list(np.shape(leaf))}"
            )
        if isinstance(leaf, jax.Array) and leaf.is_deleted():
            raise ValueError(
                "this state was consumed: a call with `slots` and `put` write into the "
                "state they are given; go on with the one they return"
            )
    return batch[0]


def to_arrays(state: State) -> dict[str, np.ndarray]:
    """A state as a flat dict of numpy arrays, as `np.savez` takes it."""
    return {name: np.asarray(leaf) for name, leaf in flatten(state).items()}


def from_arrays(arrays: Mapping[str, np.ndarray], like: State) -> State:
    """The state of `to_arrays`.

    Args:
        arrays: A mapping, such as what `np.load` returns.
        like: A state of the same model.

    Raises:
        ValueError: The arrays are those of another model.
    """
    names = list(flatten(like))
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(
            f"a state of this model has the arrays {sorted(names)}, missing: {missing}"
        )
    leaves = [np.asarray(arrays[name]) for name in names]
    state = jax.tree.structure(like).unflatten(leaves)
    users(state, like)
    return state


def slots_of(indices: Sequence[int] | np.ndarray, rows: int) -> np.ndarray:
    """Checked row numbers (n,) int32.

    Raises:
        ValueError: One is outside 0..rows - 1, or occurs twice.
    """
    slots = np.asarray(indices)
    if slots.ndim != 1 or (slots.size and slots.dtype.kind not in "iu"):
        raise ValueError(f"slots: want a list of integers, got {indices!r}")
    if slots.size and not 0 <= slots.min() <= slots.max() < rows:
        bad = slots[(slots < 0) | (slots >= rows)][0]
        raise ValueError(f"slots: want 0..{rows - 1} (users of the state), got {bad}")
    if slots.size > 1:
        ordered = np.sort(slots)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if twice.size:
            raise ValueError(f"slots: {twice[0]} is given twice in one call")
    return slots.astype(np.int32)


def gather(state: State, slots: jax.Array) -> State:
    """Rows of a state; zeros for a slot outside it."""
    return jax.tree.map(
        lambda leaf: leaf.at[slots].get(mode="fill", fill_value=0), state
    )


def scatter(state: State, slots: jax.Array, new: State) -> State:
    """A state with rows replaced; a slot outside it does nothing."""
    return jax.tree.map(
        lambda leaf, rows: leaf.at[slots].set(rows, mode="drop"), state, new
    )


def keep_unless(known: jax.Array, new: Any, old: Any) -> Any:
    """Rows of `new` where `known` (b,), rows of `old` elsewhere."""

    def select(new, old):
        return jnp.where(known.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(select, new, old)
