"""Filtering, de-duplication and ordering on flat arrays.

The steps run in this order: rating threshold, order, repeats, core, new item
numbers, ties. LRURec's released code drops immediate repeats before it sorts; on
MovieLens-1M, where nobody rates a film twice, the result is the same.
"""

import numpy as np

from jaxrec.data.options import DataOptions
from jaxrec.data.sequences import Sequences


def preprocess(raw: Sequences, options: DataOptions) -> Sequences:
    """Applies the options to raw events.

    Args:
        raw: Events of each user in the order of the file.
        options: Which steps to take.

    Returns:
        Sequences with users and items that are left, numbered in the order they have
        in `raw`, and a `report` of counts. When nothing changes the arrays of `raw`
        themselves are returned, memory-mapped if they were.

    Raises:
        ValueError: A step needs times or ratings that are not there, or no event is
            left.
    """
    report = {
        "events_read": raw.events,
        "users_read": raw.users,
        "items_read": raw.items,
    }
    by_time = options.order == "time" or (
        options.order == "auto" and raw.times is not None
    )
    if by_time and raw.times is None:
        raise ValueError(
            f"data.order='time' needs time stamps and {raw.name or 'this data'} has "
            "none; use 'file'"
        )
    events = _Events(raw)
    if options.min_rating is not None:
        if raw.ratings is None:
            raise ValueError(
                f"data.min_rating={options.min_rating} needs ratings and "
                f"{raw.name or 'this data'} has none"
            )
        events.keep(events.ratings >= np.float32(options.min_rating))
    report["dropped_low_rating"] = raw.events - events.count
    if by_time:
        events.sort_by(events.times)
    before = events.count
    if options.dedup != "none":
        repeat = adjacent_repeats if options.dedup == "adjacent" else all_repeats
        events.keep(~repeat(events.user, events.item))
    report["dropped_repeat"] = before - events.count
    before = events.count
    if options.core != "none":
        kept, report["core_passes"] = core(
            events.user,
            events.item,
            options.min_user_events,
            options.min_item_events,
            once=options.core == "once",
        )
        events.keep(kept)
    report["dropped_core"] = before - events.count
    if not events.count:
        raise ValueError(f"{raw.name or 'this data'}: no event is left of {report}")
    if by_time and options.ties == "item":
        events.sort_by(events.times, events.item)
    return events.finish(report)


def adjacent_repeats(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """(n,) bool: the event has the item of the same user's event just before it.

    Args:
        user: (n,) user numbers, each user's events side by side.
        item: (n,) item numbers.
    """
    repeat = np.zeros(len(user), bool)
    repeat[1:] = (user[1:] == user[:-1]) & (item[1:] == item[:-1])
    return repeat


def all_repeats(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """(n,) bool: the user has an earlier event with this item. Arguments as above."""
    pair = user.astype(np.int64) * (int(item.max(initial=0)) + 1) + item
    repeat = np.ones(len(user), bool)
    repeat[np.unique(pair, return_index=True)[1]] = False
    return repeat


def core(
    user: np.ndarray,
    item: np.ndarray,
    min_user_events: int,
    min_item_events: int,
    once: bool,
) -> tuple[np.ndarray, int]:
    """Events that are left after rare items, then short users, are dropped.

    Args:
        user: (n,) user numbers.
        item: (n,) item numbers.
        min_user_events: Users with fewer events go.
        min_item_events: Items with fewer events go.
        once: One pass: items first, then users by what is left of them, so that an
            item may end below its minimum. Otherwise passes until nothing changes,
            the k-core, which does not depend on the order of the steps.

    Returns:
        kept: (n,) bool.
        passes: Number of passes that dropped something.
    """
    kept = np.ones(len(user), bool)
    passes = 0
    while True:
        left = np.count_nonzero(kept)
        frequent = np.bincount(item[kept], minlength=item.max(initial=0) + 1)
        kept &= (frequent >= min_item_events)[item]
        long = np.bincount(user[kept], minlength=user.max(initial=0) + 1)
        kept &= (long >= min_user_events)[user]
        if np.count_nonzero(kept) == left:
            return kept, passes
        passes += 1
        if once:
            return kept, passes


class _Events:
    """Columns that are filtered and sorted together; user stays the first sort key."""

    def __init__(self, raw: Sequences):
        self.raw = raw
        self.item, self.times, self.ratings = raw.values, raw.times, raw.ratings
        users = np.arange(raw.users, dtype=np.int32)
        self.user = np.repeat(users, raw.lengths)

    @property
    def count(self) -> int:
        return len(self.item)

    def keep(self, kept: np.ndarray) -> None:
        if not kept.all():
            self._take(np.flatnonzero(kept))

    def sort_by(self, *keys: np.ndarray) -> None:
        """Sorts each user's events by the keys, first key first; equal ones stay."""
        if not _in_order(self.user, *keys):
            self._take(np.lexsort([*reversed(keys), self.user]))

    def _take(self, rows: np.ndarray) -> None:
        self.user, self.item = self.user[rows], self.item[rows]
        if self.times is not None:
            self.times = self.times[rows]
        if self.ratings is not None:
            self.ratings = self.ratings[rows]

    def finish(self, report: dict[str, int]) -> Sequences:
        raw = self.raw
        lengths = np.bincount(self.user, minlength=raw.users)
        users = np.flatnonzero(lengths)
        present = np.zeros(raw.items + 1, bool)
        present[self.item] = True
        present[0] = True
        items = np.flatnonzero(present)
        values = self.item
        if len(items) <= raw.items:
            values = (np.cumsum(present) - 1).astype(np.int32)[values]
        report |= {
            "events": len(values),
            "users": len(users),
            "items": len(items) - 1,
        }
        all_users = len(users) == raw.users
        all_items = len(items) == raw.items + 1
        titles = raw.titles
        if titles is not None and not all_items:
            titles = titles[items]
        return Sequences(
            values=values,
            offsets=np.concatenate([[0], np.cumsum(lengths[users])]).astype(np.int64),
            user_ids=raw.user_ids if all_users else raw.user_ids[users],
            item_ids=raw.item_ids if all_items else raw.item_ids[items],
            times=self.times,
            ratings=self.ratings,
            titles=titles,
            name=raw.name,
            report=report,
        )


def _in_order(*keys: np.ndarray) -> bool:
    """Whether rows are already sorted by the keys, first key first."""
    decided = np.zeros(max(len(keys[0]) - 1, 0), bool)
    for key in keys:
        if (~decided & (key[1:] < key[:-1])).any():
            return False
        decided |= key[1:] > key[:-1]
    return True
