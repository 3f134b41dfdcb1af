"""Interaction sequences as flat arrays.

A data set is one long array of item numbers, user after user and oldest first,
with an array of offsets that says where each user begins. Raw ids are strings
and are met only at the border: inside, items are 1..items and 0 is padding.

    values   [ 3 1 2 | 5 3 | 1 ... ]
    offsets  [ 0       3     5 ... ]      user u: values[offsets[u]:offsets[u + 1]]

Every array may be memory-mapped, so that a data set larger than memory can be
opened without reading it.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from jaxrec.data.identity import number

_ARRAYS = (
    "values",
    "offsets",
    "user_ids",
    "item_ids",
    "times",
    "ratings",
    "titles",
)
_HEADER = "sequences.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Sequences:
    """All events of a data set, grouped by user.

    Attributes:
        values: (events,) int32 item numbers 1..items, user after user, oldest
            first within a user.
        offsets: (users + 1,) int64; user u owns values[offsets[u]:offsets[u + 1]].
        user_ids: (users,) raw user ids, numpy unicode.
        item_ids: (items + 1,) raw item ids, numpy unicode; entry 0 is "".
        times: (events,) int64 time stamps in the unit of the source (models that read
            times want seconds), or None.
        ratings: (events,) float32, or None.
        titles: (items + 1,) numpy unicode, "" where unknown, or None.
        name: Name of the data set.
        report: What preprocessing read, dropped and kept, as counts.

    Raises:
        ValueError: The arrays do not fit together.
    """

    values: np.ndarray
    offsets: np.ndarray
    user_ids: np.ndarray
    item_ids: np.ndarray
    times: np.ndarray | None = None
    ratings: np.ndarray | None = None
    titles: np.ndarray | None = None
    name: str = ""
    report: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.offsets.ndim != 1 or len(self.offsets) == 0 or self.offsets[0] != 0:
            raise ValueError(
                f"offsets must be one-dimensional and begin with 0, got shape "
                f"{self.offsets.shape}"
            )
        wanted = {
            "values": int(self.offsets[-1]),
            "user_ids": len(self.offsets) - 1,
            "times": int(self.offsets[-1]),
            "ratings": int(self.offsets[-1]),
            "titles": len(self.item_ids),
        }
        for field, size in wanted.items():
            array = getattr(self, field)
            if array is not None and array.shape != (size,):
                raise ValueError(
                    f"{field} must have shape ({size},), not {array.shape}"
                )
        if len(self.item_ids) == 0 or self.item_ids[0] != "":
            raise ValueError("item_ids must begin with '' (entry 0 is padding)")
        if np.any(np.diff(self.offsets) < 0):
            user = int(np.flatnonzero(np.diff(self.offsets) < 0)[0])
            raise ValueError(f"offsets must not fall, they do at user {user}")
        wrong = (self.values < 1) | (self.values >= len(self.item_ids))
        if wrong.any():
            place = int(wrong.argmax())
            raise ValueError(
                f"item numbers must be 1 to {len(self.item_ids) - 1}, "
                f"values[{place}] is {self.values[place]}"
            )

    @property
    def users(self) -> int:
        return len(self.user_ids)

    @property
    def items(self) -> int:
        return len(self.item_ids) - 1

    @property
    def events(self) -> int:
        return len(self.values)

    @property
    def lengths(self) -> np.ndarray:
        """(users,) int64 number of events of each user."""
        return np.diff(self.offsets)

    def history(self, user: int) -> np.ndarray:
        """The item numbers of user number `user` (a view), oldest first."""
        return self.values[self.offsets[user] : self.offsets[user + 1]]

    @classmethod
    def from_histories(
        cls, histories: Mapping[str, Iterable[str]], name: str = ""
    ) -> "Sequences":
        """Builds sequences from raw ids in memory.

        Args:
            histories: Raw user id -> raw item ids, oldest first. Users keep the
                order of the mapping; items are numbered as `identity.order` says.
            name: Name of the data set.

        Returns:
            The sequences, without times, ratings or titles.
        """
        lists = [[str(item) for item in items] for items in histories.values()]
        item_ids, codes = number(np.array([i for row in lists for i in row], dtype=str))
        return cls(
            values=(codes + 1).astype(np.int32),
            offsets=np.cumsum([0, *map(len, lists)]).astype(np.int64),
            user_ids=np.array([str(user) for user in histories], dtype=str),
            item_ids=np.concatenate([np.array([""]), item_ids]),
            name=name,
        )

    def save(self, directory: str | os.PathLike) -> None:
        """Writes one .npy file per array and, last, `sequences.json`."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        present = [field for field in _ARRAYS if getattr(self, field) is not None]
        for field in present:
            np.save(directory / f"{field}.npy", getattr(self, field))
        header = {"name": self.name, "report": dict(self.report), "arrays": present}
        (directory / _HEADER).write_text(json.dumps(header, indent=1))

    @classmethod
    def load(cls, directory: str | os.PathLike, mmap: bool = True) -> "Sequences":
        """Reads what `save` wrote.

        Args:
            directory: The directory given to `save`.
            mmap: Map the files into memory, read-only, instead of reading them.

        Raises:
            FileNotFoundError: `sequences.json` or one of its arrays is missing.
            ValueError: A file is cut short, or the arrays do not fit together.
        """
        directory = Path(directory)
        header = json.loads((directory / _HEADER).read_text())
        arrays = {}
        for field in header["arrays"]:
            array = np.load(directory / f"{field}.npy", mmap_mode="r" if mmap else None)
            # A base-class view keeps the mapping but costs less per slice.
            arrays[field] = array.view(np.ndarray)
        return cls(**arrays, name=header["name"], report=header["report"])
