"""The reference shapes by name, and seeded data that look like the real ones.

A shape says how large a problem is; its users say how much of it is padding. Histories
have the lengths and the popularity curve of the data set that the shape is named after,
kept here as a few percentiles, so that no file is needed and a batch costs what a real
one costs. Item ids carry no meaning: nothing can be learnt from them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Users:
    """How long histories are and how popular items are, as points of two curves.

    Attributes:
        events: Lengths of histories, shortest first.
        percent: Percentage of users with fewer events than that, from 0 to 100.
        items: Fractions of the items, most popular first, from 0 to 1.
        share: Fraction of all events that those items have.
    """

    events: tuple[int, ...]
    percent: tuple[float, ...]
    items: tuple[float, ...]
    share: tuple[float, ...]


# The last two events of a user with at least 3 are validation and test.
_HELD_OUT = 2

_ITEMS = (0, 0.01, 0.1, 0.2, 0.5, 1)

# MovieLens-1M; Amazon Video Games and Beauty 2014 in the files of SASRec. Counted over
# all users: 6,040, 31,013 and 52,204.
_ML1M = Users(
    (18, 20, 27, 44, 97, 208, 400, 556, 906, 1341, 2278),
    (0, 0.08, 9.19, 24.59, 50.3, 75, 89.98, 94.98, 98.99, 99.88, 100),
    _ITEMS,
    (0, 0.082, 0.422, 0.626, 0.905, 1),
)
_GAMES = Users(
    (1, 3, 4, 5, 6, 7, 8, 10, 14, 22, 50, 129, 861),
    (0, 0.36, 1.24, 5.39, 34.19, 51.44, 62.37, 75.76, 87.51, 94.84, 98.96, 99.9, 100),
    _ITEMS,
    (0, 0.168, 0.544, 0.703, 0.902, 1),
)
_BEAUTY = Users(
    (1, 2, 3, 4, 5, 6, 7, 8, 10, 14, 18, 37, 93, 294),
    (0, 0.9, 3.3, 9.2, 22.9, 47.5, 62.1, 71.4, 82.0, 91.5, 95.1, 99.0, 99.9, 100),
    _ITEMS,
    (0, 0.176, 0.533, 0.679, 0.878, 1),
)
# Every user of XLong has about 960 events; popularity is taken from MovieLens.
_XLONG = Users((900, 1001), (0, 100), _ITEMS, (0, 0.082, 0.422, 0.626, 0.905, 1))


@dataclass(frozen=True)
class Shape:
    """Sizes of one problem.

    Attributes:
        name: Name in results and on the command line.
        batch: Rows (users) per batch.
        length: Events per row; 0 where one event at a time is served.
        items: Catalogue size N, without padding.
        users: Curves of the histories.
        dim: Width D.
        blocks: Number of blocks.
    """

    name: str
    batch: int
    length: int
    items: int
    users: Users
    dim: int = 64
    blocks: int = 2

    @property
    def channels(self) -> int:
        """Complex channels of each recurrence, 2D."""
        return 2 * self.dim


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("ml1m", 128, 200, 3_416, _ML1M),
        Shape("ml1m-s", 32, 200, 3_416, _ML1M),
        Shape("games", 128, 50, 23_715, _GAMES),
        Shape("beauty", 128, 50, 57_289, _BEAUTY),
        Shape("beauty-12k", 128, 50, 12_101, _BEAUTY),  # as many items as its 5-core
        Shape("xlong", 32, 1000, 100_000, _XLONG),
        Shape("serve-1", 1, 0, 3_416, _ML1M),
        Shape("serve-4k", 4096, 0, 100_000, _ML1M),
    )
}
SERVE_ITEMS = (3_416, 100_000, 1_000_000)
"""Catalogue sizes at which `serve-1` is measured (`dataclasses.replace`)."""


class Histories(NamedTuple):
    """Training parts of users, one after another.

    Attributes:
        values: (events,) int32 item ids in 1..items, oldest first per user.
        offsets: (users + 1,) int64; user u has ``values[offsets[u]:offsets[u + 1]]``.
    """

    values: np.ndarray
    offsets: np.ndarray


class Padded(NamedTuple):
    """Rows as the released LRURec trains on them, both (rows, length) int32.

    Attributes:
        tokens: Inputs, left padded with 0.
        labels: Next items, left padded with 0, which is no target.
    """

    tokens: np.ndarray
    labels: np.ndarray

    @property
    def targets(self) -> int:
        """Number of targets, the "valid positions" of a batch."""
        return int(np.count_nonzero(self.labels))


def histories(shape: Shape, users: int | None = None, seed: int = 0) -> Histories:
    """Draws training histories of a shape.

    Lengths are drawn one from each of `users` equal slices of the length curve, so that
    even a small batch has the padding of the whole data set (ml1m 0.54 of the positions
    valid at L=200, games 0.14 and beauty 0.11 at L=50). Items are drawn independently:
    unlike a real user, one may meet an item twice.

    Args:
        shape: One of `SHAPES`, or like one.
        users: Number of users; one batch if not given.
        seed: Of the draw.
    """
    users = shape.batch if users is None else users
    random = np.random.default_rng(seed)
    curve = shape.users
    percent = 100 * random.permutation(
        (np.arange(users) + random.random(users)) / users
    )
    # Lengths are spread evenly in their logarithm between two points of the curve.
    events = np.exp(np.interp(percent, curve.percent, np.log(curve.events)))
    events = np.floor(events).astype(np.int64)
    events = np.where(events >= 3, events - _HELD_OUT, events)
    offsets = np.concatenate([[0], np.cumsum(events)])
    rank = np.interp(random.random(offsets[-1]), curve.share, curve.items)
    rank = np.minimum((rank * shape.items).astype(np.int64), shape.items - 1)
    ids = random.permutation(shape.items).astype(np.int32) + 1
    return Histories(ids[rank], offsets)


def padded(data: Histories, length: int) -> Padded:
    """Cuts one row per user: the last `length` targets, each after the item before it.

    The first item of a history that fits into a row is a target too, after padding.
    """
    users = len(data.offsets) - 1
    tokens = np.zeros((users, length), np.int32)
    labels = np.zeros((users, length), np.int32)
    for user in range(users):
        history = data.values[data.offsets[user] : data.offsets[user + 1]]
        target, source = history[-length:], history[:-1][-length:]
        labels[user, length - len(target) :] = target
        tokens[user, length - len(source) :] = source
    return Padded(tokens, labels)


def training_batch(shape: Shape, seed: int = 0) -> Padded:
    """Draws one padded training batch of a shape, (batch, length)."""
    return padded(histories(shape, seed=seed), shape.length)


def right_padded(rows: Padded) -> Padded:
    """The same rows as SASRec trains on them: padded on the right, an item before each.

    A first item, which has only padding before it, is no target; rows without a target
    are left out.
    """
    real = (rows.labels > 0) & (rows.tokens > 0)
    count = real.sum(1)[:, None]
    length = real.shape[1]
    source = (np.arange(length) - count) % length  # to the left edge
    moved = (np.take_along_axis(a * real, source, 1)[count[:, 0] > 0] for a in rows)
    return Padded(*moved)
