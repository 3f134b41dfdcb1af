"""What a request names, in numbers: histories of raw item ids, and raw user ids."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxrec.serve.ids import ItemIds, UserIds


def read_histories(
    ids: ItemIds, histories: Any
) -> tuple[list[np.ndarray], list[tuple[str, ...]]]:
    """The known numbers of each history, and its unknown raw ids.

    Args:
        ids: The map of the items.
        histories: Per user the raw item ids, oldest first.

    Raises:
        ValueError: `histories` is no list of lists of ids, or is empty.
    """
    if not _is_list(histories):
        raise ValueError(
            f"histories: want one list of item ids per user, got {histories!r}"
        )
    numbers, unknown = [], []
    for user, history in enumerate(histories):
        if not _is_list(history):
            raise ValueError(
                f"histories[{user}]: want a list of item ids, got {history!r}; "
                "for one user write [history]"
            )
        known, missing = ids.numbers(history)
        numbers.append(known)
        unknown.append(tuple(missing))
    if not numbers:
        raise ValueError("histories: want at least one user, got none")
    return numbers, unknown


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


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)
