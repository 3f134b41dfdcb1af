"""Training batches: windows over user histories, packed into rows or padded.

A window is a run of consecutive targets of one user, at most `length` of them; each
target is predicted from the item before it, and the first one from id 0 (begin of
sequence) where the window starts the sample. Two ways to cut a history into windows:

* "released", as the released LRURec code: a user with fewer than 2 * length training
  items gives one window, the last `length`; a longer history is cut from its end into
  windows of exactly `length`, and what remains at the front is dropped (14 % of the
  training events of MovieLens-1M at length 200). The same windows in every epoch.
* "shifted", ours: a history longer than `length` is cut at a place drawn anew for every
  epoch, and then every `length` items. Nothing is dropped, and a target sees another
  part of what came before it each time.

Packing puts several windows in one row and numbers them in `segments`; models reset
there. Padded rows waste 1 - valid / slots of the work: 46 % on MovieLens-1M, 89 % on
Amazon Beauty. Both layouts hold the same targets and so give the same loss.

Every batch is a pure function of (seed, step): a resumed run sees what it would have
seen, and every process of a multi-host run can build the whole plan by itself.
"""

import dataclasses
import math

import numpy as np

from jaxrec.data.draws import event_draws
from jaxrec.data.splits import Split

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Windows:
    """Runs of training targets.

    Attributes:
      begin: (n,) int64, absolute position in `values` of the first target.
      count: (n,) int64, number of targets, at least 1.
      fresh: (n,) bool, whether the first target is predicted from id 0 instead of the
        item before it.
    """

    begin: np.ndarray
    count: np.ndarray
    fresh: np.ndarray


