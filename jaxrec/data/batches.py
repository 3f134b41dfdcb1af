"""Training batches: windows over user histories, packed into rows or padded.

How histories are cut into windows is in `jaxrec.data.windows`. Packing puts several
windows in one row and numbers them in `segments`; models reset there. Padded rows waste
1 - valid / slots of the work: 46 % on MovieLens-1M, 89 % on Amazon Beauty. Both layouts
hold the same targets and so give the same loss.

Every batch is a pure function of (seed, step): a resumed run sees what it would have
seen, and every process of a multi-host run can build the whole plan by itself.
"""

import math

import numpy as np

from jaxrec.data.draws import event_draws
from jaxrec.data.shared_embeddings import SharedEmbeddings
from jaxrec.data.splits import Split
from jaxrec.data.times import check_times, seconds
from jaxrec.data.windows import Windows, make_windows, shifted_windows

Batch = dict[str, np.ndarray]


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
      users: whether batches say whose the slots are.
      times: whether batches say when the events were.
      shared: items and users that are replaced, see `jaxrec.data.shared_embeddings`.

    Attributes:
      rows: rows per batch.
      length: slots per row.
      steps_per_epoch: steps of epoch 0 (packing and shifts vary it by a step or so).
      fill: share of slots that hold a target, over epoch 0.
      user_numbers: (users of the data,) int32, the number of each user in batches with
        `users`: from 1 on in the order of the data, 0 for one without any target, whom
        a model cannot know.

    Raises:
      ValueError: unknown layout, non-positive sizes, users to be replaced that the
        batches do not have, or times that the data do not have.
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
        users: bool = False,
        times: bool = False,
        shared: SharedEmbeddings | None = None,
    ):
        if times:
            check_times(split.sequences)
        self._times = split.sequences.times if times else None
        shared = shared or SharedEmbeddings()
        if shared.sse_user and not users:
            raise ValueError(
                f"batch.sse_user={shared.sse_user}: the model has no user vectors; set "
                "model.users=true where the model has it"
            )
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
        self._sequences, self._users, self._shared = split.sequences, users, shared
        fixed = make_windows(split, length, bos_target)
        self.user_numbers = np.zeros(split.sequences.users, np.int32)
        known = self._owners(fixed.begin)
        self.user_numbers[known] = known + 1
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
          whatever batch, layout or slot it stands, 0 where there is no target;
          users (rows, length) int32, the number of the user of every slot, 0 for an
          unknown one or none; and times (rows, length, 2) int32, when the events of
          token and label were, see `jaxrec.data.times`.
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
        before = self._values[np.maximum(source - 1, 0)]
        fresh = cut.fresh[windows][number] & (within == 0)
        inputs, targets = np.where(fresh, 0, before), self._values[source]
        begin = cut.begin[windows]
        inputs, targets = self._replaced(epoch, inputs, targets, source, begin[number])
        tokens.reshape(-1)[slot] = inputs
        labels.reshape(-1)[slot] = targets
        segments.reshape(-1)[slot] = 1 + number
        batch = {
            **self._whose(epoch, begin, number, slot),
            "tokens": tokens,
            "labels": labels,
            "segments": segments,
            "row": np.arange(self.rows, dtype=np.int32),
        }
        if self._draws:
            batch["draws"] = np.zeros(shape, np.uint32)
            batch["draws"].reshape(-1)[slot] = self._drawn(epoch, source)
        if self._times is not None:
            pairs = np.stack([np.where(fresh, source, source - 1), source], 1)
            batch["times"] = np.zeros((*shape, 2), np.int32)
            batch["times"].reshape(-1, 2)[slot] = seconds(self._times[pairs])
        return batch

    def _drawn(self, epoch: int, source: np.ndarray) -> np.ndarray:
        """One uniform uint32 per target, for its negatives."""
        draws = event_draws(self._seed, epoch, source, _NEGATIVES)
        return (draws >> np.uint64(32)).astype(np.uint32)

    def _replaced(self, epoch, inputs, targets, events, windows):
        """Inputs and targets of places, some of them replaced by other items."""
        return self._shared.replace_items(
            *(inputs, targets),
            seed=self._seed,
            epoch=epoch,
            items=self._sequences.items,
            events=events,
            windows=windows,
        )

    def _whose(self, epoch, begin, number, slot) -> Batch:
        """The part of a batch that says whose the slots are, if it is asked for."""
        if not self._users:
            return {}
        users = np.zeros((self.rows, self.length), np.int32)
        owners = self._shared.replace_users(
            self._owners(begin),
            seed=self._seed,
            epoch=epoch,
            count=self._sequences.users,
        )
        users.reshape(-1)[slot] = owners[number]
        return {"users": users}

    def _owners(self, events: np.ndarray) -> np.ndarray:
        """The users of events, from 0."""
        return np.searchsorted(self._sequences.offsets, events, "right") - 1

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
