"""What a request names, in numbers: histories and events, users, and times."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxrec.data.times import LONGEST, seconds
from jaxrec.serve.ids import ItemIds, UserIds, raw_id


def read_histories(
    ids: ItemIds, histories: Any, times: Any = None
) -> tuple[list[np.ndarray], list[tuple[str, ...]], list[np.ndarray] | None]:
    """The known numbers of each history, its unknown raw ids, and the former's times.

    Args:
        ids: The map of the items.
        histories: Per user the raw item ids, oldest first.
        times: Per user one time per item id, in whole seconds, or None. They come back
            as `jaxrec.data.times.seconds` of the known items.

    Raises:
        ValueError: `histories` is no list of lists of ids, or is empty; `times` have
            not its form, are no integers, or more than 68 years apart.
    """
    if not _is_list(histories):
        raise ValueError(
            f"histories: want one list of item ids per user, got {histories!r}"
        )
    numbers, unknown, lists = [], [], []
    for user, history in enumerate(histories):
        if not _is_list(history):
            raise ValueError(
                f"histories[{user}]: want a list of item ids, got {history!r}; "
                "for one user write [history]"
            )
        if times is not None:
            lists.append(history := list(history))
        known, missing = ids.numbers(history)
        numbers.append(known)
        unknown.append(tuple(missing))
    if not numbers:
        raise ValueError("histories: want at least one user, got none")
    return numbers, unknown, None if times is None else _read_times(ids, lists, times)


def read_events(
    ids: ItemIds, items: Any, users: int, times: Any = None
) -> tuple[list[int], list[tuple[str, ...]], np.ndarray | None]:
    """The number of one item per user, 0 for an unknown one, whose raw ids are told.

    Args:
        ids: The map of the items.
        items: One raw item id per user; for one user it may stand alone.
        users: How many there must be.
        times: When the events are, in whole seconds, one per item and alone where the
            item is; or None. They come back as `jaxrec.data.times.seconds`.

    Raises:
        ValueError: Not so many ids, or times that are no so many integers.
    """
    if isinstance(items, str | int | np.integer):
        items = [items]
        times = [times] if isinstance(times, int | np.integer) else times
    elif not isinstance(items, Sequence | np.ndarray) or isinstance(items, bytes):
        raise ValueError(f"items: want one item id per user, got {items!r}")
    if len(items) != users:
        raise ValueError(
            f"items: want one per user, got {len(items)} for {users} users"
        )
    found = [ids.number(item) for item in items]
    told: list[tuple[str, ...]] = [()] * users
    if 0 in found:
        for user, number in enumerate(found):
            if not number:
                told[user] = (raw_id(items[user]),)
    when = None if times is None else seconds(whole_seconds(times, users))
    return found, told, when


def read_users(
    ids: UserIds | None, users: Any, count: int | None
) -> tuple[np.ndarray, list[str]]:
    """The numbers (n,) int32 of users, and of each the raw id if it is unknown or "".

    Args:
        ids: The map of the users; None for a model without user vectors.
        users: Their raw ids, None for one whom nobody knows.
        count: How many there must be; None for one or more.

    Raises:
        ValueError: The model has no user vectors, or `users` is no list of so many ids.
    """
    if ids is None:
        raise ValueError("users: this model has no user vectors; leave them out")
    if not _is_list(users):
        raise ValueError(f"users: want a list of user ids, got {users!r}")
    numbers, unknown = ids.numbers(users)
    if not len(numbers) or len(numbers) != (count or len(numbers)):
        wanted = "one or more" if count is None else count
        raise ValueError(f"users: want {wanted} ids, got {len(numbers)}")
    return numbers, unknown


def _read_times(ids, histories, times) -> list[np.ndarray]:
    if not _is_list(times) or len(times := list(times)) != len(histories):
        raise ValueError(
            f"times: want {len(histories)} lists of seconds, got {times!r}"
        )
    found = []
    for user, (history, given) in enumerate(zip(histories, times, strict=True)):
        what = f"times[{user}]"
        array = whole_seconds(given, len(history), what)
        if len(array) and array.max() - array.min() > LONGEST:
            raise ValueError(
                f"{what}: more than {LONGEST} seconds (68 years) between events; times "
                "must be in seconds"
            )
        known = np.array([ids.number(raw) > 0 for raw in history], bool)
        found.append(seconds(array[known]))
    return found


def whole_seconds(times: Any, count: int, what: str = "times") -> np.ndarray:
    """So many times (count,) int64.

    Raises:
        ValueError: `times` is no list of so many integers.
    """
    array = np.array(list(times) if _is_list(times) else None)
    if array.shape != (count,) or count and array.dtype.kind not in "iu":
        raise ValueError(
            f"{what}: want {count} whole seconds, one per item id, got {times!r}"
        )
    return array.astype(np.int64)


def check_asked(times: Any, wanted: bool) -> None:
    """Raises ValueError for times that are missing, or that the model does not read."""
    if wanted and times is None:
        raise ValueError(
            "times: this model was trained with times and wants to know when events "
            "were: give seconds, as in the data it was trained on, one per item id"
        )
    if not wanted and times is not None:
        raise ValueError("times: this model reads no times; leave them out")


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)