def make_windows(split: Split, length: int, bos_target: bool = True) -> Windows:
    """Cuts every user's training part by the "released" rule.

    Args:
      split: the data.
      length: longest window.
      bos_target: whether the first item of a sample is a target, predicted from id 0
        (the released protocol). Without it that item is only context.

    Raises:
      ValueError: no user has a training target.
    """
    begin = split.sequences.offsets[:-1].astype(np.int64)
    size = split.train_end - begin
    long = size >= 2 * length
    pieces = np.where(long, size // length, (size > 0).astype(np.int64))
    user = np.repeat(np.arange(len(size)), pieces)
    first = np.cumsum(pieces) - pieces
    nth = np.arange(len(user)) - first[user]  # 0 is the window at the end
    end = split.train_end[user] - nth * length
    count = np.minimum(size[user], length)
    start = end - count
    fresh = long[user] | (size[user] <= length)
    return _targets(split, start, count, fresh, bos_target)


def shifted_windows(
    split: Split, length: int, rng: np.random.Generator, bos_target: bool = True
) -> Windows:
    """Cuts every user's training part by the "shifted" rule; arguments as above.

    Args:
      rng: draws where each history is cut first.
    """
    begin = split.sequences.offsets[:-1].astype(np.int64)
    size = split.train_end - begin
    # So many items stand before the first cut, 1 to length.
    head = rng.integers(1, length + 1, len(size))
    head = np.where(size <= length, size, head)
    pieces = (size > 0) - (head - size) // length
    user = np.repeat(np.arange(len(size)), pieces)
    first = np.cumsum(pieces) - pieces
    nth = np.arange(len(user)) - first[user]
    start = np.where(nth == 0, 0, head[user] + (nth - 1) * length)
    end = np.minimum(head[user] + nth * length, size[user])
    return _targets(split, begin[user] + start, end - start, nth == 0, bos_target)


def _targets(split, start, count, fresh, bos_target):
    if not bos_target:
        start, count = start + fresh, count - fresh
        fresh = np.zeros_like(fresh)
    some = count > 0
    if not some.any():
        sequences = split.sequences
        events = int((split.train_end - sequences.offsets[:-1]).sum())
        raise ValueError(
            f"data {sequences.name!r}: no user has a training target "
            f"({sequences.users} users, {events} training events)"
        )
    return Windows(start[some], count[some], fresh[some])


class Batches:
    """All batches of a training run, by step number.

    Args:
      split: the data.
      size: windows per batch; when packing, on average.
      length: longest window, and the row length.
      layout: "packed" or "padded" (one window per row, left padded).
      seed: of the shuffles.
      multiple: rows per batch are a multiple of this (devices times micro-batches).
      bos_target: see `make_windows`.
      windows: "released" or "shifted".
      draws: whether batches have `draws`, from which targets get their negatives.

    Attributes:
      rows: rows per batch.
      length: slots per row.
      steps_per_epoch: steps of epoch 0 (packing and shifts vary it by a step or so).
      fill: share of slots that hold a target, over epoch 0.

    Raises:
      ValueError: unknown layout or non-positive sizes.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: int,
        length: int,
        layout: str = "packed",
        seed: int = 0,
        multiple: int = 1,
        bos_target: bool = True,
        windows: str = "released",
        draws: bool = False,
    ):
        if windows not in ("released", "shifted"):
            raise ValueError(
                f"batch.windows: want released or shifted, got {windows!r}"
            )
        if layout not in ("packed", "padded"):
            raise ValueError(f"batch.layout: want packed or padded, got {layout!r}")
        if size < 1 or length < 1:
            raise ValueError(f"batch: want positive sizes, got {size=}, {length=}")
        self._values = split.sequences.values
        self._layout, self._seed, self.length = layout, seed, length
        self._draws = draws
        fixed = make_windows(split, length, bos_target)
        self._cut = lambda epoch: fixed
        if windows == "shifted":
            self._cut = lambda epoch: shifted_windows(
                split, length, np.random.default_rng((seed, epoch, 1)), bos_target
            )
        count = self._cut(0).count
        rows = min(size, len(count))
        if layout == "packed":
            slots = self._slots(count)
            rows = max(1, round(size * slots.mean() / length / _FILL))
            rows = min(rows, math.ceil(slots.sum() / length / _FILL) + 1)
        self.rows = -(-rows // multiple) * multiple
        self._starts = [0]  # first step of each epoch seen so far
        self._plans: dict[int, tuple[Windows, list]] = {}
        plan = self._plan(0)[1]
        self.steps_per_epoch = len(plan)
        self.targets_per_epoch = int(sum(count[w].sum() for w, _, _ in plan))
        self.fill = self.targets_per_epoch / (len(plan) * self.rows * length)

    def __call__(self, step: int) -> Batch:
        """The batch of a 0-based step.

        Returns:
          tokens, labels, segments, each (rows, length) int32, and row (rows,) int32,
          the global row number, from which per-row dropout keys are made. Labels are 0
          where there is no target. If asked for also draws, uint32 like labels: one
          uniform number per target, a function of (seed, epoch, event) alone, in
          whatever batch, layout or slot it stands; 0 where there is no target.
        """
        epoch, position = self.locate(step)
        windows, plan = self._plan(epoch)
        return self._fill(epoch, windows, *plan[position])

    def locate(self, step: int) -> tuple[int, int]:
        """(epoch, batch within the epoch) of a step."""
        while step >= self._starts[-1]:
            epoch = len(self._starts) - 1
            self._starts.append(self._starts[-1] + len(self._plan(epoch)[1]))
        epoch = int(np.searchsorted(self._starts, step, side="right")) - 1
        return epoch, step - self._starts[epoch]

    def _plan(self, epoch):
        """The windows of an epoch, and its batches as (windows, rows, columns)."""
        if epoch not in self._plans:
            windows = self._cut(epoch)
            order = np.random.default_rng((self._seed, epoch)).permutation(
                len(windows.count)
            )
            if self._layout == "padded":
                plan = self._plan_padded(windows.count, order)
            else:
                plan = self._plan_packed(self._slots(windows.count), order)
            self._plans = {e: p for e, p in self._plans.items() if e >= epoch - 1}
            self._plans[epoch] = windows, plan
        return self._plans[epoch]

    def _slots(self, count: np.ndarray) -> np.ndarray:
        """How many slots of a packed row windows of so many targets take."""
        return count

    def _plan_padded(self, count, order):
        plan = []
        for i in range(0, len(order), self.rows):
            windows = order[i : i + self.rows]
            columns = self.length - count[windows]
            plan.append((windows, np.arange(len(windows)), columns))
        return plan

    def _plan_packed(self, count, order):
        """Equal shares of the epoch's targets; what does not fit moves on a batch."""
        targets = np.cumsum(count[order])
        batches = -(-int(targets[-1]) // int(self.rows * self.length * _FILL))
        shares = targets[-1] * np.arange(1, batches + 1) / batches
        ends = np.searchsorted(targets, shares, "left") + 1
        plan, begin, moved = [], 0, order[:0]
        while begin < len(order) or len(moved):
            end = int(ends[len(plan)]) if len(plan) < batches else len(order)
            candidates = np.concatenate([moved, order[begin:end]])
            placed, rows, columns = _pack(count[candidates], self.rows, self.length)
            plan.append((candidates[placed], rows, columns))
            moved = np.delete(candidates, placed)
            begin = end
        return plan

    def _fill(self, epoch, cut, windows, rows, columns) -> Batch:
        shape = (self.rows, self.length)
        tokens, labels, segments = (np.zeros(shape, np.int32) for _ in range(3))
        number, within, source, slot = self._places(cut, windows, rows, columns)
        labels.reshape(-1)[slot] = self._values[source]
        before = self._values[np.maximum(source - 1, 0)]
        fresh = cut.fresh[windows][number] & (within == 0)
        tokens.reshape(-1)[slot] = np.where(fresh, 0, before)
        segments.reshape(-1)[slot] = 1 + number
        batch = {
            "tokens": tokens,
            "labels": labels,
            "segments": segments,
            "row": np.arange(self.rows, dtype=np.int32),
        }
        if self._draws:
            batch["draws"] = np.zeros(shape, np.uint32)
            batch["draws"].reshape(-1)[slot] = self._drawn(epoch, source)
        return batch

    def _drawn(self, epoch: int, source: np.ndarray) -> np.ndarray:
        """One uniform uint32 per target, for its negatives."""
        draws = event_draws(self._seed, epoch, source, _NEGATIVES)
        return (draws >> np.uint64(32)).astype(np.uint32)

    def _places(self, cut, windows, rows, columns):
        """Of every target of some windows, one after the other: the number of its
        window, its place there, its position in the values and its flat slot."""
        count = cut.count[windows]
        number = np.repeat(np.arange(len(windows)), count)
        within = np.arange(len(number)) - np.repeat(np.cumsum(count) - count, count)
        source = cut.begin[windows][number] + within
        slot = (rows * self.length + columns)[number] + within
        return number, within, source, slot


_NEGATIVES = 1  # salt; without one, numbers say which items `MaskedBatches` masks
_FILL = 0.97  # share of the slots that packing fills with targets


def _pack(count: np.ndarray, rows: int, length: int):
    """Best-fit decreasing of windows into rows.

    Returns:
      (placed, row, column): indices of the windows that fitted, and where each begins.
    """
    order = np.argsort(-count, kind="stable")
    free = [[] for _ in range(length + 1)]  # rows by slots left
    free[length] = list(range(rows))[::-1]
    levels = 1 << length if rows else 0  # bit s: some row has s slots left
    placed, row_of, column_of = [], [], []
    for i in order.tolist():
        size = int(count[i])
        fitting = levels >> size
        if not fitting:
            continue
        left = size + ((fitting & -fitting).bit_length() - 1)
        row = free[left].pop()
        if not free[left]:
            levels &= ~(1 << left)
        placed.append(i)
        row_of.append(row)
        column_of.append(length - left)
        free[left - size].append(row)
        levels |= 1 << (left - size)
    return tuple(np.asarray(a, np.int64) for a in (placed, row_of, column_of))
