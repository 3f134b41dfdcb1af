"""Recommendations from a trained model, for whole histories and one event at a time.

    rec = jaxrec.load("runs/x")
    rec.recommend([["42", "7"]], k=10)                     whole histories

    state = rec.start()                                    one event at a time
    state = rec.observe(state, "42")
    rec.top(state, k=10)

Both ways give the same answer. Of a model with user vectors both take whose they are,
`rec.recommend([["42", "7"]], users=["u1"])` and `rec.start(users=["u1"])`. Of a model
with times both take, and want, when events were, `rec.recommend([["42", "7"]],
times=[[1700000000, 1700003600]])` and `rec.observe(state, "42", times=1700000000)`; the
last one also is the time of the answer. A history
has no longest length: a recurrent model takes in all of it, however long, and a model
with a window looks at what its window holds.

What runs is compiled at its first use, once per size (see `jaxrec.serve.engine`).
`warm` compiles beforehand what requests will use; after it no request compiles.

Where room was left for them, `add_items` takes in new items by their features alone.
"""

import os
from collections.abc import Iterable, Mapping, Sequence

import jax
import numpy as np

from jaxrec.core.export import PLATFORMS
from jaxrec.serve import state as states
from jaxrec.serve import warming
from jaxrec.serve.asked import Asked, Funnel, read_asked
from jaxrec.serve.backbone import Backbone
from jaxrec.serve.engine import Engine, unpack
from jaxrec.serve.ids import ItemIds, UserIds
from jaxrec.serve.new_items import check_adds, read_items
from jaxrec.serve.recommendation import Recommendation, answers_of
from jaxrec.serve.requests import (
    check_asked,
    read_events,
    read_histories,
    read_users,
)
from jaxrec.serve.seen import BitSet, Ring
from jaxrec.serve.state import State

RawId = str | int


