"""One row per event as the file has them, and the grouping by user."""

import dataclasses
import decimal
from collections.abc import Iterator, Mapping

import numpy as np

from jaxrec.data.identity import number
from jaxrec.data.sequences import Sequences
from jaxrec.data.text import Block, plain_integers


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Events in the order of the file.

    Attributes:
        user: (events,) raw ids, int64 if all are integers, else numpy bytes (UTF-8).
        item: (events,) raw ids, likewise.
        time: (events,) int64, or None.
        rating: (events,) float32, or None.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None = None
    rating: np.ndarray | None = None


def table_from_blocks(path: str, roles: list[str], blocks: Iterator[Block]) -> Table:
    """Converts fields to ids, times and ratings.

    Args:
        path: The file, named in errors.
        roles: What each field of a block is: "user", "item", "time", "rating".
        blocks: The fields.

    Raises:
        ValueError: An id is empty, a time or rating is not a number (the message
            names the line), or there is no event at all.
    """
    convert = {"user": _ids, "item": _ids, "time": _times, "rating": _ratings}
    pieces = {role: [] for role in roles}
    for block in blocks:
        for role, field in zip(roles, block.fields, strict=True):
            pieces[role].append(convert[role](path, role, field, block.lines))
    if not pieces["user"]:
        raise ValueError(f"{path}: no interactions in this file")
    return Table(**{role: _join(parts) for role, parts in pieces.items()})


def group(
    table: Table, name: str = "", titles: Mapping[str, str] | None = None
) -> Sequences:
    """Groups events by user, each user in the order of the file.

    Args:
        table: The events.
        name: Name of the data set.
        titles: Raw item id -> title, or None.

    Returns:
        Sequences with users and items in the order that `identity` gives them.
    """
    user_ids, user = number(table.user)
    item_ids, item = number(table.item)
    counts = np.bincount(user, minlength=len(user_ids))
    order = np.argsort(user, kind="stable")
    return Sequences(
        values=(item[order] + 1).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        user_ids=user_ids,
        item_ids=np.concatenate([np.array([""]), item_ids]),
        times=None if table.time is None else table.time[order],
        ratings=None if table.rating is None else table.rating[order],
        titles=None if not titles else _titles_in_order(item_ids, titles),
        name=name,
    )


def _titles_in_order(item_ids: np.ndarray, titles: Mapping[str, str]) -> np.ndarray:
    return np.array(["", *(titles.get(item, "") for item in item_ids.tolist())])


def _join(parts: list[np.ndarray]) -> np.ndarray:
    if len({part.dtype.kind for part in parts}) > 1:
        # Integers are written plainly, so turning them back loses nothing.
        parts = [part.astype("S") for part in parts]
    return np.concatenate(parts)


def _ids(path, role, field, lines):
    if field.dtype.kind != "S":
        return _whole(path, role, field, lines)
    values, plain = plain_integers(field)
    if plain.all():
        return values
    empty = np.flatnonzero(field == b"")
    if len(empty):
        raise ValueError(f"{path}, line {lines[empty[0]]}: the {role} id is empty")
    if (field.view(np.uint8) > 127).any():
        _check_utf8(path, role, field, lines)
    return field


def _check_utf8(path, role, field, lines):
    for text, line in zip(field.tolist(), lines.tolist(), strict=True):
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}, line {line}: the {role} id {text!r} is not UTF-8"
            ) from error


def _times(path, role, field, lines):
    if field.dtype.kind != "S":
        return _whole(path, role, field, lines)
    values, plain = plain_integers(field)
    if not plain.all():
        decimals = np.strings.count(field, b".") == 1
        cut = np.strings.rstrip(np.strings.rstrip(field, b"0"), b".")
        values, plain = plain_integers(np.where(decimals, cut, field))
    for row in np.flatnonzero(~plain):
        values[row] = _exact_integer(path, field[row], lines[row])
    return values


def _whole(path, role, field, lines):
    """Numbers of a typed column as int64."""
    if field.dtype.kind == "i":
        return field.astype(np.int64, copy=False)
    # Beyond 2 ** 53 neighbouring integers share a float64.
    wrong = np.flatnonzero(~((field == np.round(field)) & (abs(field) < 2.0**53)))
    if len(wrong):
        raise ValueError(
            f"{path}, line {lines[wrong[0]]}: the {role} {field[wrong[0]]} is not an "
            "integer"
        )
    return field.astype(np.int64)


def _exact_integer(path, text: bytes, line: int) -> int:
    """Text such as "881250949.0" or "8.81e8" as an integer, never through a float."""
    try:
        value = decimal.Decimal(text.decode("utf-8", "replace"))
        if value == value.to_integral_value() and abs(value) < 2**63:
            return int(value)
    except decimal.InvalidOperation:
        pass
    raise ValueError(
        f"{path}, line {line}: the time {text.decode('utf-8', 'replace')!r} is not an "
        "integer; accepted are whole numbers such as unix seconds or milliseconds"
    )


def _ratings(path, role, field, lines):
    try:
        ratings = field.astype(np.float32)
    except ValueError:
        ratings = np.array([_float(text) for text in field], np.float32)
    wrong = np.flatnonzero(~np.isfinite(ratings))
    if len(wrong):
        text = str(field[wrong[0]])
        if field.dtype.kind == "S":
            text = field[wrong[0]].decode("utf-8", "replace")
        raise ValueError(
            f"{path}, line {lines[wrong[0]]}: the rating {text!r} is not finite"
        )
    return ratings


def _float(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
