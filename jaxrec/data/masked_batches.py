"""Training batches of masked items: windows as of next items, some of them hidden.

A window is a run of at most `length` consecutive training events of one user, cut as
`jaxrec.data.windows` says. Of its n items

    k = min(int(length p), max(1, round(n p)))

are replaced by the mask token and become labels, drawn uniformly without replacement
and anew in every epoch, as in the released code of the AE / AR study (no item is kept
or replaced by another, as BERT does with two tenths of them). Which ones is a function
of (seed, epoch, event): every event has a number drawn from these, and the k lowest of
a window are masked, in whatever batch it stands.

Labels come apart from tokens: most slots have none, and a model need not compute what
nobody asks for. Each row has room for the same number of labels, those of an average
row; when packing, a window with more than its share takes more slots than it has items.
"""

import numpy as np

from jaxrec.data.batches import Batch, Batches
from jaxrec.data.draws import event_draws
from jaxrec.data.splits import Split


class MaskedBatches(Batches):
    """All batches of a training run on masked items, by step number.

    Args:
      split: the data.
      probability: share p of a window that is masked, between 0 and 1.
      token: the id that stands for a masked item.
      size, length, layout, seed, multiple, windows, draws, users, shared: as for
        `Batches`.

    Attributes:
      labels: labels per row.
      fill: share of slots that hold an item, over epoch 0.

    Raises:
      ValueError: as `Batches`; a probability outside (0, 1), or one with which a whole
        window has no masked item.
    """

    def __init__(
        self,
        split: Split,
        *,
        probability: float,
        token: int,
        length: int,
        layout: str = "packed",
        seed: int = 0,
        **options,
    ):
        if not 0 < probability < 1:
            raise ValueError(
                f"batch.mask_probability: want above 0 and below 1, got {probability}"
            )
        if int(length * probability) < 1:
            raise ValueError(
                f"batch.mask_probability={probability}: of a window of "
                f"batch.length={length} no item would be masked"
            )
        self._probability, self._token, self._mask_seed = probability, token, seed
        self._whole = length
        begin = split.sequences.offsets[:-1]
        count = np.minimum(split.train_end - begin, length)
        count = count[count > 0]
        self.labels = int(length * probability)
        if layout == "packed" and len(count):
            share = self._masked(count).sum() / count.sum()
            self.labels = max(self.labels, int(np.ceil(share * length)))
        self.labels = min(self.labels, length)
        super().__init__(split, length=length, layout=layout, seed=seed, **options)

    def __call__(self, step: int) -> Batch:
        """The batch of a 0-based step.

        Returns:
          tokens and segments, each (rows, length) int32; slots and labels, each (rows,
          labels) int32, the slot of every label in its row and the label, 0 where there
          is none; row (rows,) int32, the global row number; and, if asked for, users
          and draws as of `Batches`; draws say nothing of what is masked.
        """
        epoch, position = self.locate(step)
        cut, plan = self._plan(epoch)
        windows, rows, columns = plan[position]
        number, within, source, slot = self._places(cut, windows, rows, columns)
        hidden = self._hidden(epoch, cut.count[windows], number, source)
        tokens, segments = np.zeros((2, self.rows, self.length), np.int32)
        items, begin = self._values[source], cut.begin[windows]
        shown, targets = self._replaced(epoch, items, items, source, begin[number])
        tokens.reshape(-1)[slot] = np.where(hidden, self._token, shown)
        segments.reshape(-1)[slot] = 1 + number
        slots, labels = np.zeros((2, self.rows, self.labels), np.int32)
        order = np.argsort(slot[hidden])
        row, column = np.divmod(slot[hidden][order], self.length)
        nth = np.arange(len(row)) - np.searchsorted(row, row)
        slots[row, nth] = column
        labels[row, nth] = targets[hidden][order]
        batch = {
            **self._whose(epoch, begin, number, slot),
            "tokens": tokens,
            "segments": segments,
            "slots": slots,
            "labels": labels,
            "row": np.arange(self.rows, dtype=np.int32),
        }
        if self._draws:
            batch["draws"] = np.zeros(labels.shape, np.uint32)
            batch["draws"][row, nth] = self._drawn(epoch, source[hidden][order])
        return batch

    def _masked(self, count: np.ndarray) -> np.ndarray:
        """How many items of windows of so many are masked."""
        share = np.maximum(np.round(count * self._probability), 1)
        return np.minimum(share, int(self._whole * self._probability)).astype(int)

    def _slots(self, count: np.ndarray) -> np.ndarray:
        room = np.ceil(self._masked(count) * self._whole / self.labels)
        return np.maximum(count, room.astype(int))

    def _hidden(self, epoch, count, number, source) -> np.ndarray:
        """Which events are masked: those of each window with the lowest draws."""
        draws = event_draws(self._mask_seed, epoch, source)
        # One key, the window's number before the draw, is sorted in a third of the time
        # of two; what is left of a draw is still 50 bits or so.
        bits = np.uint64(len(count).bit_length())
        order = np.argsort(number.astype(np.uint64) << (64 - bits) | draws >> bits)
        rank = np.empty(len(number), int)
        rank[order] = np.arange(len(number)) - (np.cumsum(count) - count)[number]
        return rank < self._masked(count)[number]
