"""Raw ids of items and users and their numbers, at the border of the server.

Inside, items are 1..items, and users, of models that have user vectors, 1..users.
Outside they are strings; integers are accepted and stand for the string that they print
as. Ids that the model was not trained on are unknown.
"""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class ItemIds:
    """The map between raw ids and numbers, with titles.

    Args:
        item_ids: (items + 1,) raw ids, numpy unicode; entry 0 is "".
        titles: (items + 1,) titles, "" where unknown; None if there are none.

    Raises:
        ValueError: The arrays do not fit together, or an id occurs twice.
    """

    def __init__(self, item_ids: np.ndarray, titles: np.ndarray | None = None):
        if item_ids.ndim != 1 or len(item_ids) < 2 or item_ids[0] != "":
            raise ValueError(
                "item_ids must have shape (items + 1,) and begin with '', got shape "
                f"{item_ids.shape}"
            )
        if titles is not None and titles.shape != item_ids.shape:
            raise ValueError(
                f"titles must have shape {item_ids.shape}, not {titles.shape}"
            )
        self._raw: list[str] = item_ids.tolist()
        self._has_titles = titles is not None
        self._titles = titles.tolist() if self._has_titles else [""] * len(self._raw)
        self._numbers = {raw: i for i, raw in enumerate(self._raw) if i}
        if len(self._numbers) != len(self._raw) - 1:
            raise ValueError("item_ids has an id twice")

    def __len__(self) -> int:
        """The number of items."""
        return len(self._numbers)

    @property
    def array(self) -> np.ndarray:
        """The raw ids (items + 1,), as given."""
        return np.array(self._raw)

    @property
    def titles_array(self) -> np.ndarray | None:
        """The titles (items + 1,), as given, or None."""
        return np.array(self._titles) if self._has_titles else None

    def extend(self, raws: Sequence[str], titles: Sequence[str] | None) -> None:
        """Adds items, whose numbers are the next ones.

        Args:
            raws: Raw ids, each of them new.
            titles: Their titles, or None.
        """
        first = len(self._raw)
        self._numbers |= {raw: first + i for i, raw in enumerate(raws)}
        self._raw.extend(raws)
        self._titles.extend([""] * len(raws) if titles is None else titles)
        self._has_titles |= titles is not None

    def number(self, raw: str | int) -> int:
        """The number of a raw id, 0 if it is unknown.

        Raises:
            ValueError: `raw` is neither a string nor an integer.
        """
        if raw.__class__ is not str:
            raw = raw_id(raw)
        return self._numbers.get(raw, 0)

    def numbers(self, history: Iterable[str | int]) -> tuple[np.ndarray, list[str]]:
        """The numbers (known,) int32 of a history, and its unknown raw ids."""
        raws = [raw if raw.__class__ is str else raw_id(raw) for raw in history]
        found = [self._numbers.get(raw, 0) for raw in raws]
        unknown = [raw for raw, number in zip(raws, found, strict=True) if not number]
        return np.array([n for n in found if n], np.int32), unknown

    def raw(self, numbers: Sequence[int]) -> tuple[str, ...]:
        """Raw ids of numbers."""
        return _taken(self._raw, numbers)

    def titles(self, numbers: Sequence[int]) -> tuple[str, ...]:
        """Titles of numbers, "" where unknown."""
        if not self._has_titles:
            return ("",) * len(numbers)
        return _taken(self._titles, numbers)


def _taken(values: list[str], numbers: Sequence[int]) -> tuple[str, ...]:
    if len(numbers) < 2:  # for which `itemgetter` has another answer, or none
        return tuple([values[number] for number in numbers])
    return operator.itemgetter(*numbers)(values)


class UserIds:
    """The map from raw user ids to the numbers of their vectors.

    Args:
        user_ids: (users,) raw ids, numpy unicode.
        numbers: (users,) int32 of each the number in 1..users; 0 for a user whom
            training showed no target of, and who is as good as unknown.

    Raises:
        ValueError: The arrays do not fit together, or an id occurs twice.
    """

    def __init__(self, user_ids: np.ndarray, numbers: np.ndarray):
        if user_ids.ndim != 1 or numbers.shape != user_ids.shape:
            raise ValueError(
                "user_ids and user_numbers must have the same shape (users,), got "
                f"{user_ids.shape} and {numbers.shape}"
            )
        self.array, self.numbers_array = user_ids, numbers
        self._numbers = dict(zip(user_ids.tolist(), numbers.tolist(), strict=True))
        if len(self._numbers) != len(user_ids):
            raise ValueError("user_ids has an id twice")

    def __len__(self) -> int:
        """The number of users."""
        return len(self._numbers)

    def numbers(
        self, users: Iterable[str | int | None]
    ) -> tuple[np.ndarray, list[str]]:
        """The numbers (n,) int32 of raw ids, and of each the id if it is unknown or "".

        None stands for a user whom nobody knows, and is number 0 too.
        """
        raws = [None if raw is None else raw_id(raw, "a user id") for raw in users]
        found = [self._numbers.get(raw, 0) for raw in raws]
        told = [
            raw if raw is not None and not number else ""
            for raw, number in zip(raws, found, strict=True)
        ]
        return np.array(found, np.int32), told


def raw_id(value: Any, what: str = "an item id") -> str:
    """A raw id as a string.

    Args:
        value: What was given.
        what: What it should be, for the error.

    Raises:
        ValueError: It is neither a string nor an integer.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise ValueError(
        f"{what} is a string or an integer, got {value!r} of type "
        f"{type(value).__name__}"
    )