class Recommender:
    """Answers requests in raw ids from one trained model.

    Args:
        backbone: The model.
        ids: The raw ids of its items.
        users: The raw ids of its users, of a model with user vectors.
        feature_names: Names of the modalities of the items' features, if they are
            known, of a model that has features.
        seen_capacity: None remembers exactly which items a user has seen, in
            items / 8 bytes per user; a number remembers the last so many events.
        on_unknown: What an unknown item id does: "skip" it (counted, and reported with
            the answer) or "raise". An unknown user id does the same, and is answered as
            a user whom nobody knows.

    Attributes:
        ids: As given; `add_items` adds to them.
        users: As given.
        unknown: How many unknown ids were skipped so far.

    Raises:
        ValueError: An argument that is not accepted, or ids that do not fit the model.
    """

    def __init__(
        self,
        backbone: Backbone,
        ids: ItemIds,
        users: UserIds | None = None,
        *,
        feature_names: tuple[str, ...] = (),
        seen_capacity: int | None = None,
        on_unknown: str = "skip",
    ):
        if len(ids) != backbone.items:
            raise ValueError(
                f"the model has {backbone.items} items, but there are {len(ids)} ids"
            )
        if len(users or ()) != backbone.users:
            raise ValueError(
                f"the model has vectors of {backbone.users} users, but there are "
                f"{len(users or ())} user ids"
            )
        if feature_names and len(feature_names) != len(backbone.features):
            raise ValueError(
                f"feature_names: the model has features of {len(backbone.features)} "
                f"modalities, got {feature_names}"
            )
        if on_unknown not in ("skip", "raise"):
            raise ValueError(f"on_unknown: want 'skip' or 'raise', got {on_unknown!r}")
        if seen_capacity is not None and seen_capacity < 1:
            raise ValueError(f"seen_capacity: want 1 or more, got {seen_capacity}")
        self.ids, self.users, self.feature_names = ids, users, feature_names
        self.unknown = 0
        self._raises = on_unknown == "raise"
        rows = backbone.items + backbone.room
        seen = BitSet(rows) if seen_capacity is None else Ring(seen_capacity)
        self._engine = Engine(backbone, seen)

    def __repr__(self) -> str:
        state = sum(leaf.nbytes for leaf in jax.tree.leaves(self._engine.begin))
        titles = " with titles" if self.ids.titles([1])[0] else ""
        return (
            f"<Recommender of {self.items} items{titles}, "
            f"{state} bytes of state per user>"
        )

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self.ids)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths of the models inside a nested one, the last its own; else ()."""
        return self._engine.backbone.sizes

    @property
    def room(self) -> int:
        """How many items can still be added."""
        return self._engine.backbone.items + self._engine.backbone.room - self.items

    @property
    def feature_dims(self) -> tuple[int, ...]:
        """Dimensions of the items' features, one per modality; () without features."""
        return self._engine.backbone.features

    @property
    def times(self) -> bool:
        """Whether the model wants to know when events were."""
        return self._engine.backbone.times

    @property
    def lengths(self) -> tuple[int, ...]:
        """Lengths of history that programs are made for."""
        return self._engine.backbone.lengths

    @property
    def compiled(self) -> int:
        """How many programs were compiled so far."""
        return self._engine.programs.compiled

    def recommend(
        self,
        histories: Sequence[Iterable[RawId]],
        k: int = 10,
        exclude_seen: bool = True,
        *,
        users: Sequence[RawId | None] | None = None,
        times: Sequence[Iterable[int]] | None = None,
        funnel: Funnel | None = None,
    ) -> list[Recommendation]:
        """Recommends to users with whole histories.

        Args:
            histories: Per user the raw item ids, oldest first, of any length; an empty
                history is a new user.
            k: How many items, 1..items.
            exclude_seen: Whether items of the history are left out; with a
                `seen_capacity`, those of its last so many events.
            users: Per history the raw id of its user, for a model with user vectors;
                None, here or for one of them, is a user whom nobody knows.
            times: Per history when its events were, in whole seconds as in the data of
                the run, for a model with times.
            funnel: As for `top`.

        Returns:
            One answer per user.

        Raises:
            ValueError: k is out of range, `histories` is no list of lists of ids, or
                `users` no list of as many ids, or not for this model; `times` are
                missing, not for this model, or do not fit the histories; a funnel that
                `top` refuses.
        """
        asked = self._asked(k, exclude_seen, funnel)
        numbers, unknown, when = self._read(histories, times)
        whose, strangers = self._whose(users, len(numbers))
        answers: dict[int, Recommendation] = {}
        for rows, found in self._engine.recommend(numbers, asked, whose, when):
            told = [unknown[row] for row in rows]
            told_users = [strangers[row] for row in rows]
            made = self._answers(found, k, told, told_users)
            answers |= zip(rows, made, strict=True)
        return [answers[row] for row in range(len(numbers))]

    def start(
        self,
        batch: int | None = None,
        *,
        users: Sequence[RawId | None] | None = None,
    ) -> State:
        """The state of `batch` new users, or of those named, as numpy arrays.

        Args:
            batch: How many; None for as many as there are `users`, or 1.
            users: As for `recommend`.
        """
        if batch is not None and (type(batch) is not int or batch < 1):
            raise ValueError(f"batch: want an integer of 1 or more, got {batch!r}")
        if users is None:
            return states.repeat(self._engine.begin, batch or 1)
        whose, _ = self._whose(users, batch)
        nothing = [np.zeros(0, np.int32)] * len(whose)
        return self._engine.prefill(nothing, whose, nothing)

    def prefill(
        self,
        histories: Sequence[Iterable[RawId]],
        *,
        users: Sequence[RawId | None] | None = None,
        times: Sequence[Iterable[int]] | None = None,
    ) -> State:
        """The state after whole histories: as `observe` on each event in turn.

        Args:
            histories: As for `recommend`.
            users: As for `recommend`.
            times: As for `recommend`.

        Returns:
            A state with one row per history, as numpy arrays.
        """
        numbers, _, when = self._read(histories, times)
        whose, _ = self._whose(users, len(numbers))
        return self._engine.prefill(numbers, whose, when)

    def observe(
        self,
        state: State,
        items: RawId | Sequence[RawId],
        *,
        slots: Sequence[int] | None = None,
        times: int | Sequence[int] | None = None,
    ) -> State:
        """Takes in one event per user. Costs the same after any number of events.

        Args:
            state: As from `start`, `prefill` or `observe`.
            items: One raw item id per user; for one user it may stand alone. A user
                whose item is unknown keeps the state.
            slots: Rows of `state` that the items belong to, if they are not one per
                row. `state` is then a pool that is written into and may not be used
                again: go on with the returned one.
            times: When the events are, in whole seconds, for a model with times: one
                per item, and alone where the item is. Nobody's events may be 68 years
                apart.

        Returns:
            The new state.

        Raises:
            ValueError: A state of another model or number of users, or no ids; times
                that are missing, not for this model, or no integers.
        """
        found, _, slots, when = self._events(state, items, slots, times)
        if not any(found):
            return state
        return self._engine.observe(state, np.array(found, np.int32), slots, when)

    def top(
        self,
        state: State,
        k: int = 10,
        exclude_seen: bool = True,
        *,
        slots: Sequence[int] | None = None,
        funnel: Funnel | None = None,
    ) -> list[Recommendation]:
        """The best items for every user of a state.

        Args:
            state: As from `start`, `prefill` or `observe`.
            k: How many items, 1..items.
            exclude_seen: Whether items that the user has seen are left out.
            slots: Rows of `state` to answer for, if not all; it is not written into.
            funnel: (dims, shortlist), of a nested model: the `shortlist` best items by
                the first `dims` coordinates, one of the model's sizes, are ranked anew
                by all of them. Faster, and exact where the shortlist holds the answer.
                None looks at all coordinates of all items.

        Raises:
            ValueError: k is out of range, or a state of another model; a funnel that
                this model does not have, or a shortlist outside k..items.
        """
        asked, count = self._asked(k, exclude_seen, funnel), self._engine.users(state)
        if slots is not None:
            slots = states.slots_of(slots, count)
            count = len(slots)
        found = self._engine.top(state, asked, slots)
        return self._answers(found, k, [()] * count)

    def observe_and_top(
        self,
        state: State,
        items: RawId | Sequence[RawId],
        k: int = 10,
        exclude_seen: bool = True,
        *,
        slots: Sequence[int] | None = None,
        times: int | Sequence[int] | None = None,
        funnel: Funnel | None = None,
    ) -> tuple[State, list[Recommendation]]:
        """`observe` and then `top` in one program, for the request path.

        Args:
            state: As for `observe`.
            items: As for `observe`.
            k: As for `top`.
            exclude_seen: As for `top`.
            slots: As for `observe`; only these rows are answered for.
            times: As for `observe`.
            funnel: As for `top`.

        Returns:
            The new state, and one answer per item, which also reports unknown ids.
        """
        asked = self._asked(k, exclude_seen, funnel)
        found, told, slots, when = self._events(state, items, slots, times)
        if any(found):
            numbers = np.array(found, np.int32)
            state, best = self._engine.observe_and_top(
                state, numbers, asked, slots, when
            )
        else:
            best = self._engine.top(state, asked, slots)
        return state, self._answers(best, k, told)

    def add_items(
        self,
        ids: Sequence[RawId],
        features: Mapping[str, np.ndarray] | Sequence[np.ndarray],
        titles: Sequence[str] | None = None,
    ) -> None:
        """Takes in new items by their features alone; nothing is trained.

        From the next call on they are recommended, observed and excluded as all others
        are. States from before stay valid, and nothing is compiled but, once, the
        program that writes items. No other call may run meanwhile.

        Args:
            ids: Their raw ids.
            features: Per modality, by name or in the order of the run, (n, dim) numbers
                made in the way of the run's own features; zeros for an item without
                this modality.
            titles: Their titles, "" where unknown.

        Raises:
            ValueError: An id that there is already, or more items than there is room
                for (see `jaxrec.load`); features that are not those of the model; a
                model that makes no item vectors of features, or a portable file.
                Nothing is then added.
        """
        backbone = self._engine.backbone
        check_adds(backbone)
        new = read_items(
            self.ids, backbone.features, self.feature_names, ids, features, titles
        )
        if len(new.ids) > self.room:
            raise ValueError(
                f"add_items: {len(new.ids)} items, but there is room for {self.room} "
                "more; load the run with more, jaxrec.load(workdir, room=...)"
            )
        self._engine.add(self.items + 1, new.features)
        self.ids.extend(new.ids, new.titles)

    def take(self, state: State, indices: Sequence[int]) -> State:
        """The state of the users at `indices`, in that order."""
        slots = states.slots_of(indices, self._engine.users(state))
        return self._engine.take(state, slots)

    def put(self, state: State, indices: Sequence[int], new: State) -> State:
        """`state` with the users at `indices` replaced by those of `new`.

        `state` is written into and may not be used again, unless it is numpy arrays.

        Raises:
            ValueError: An index out of range or given twice, or `new` has another
                number of users than there are indices.
        """
        slots = states.slots_of(indices, self._engine.users(state))
        count = states.users(new, self._engine.like)
        if count != len(slots):
            raise ValueError(
                f"new has {count} users, but there are {len(slots)} indices"
            )
        return self._engine.put(state, slots, new)

    def to_arrays(self, state: State) -> dict[str, np.ndarray]:
        """A state as a flat dict of numpy arrays, as `np.savez` takes it."""
        return states.to_arrays(state)

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> State:
        """The state of `to_arrays`, also from the file that `np.load` opened.

        Raises:
            ValueError: The arrays are those of another model.
        """
        return states.from_arrays(arrays, self._engine.like)

    def warm(
        self,
        k: int | Sequence[int] = 10,
        users: Sequence[int] = (1,),
        pools: Sequence[int] = (),
        exclude_seen: bool = True,
        funnel: Funnel | None = None,
    ) -> int:
        """Compiles what requests will use.

        Args:
            k: Sizes of answers.
            users: Numbers of users of states and, rounded up, of requests.
            pools: Numbers of users of states that are used with `slots`.
            exclude_seen: As in the requests.
            funnel: As in the requests.

        Returns:
            How many programs were compiled.
        """
        return warming.warm(self, k, users, pools, exclude_seen, funnel)

    def export(
        self,
        path: str | os.PathLike[str],
        platforms: Sequence[str] = PLATFORMS,
    ) -> None:
        """Writes the model as a portable file, see `jaxrec.serve.portable`.

        Args:
            path: File to write.
            platforms: What it is to run on.

        Raises:
            ValueError: An unknown platform, or a model that was itself read from a
                portable file.
        """
        from jaxrec.serve import portable

        backbone = self._engine.as_it_is(self.items)
        portable.save(path, backbone, self.ids, platforms, self.users)

    def _asked(self, *asked) -> Asked:
        return read_asked(self._engine.backbone, self.items, *asked)

    def _read(self, histories, times):
        """Numbers, unknown ids and, of a model with times, times of histories."""
        check_asked(times, self.times)
        numbers, unknown, when = read_histories(self.ids, histories, times)
        self._count([raw for missing in unknown for raw in missing])
        return numbers, unknown, when

    def _whose(self, users, count: int | None) -> tuple[np.ndarray | None, list[str]]:
        """Numbers of users, None if none are named; of each its id if it is unknown."""
        if users is None:
            return None, [""] * (count or 0)
        numbers, unknown = read_users(self.users, users, count)
        self._count([raw for raw in unknown if raw], "user")
        return numbers, unknown

    def _events(self, state, items, slots, times):
        """Numbers and unknown ids of new events per user, checked slots, and times."""
        users = self._engine.users(state)
        check_asked(times, self.times)
        if slots is not None:
            slots = states.slots_of(slots, users)
            users = len(slots)
        found, told, when = read_events(self.ids, items, users, times)
        self._count([raw for raws in told for raw in raws])
        return found, told, slots, when

    def _count(self, unknown: list[str], kind: str = "item") -> None:
        if unknown and self._raises:
            raise ValueError(f"unknown {kind} id {unknown[0]!r}")
        self.unknown += len(unknown)

    def _answers(self, found, k: int, told, users=None) -> list[Recommendation]:
        scores, numbers = (array[: len(told), :k] for array in unpack(found))
        return answers_of(self.ids, scores, numbers, told, users)
