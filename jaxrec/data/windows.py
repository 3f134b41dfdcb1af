"""Windows over user histories, of which training batches are made.

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
"""

import dataclasses

import numpy as np

from jaxrec.data.splits import Split


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
