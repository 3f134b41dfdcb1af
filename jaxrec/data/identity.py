"""Raw ids to numbers, the same way on every machine.

Ids are put in numeric order when every one of them is an integer written plainly
("-3", "0", "17": no leading zero, no plus sign, at most 18 digits), otherwise in
the order of their code points. Numbers follow that order, so they depend on the
set of ids alone, never on the order of the file.
"""

import numpy as np


def number(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers raw ids.

    Args:
        raw: (n,) ids: int64, numpy bytes (UTF-8) or numpy unicode.

    Returns:
        ids: (distinct,) numpy unicode, in order.
        codes: (n,) int64 with ids[codes] equal to the raw ids.
    """
    if raw.dtype.kind == "i":
        ids, codes = _unique_integers(raw)
        return ids.astype(str), codes
    ids, codes = np.unique(raw, return_inverse=True)
    if ids.dtype.kind == "S":
        ids = np.char.decode(ids, "utf-8")
    integers = as_integers(ids)
    if integers is None:
        return ids, codes
    order = np.argsort(integers)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return ids[order], rank[codes]


def as_integers(ids: np.ndarray) -> np.ndarray | None:
    """The ids as int64 if every one is an integer written plainly, else None."""
    if ids.dtype.itemsize > 4 * 19 or len(ids) == 0:
        return None
    try:
        integers = ids.astype(np.int64)
    except (ValueError, OverflowError):
        return None
    return integers if np.array_equal(integers.astype(str), ids) else None


def _unique_integers(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(raw) == 0:
        return raw, np.zeros(0, np.int64)
    low, high = int(raw.min()), int(raw.max())
    if high - low > 4 * len(raw) + (1 << 20):
        return np.unique(raw, return_inverse=True)
    # Dense ids: marking a table is linear where sorting is not.
    seen = np.zeros(high - low + 1, bool)
    seen[raw - low] = True
    code = np.cumsum(seen) - 1
    return np.flatnonzero(seen) + low, code[raw - low]
