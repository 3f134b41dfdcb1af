"""What the server runs, in item numbers: steps, histories and searches, compiled.

Sizes that a caller cannot choose are rounded up, so that there are few programs: the
number of users with whole histories or with `slots` to one of `USERS`, the length of
a history to one of the backbone's `lengths` (or a multiple of the last), the size of
the answer to one of its `ks`. A state is used with the number of users it has.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.serve import state as states
from jaxrec.serve.asked import Asked
from jaxrec.serve.backbone import Backbone, answer_sizes
from jaxrec.serve.programs import Programs
from jaxrec.serve.seen import BitSet, Ring
from jaxrec.serve.state import State

USERS = (1, 8, 64, 512, 4096)
_ADDED = 64  # items by one call
_WEIGHT = 2**16  # of one call: positions of histories, or kilobytes of what was seen

Found = jax.Array  # (b, 2, k) int32, see `unpack`


class Engine:
    """Compiled programs over one backbone.

    Args:
        backbone: The model.
        seen: How what was seen is remembered.

    Attributes:
        programs: The programs, which count themselves.
    """

    def __init__(self, backbone: Backbone, seen: BitSet | Ring):
        self.backbone, self.seen = backbone, seen
        variable = ("head",) if backbone.room else ()
        self.programs = Programs(backbone.params, variable)
        self._narrowed: dict[int, Any] = {}

    @functools.cached_property
    def like(self) -> State:
        """A state of one user, of which only names, shapes and types count."""
        nobody = np.zeros(1, np.int32)
        event = (nobody, *self._when(nobody))
        _, hidden = jax.eval_shape(
            self.backbone.step, self.backbone.params, self.backbone.begin, *event
        )
        return {
            "model": self.backbone.begin,
            "hidden": np.zeros(hidden.shape, hidden.dtype),
            "seen": self.seen.of([nobody[:0]]),
        }

    @functools.cached_property
    def begin(self) -> State:
        """The state of one user without history, numpy."""
        # Id 0 gives the output of an empty history; its state is not kept.
        nobody = np.zeros(1, np.int32)
        after = self.observe(self.like, nobody, None, nobody)
        return self.like | {"hidden": np.asarray(after["hidden"])}

    def users(self, state: State) -> int:
        """How many users a state has; its arrays are not looked at."""
        if isinstance(state, dict) and state.keys() == self.like.keys():
            return len(state["hidden"])
        return states.users(state, self.like)

    def observe(
        self,
        state: State,
        numbers: np.ndarray,
        slots: np.ndarray | None,
        times: np.ndarray | None = None,
    ) -> State:
        """State after one item per user (n,), and its time if the model reads times.

        0 changes nothing, but must not be given for a single user without slots.
        """
        if slots is None:
            key = ("observe", len(numbers))
            return self._call(key, self._step, state, numbers, *self._when(times))
        rows = self.users(state)
        # What is outside the pool is not written. (A mask in the program would make
        # XLA copy the pool instead of writing into it.)
        slots = _pad(np.where(numbers != 0, slots, rows), rows)
        event = [_pad(array, 0) for array in (numbers, *self._when(times))]
        key = ("observe", len(slots), rows)
        return self._call(key, self._step_slots, state, slots, *event, donate=True)

    def top(self, state: State, asked: Asked, slots: np.ndarray | None) -> Found:
        """Best items of every user, or of those at slots (then padded)."""
        rows, narrow = self.users(state), self._narrow(asked)
        search = self._searching(asked)
        if slots is None:
            key = ("search", rows, asked)
            return self._call(key, search, _shown(state), narrow)
        slots = _pad(slots, rows)
        key = ("top", len(slots), rows, asked)

        def search_slots(params, state, narrow, slots):
            return search(params, states.gather(state, slots), narrow)

        return self._call(key, search_slots, state, narrow, slots)

    def observe_and_top(
        self,
        state: State,
        numbers: np.ndarray,
        asked: Asked,
        slots: np.ndarray | None,
        times: np.ndarray | None = None,
    ) -> tuple[State, Found]:
        """`observe` and `top` in one program."""
        search, narrow = self._searching(asked), self._narrow(asked)
        if slots is None:

            def both(params, state, narrow, *event):
                state = self._step(params, state, *event)
                return state, search(params, state, narrow)

            key = ("both", len(numbers), asked)
            return self._call(key, both, state, narrow, numbers, *self._when(times))
        if not numbers.all():
            state = self.observe(state, numbers, slots, times)
            return state, self.top(state, asked, slots)

        def both_slots(params, pool, narrow, slots, *event):
            old = states.gather(pool, slots)
            new = self._step(params, old, *event, masked=False)
            return states.scatter(pool, slots, new), search(params, new, narrow)

        rows = self.users(state)
        slots = _pad(slots, rows)
        event = [_pad(array, 0) for array in (numbers, *self._when(times))]
        key = ("both", len(slots), rows, asked)
        return self._call(key, both_slots, state, narrow, slots, *event, donate=True)

    def take(self, state: State, slots: np.ndarray) -> State:
        """A state of the users at slots."""

        def take(params, state, slots):
            return states.gather(state, slots)

        key = ("take", len(slots), self.users(state))
        return self._call(key, take, state, slots)

    def put(self, state: State, slots: np.ndarray, new: State) -> State:
        """A state with the users at slots replaced; `state` is consumed."""

        def put(params, state, slots, new):
            return states.scatter(state, slots, new)

        key = ("put", len(slots), self.users(state))
        return self._call(key, put, state, slots, new, donate=True)

    def prefill(
        self,
        histories: Sequence[np.ndarray],
        users: np.ndarray | None = None,
        times: Sequence[np.ndarray] | None = None,
    ) -> State:
        """State after histories of item numbers, numpy.

        Args:
            histories: One array per user.
            users: Their numbers (n,) int32, of a model with user vectors; None for
                unknown ones.
            times: Per history when its events were, int32, of a model that reads times.
        """
        state = states.repeat(self.begin, len(histories))
        state["seen"] = self.seen.of(histories)
        kept = (state["model"], state["hidden"])
        for rows, *read in self._read(histories, users, times):
            if users is not None or len(histories[rows[0]]):
                for leaf, new in zip(
                    jax.tree.leaves(kept), jax.tree.leaves(tuple(read)), strict=True
                ):
                    leaf[rows] = np.asarray(new)[: len(rows)]
        return state

    def recommend(
        self,
        histories: Sequence[np.ndarray],
        asked: Asked,
        users: np.ndarray | None = None,
        times: Sequence[np.ndarray] | None = None,
    ) -> Iterator[tuple[list[int], Found]]:
        """Best items per history: groups of row numbers with their answers (padded)."""
        search = self._searching(asked)
        for rows, _, hidden in self._read(histories, users, times):
            padding = hidden.shape[0] - len(rows)
            empty = [np.zeros(0, np.int32)] * padding
            seen = self.seen.of([histories[row] for row in rows] + empty)
            key = ("search", len(seen), asked)
            shown = {"hidden": hidden, "seen": seen}
            yield rows, self._call(key, search, shown, self._narrow(asked))

    def add(self, first: int, features: np.ndarray) -> None:
        """Writes items of features (n, f), the first of them with number `first`."""
        nowhere = np.iinfo(np.int32).max
        for begin in range(0, max(len(features), 1), _ADDED):
            part = features[begin : begin + _ADDED]
            rest = _ADDED - len(part)
            numbers = np.arange(len(part), dtype=np.int32) + (first + begin)
            self.programs.update(
                ("add",),
                self.backbone.add,
                np.pad(numbers.astype(np.int32), (0, rest), constant_values=nowhere),
                np.pad(part, ((0, rest), (0, 0))),
            )
        self._narrowed.clear()

    def as_it_is(self, items: int) -> Backbone:
        """The backbone of the catalogue as it is now, without room."""
        return dataclasses.replace(
            self.backbone,
            items=items,
            room=0,
            params=self.programs.params,
            ks=answer_sizes(items),
        )

    def _read(self, histories, users, times):
        """Groups of rows that share a padded length: rows, model state, hidden."""
        groups: dict[int, list[int]] = {}
        given = (histories, *self._when(times))
        if (window := self.backbone.window) is not None:
            given = [[row[-window:] for row in rows] for rows in given]
        histories = given[0]
        for row, history in enumerate(histories):
            # Whose an empty history is, `begin` does not say.
            known = len(history) if users is None else max(len(history), 1)
            groups.setdefault(self._padded_length(known), []).append(row)
        width = self.backbone.lengths[-1]
        if users is None:
            users = np.zeros(len(histories), np.int32)
        for length, members in sorted(groups.items()):
            most = self._most(min(length, width))
            for i in range(0, len(members), most):
                rows = members[i : i + most]
                if not length:
                    begin = states.repeat(self.begin, _at_least(len(rows), USERS))
                    yield rows, begin["model"], begin["hidden"]
                else:
                    some = [[array[row] for row in rows] for array in given]
                    yield rows, *self._read_group(some, users[rows], length)

    def _most(self, positions: int) -> int:
        """How many users' histories are read, and their answers searched, at once."""
        weight = max(positions, self.like["seen"].nbytes // 1024, 1)
        return max(n for n in USERS if n == 1 or n * weight <= _WEIGHT)

    def _read_group(self, given, numbers, length):
        """Histories, and times if the model reads them, of users with these numbers."""
        users, width = _at_least(len(numbers), USERS), self.backbone.lengths[-1]
        padded = np.zeros((len(given), users, length), np.int32)
        whose = ()
        if self.backbone.users:
            whose = (np.pad(numbers, (0, users - len(numbers))),)
        for array, rows in zip(padded, given, strict=True):
            for row, values in zip(array, rows, strict=False):
                row[length - len(values) :] = values
        ids, *times = padded[:, :, :width]
        key = ("prefill", users, ids.shape[1])
        state, hidden = self.programs.call(
            key, self.backbone.prefill, ids, *whose, *times
        )
        for i in range(width, length, width):
            parts = np.ascontiguousarray(padded[:, :, i : i + width])
            key = ("extend", users)
            state, hidden = self.programs.call(key, self.backbone.extend, state, *parts)
        return state, hidden

    def _when(self, times):
        """The times, for a model that reads them."""
        return (times,) if self.backbone.times else ()

    def _padded_length(self, length: int) -> int:
        longest = self.backbone.lengths[-1]
        if length > longest:
            return -(-length // longest) * longest
        return _at_least(length, (0, *self.backbone.lengths))

    def _step(self, params, state, numbers, *times, masked=True):
        model, hidden = self.backbone.step(params, state["model"], numbers, *times)
        new = {"model": model, "hidden": hidden}
        if masked and len(numbers) > 1:  # One unknown item alone never comes this far.
            old = {name: state[name] for name in new}
            new = states.keep_unless(numbers != 0, new, old)
        return {**new, "seen": self.seen.add(state["seen"], numbers)}

    def _step_slots(self, params, pool, slots, *event):
        new = self._step(params, states.gather(pool, slots), *event, masked=False)
        return states.scatter(pool, slots, new)

    def _narrow(self, asked: Asked) -> Any:
        """What a funnel asks for beside the parameters, made at its first use."""
        if asked.funnel is None:
            return ()
        dims, _ = asked.funnel
        if dims not in self._narrowed:

            def narrow(params):
                return self.backbone.narrow(params, dims)

            self._narrowed[dims] = self.programs.call(("narrow", dims), narrow)
        return self._narrowed[dims]

    def _searching(self, asked: Asked) -> Callable[..., Found]:
        def search(params, state, narrow):
            excluded = self.seen.excluded(state["seen"]) if asked.exclude else {}
            hidden, k, funnel = state["hidden"], asked.k, asked.funnel
            if funnel is None:
                scores, ids = self.backbone.search(params, hidden, k, **excluded)
            else:
                scores, ids = self.backbone.funnel(
                    params, narrow, hidden, k, funnel[1], **excluded
                )
            # One array, because each takes its own way to the host.
            bits = jax.lax.bitcast_convert_type(scores, jnp.int32)
            return jnp.stack([bits, ids], 1)

        return search

    def _call(self, key, function, state: Any, *args: Any, donate: bool = False):
        """Runs a program whose first argument is a state, or what `_shown` leaves."""
        like = _shown(self.like) if key[0] == "search" else self.like
        try:
            if key not in self.programs:
                states.users(state, like)
            return self.programs.call(key, function, state, *args, donate=donate)
        except (TypeError, ValueError, RuntimeError):
            # Checked only now: it would take as long as a step.
            states.users(state, like)
            raise


def unpack(found: Found) -> tuple[np.ndarray, np.ndarray]:
    """Scores (b, k) float32 and ids (b, k) int32, numpy."""
    array = np.asarray(found)
    return array[:, 0].view(np.float32), array[:, 1]


def _shown(state: State) -> State:
    """What of a state a search looks at."""
    return {"hidden": state["hidden"], "seen": state["seen"]}


def _at_least(value: int, choices: Sequence[int]) -> int:
    return next(choice for choice in choices if choice >= value)


def _pad(values: np.ndarray, filler: int) -> np.ndarray:
    """Pads (n,) to a number of `USERS`, but not 1, or to a multiple of the last.

    With one slot XLA fuses reading and writing the state, and copies all of it.
    """
    n = len(values)
    size = -(-n // USERS[-1]) * USERS[-1] if n > USERS[-1] else _at_least(n, USERS[1:])
    return np.pad(values, (0, size - n), constant_values=filler)
