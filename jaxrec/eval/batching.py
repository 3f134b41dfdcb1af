"""Cases as rectangular batches of few different shapes. NumPy only."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import Cases

_SHORTEST = 8  # Length of the smallest bucket: shorter ones would save little.

# Masked items, padding counted, up to which all batches get one width. On a CPU an item
# takes 3.4 ns at every evaluation, and compiling for another width 0.35 s once.
_ONE_WIDTH = 1 << 24


@dataclasses.dataclass(frozen=True, eq=False)
class CaseBatch:
    """Some cases, padded to fixed sizes.

    Attributes:
        cases: (n,) int64 numbers of the cases, n <= b; the rows behind are padding.
        number: (b,) int32 the same, padding rows repeating the last.
        ids: (b, t) int32 the last items of each history, left padded with 0: what the
            model sees.
        targets: (b,) int32.
        history: (b, h) int32 items that are no candidates, 0 for nothing; `ids` itself
            where that says the same.
        times: (b, t) int32 when the events of `ids` were, 0 at padding, see
            `jaxrec.data.times`; None if not asked for.
    """

    cases: np.ndarray
    number: np.ndarray
    ids: np.ndarray
    targets: np.ndarray
    history: np.ndarray
    times: np.ndarray | None = None


def case_batches(
    sequences: Sequences,
    cases: Cases,
    *,
    window: int,
    masked: int | None,
    batch: int,
    bucket: bool,
    times: bool = False,
) -> Iterator[CaseBatch]:
    """Batches that together hold every case once.

    With `bucket` the cases come sorted by the length of their history, and t and h are
    the next power of two, from 8 on, that holds the longest history of the batch (t at
    most `window`): a handful of shapes to compile, and a user with six events is not
    charged for the window. Whole histories that are to be masked get one h if all of
    them together are small.

    Args:
        sequences: All events.
        cases: The targets.
        window: Most items that the model sees.
        masked: How many of the last items are no candidates, None for all.
        batch: Rows b of every batch; the last one is padded.
        bucket: False: cases in order, t = `window` in every batch.
        times: Whether batches say when the events were.

    Raises:
        ValueError: `window` or `batch` is below 1.
    """
    if window < 1 or batch < 1:
        raise ValueError(
            f"window and batch must be 1 or more, got {window} and {batch}"
        )
    first = sequences.offsets[cases.user]
    length = cases.position - first
    order = np.arange(len(cases))
    if bucket:
        order = np.argsort(length, kind="stable")
    longest = int(length.max(initial=0))
    widest = _power_of_two(longest)
    one_width = masked is None and bucket and len(cases) * widest <= _ONE_WIDTH
    for begin in range(0, len(cases), batch):
        chosen = order[begin : begin + batch]
        rows = np.concatenate([chosen, np.repeat(chosen[-1], batch - len(chosen))])
        top = int(length[chosen].max()) if bucket else max(longest, window)
        t = min(_power_of_two(top), window)
        shown = masked
        if masked is None:
            shown = widest if one_width else _power_of_two(top)
        span = (first[rows], cases.position[rows])
        ids = _last(sequences.values, *span, t)
        history = ids
        if masked == 0:
            history = np.zeros((batch, 0), np.int32)
        elif one_width or min(top, shown) > t or shown < min(top, t):
            history = _last(sequences.values, *span, shown)
        yield CaseBatch(
            cases=chosen,
            number=rows.astype(np.int32),
            ids=ids,
            targets=sequences.values[cases.position[rows]].astype(np.int32),
            history=history,
            times=_last(sequences.times, *span, t) if times else None,
        )


def _power_of_two(length: int) -> int:
    return max(_SHORTEST, 1 << (length - 1).bit_length()) if length else _SHORTEST


def _last(values, first, end, count):
    """(n, count) the last of values[first:end] per row, left padded with 0, int32."""
    position = end[:, None] - np.arange(count, 0, -1)
    inside = position >= first[:, None]
    return np.where(inside, values[np.where(inside, position, 0)], 0).astype(np.int32)
