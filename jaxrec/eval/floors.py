"""Recommenders without parameters: what every trained model has to beat.

Popularity ranks items by their number of training events. First-order transitions rank
them by how often they directly followed, in training, the last item of the history, and
put the items that never did behind, by popularity. A sequence model that does not beat
the second one has learned nothing from order. Both are counted on the training part
only, also for test cases, whose history holds the validation event.

Ranks are found from sorted counts and the few items that are in a history or follow a
context, never from a (cases, items) array.
"""

from collections.abc import Iterator

import numpy as np

from jaxrec.data.splits import Split
from jaxrec.eval.metrics import Ranks
from jaxrec.eval.protocol import REPEATS, TIES, check_choice, mask_window, part_of

_BLOCK = 2_000_000  # History items and followers held at once: bounds the memory.


def popularity_counts(split: Split) -> np.ndarray:
    """(items + 1,) int64 training events of each item; entry 0 is 0."""
    values = split.sequences.values[_in_training(split)]
    return np.bincount(values, minlength=split.sequences.items + 1)


def transition_counts(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often each item directly followed each other item in training, sparse.

    Returns:
        (starts, items, counts): starts is (items + 2,) int64; context c was followed by
        items[k], counts[k] times, for starts[c] <= k < starts[c + 1].
    """
    sequences = split.sequences
    second = _in_training(split)
    second[np.minimum(sequences.offsets[:-1], len(second) - 1)] = False
    second = np.flatnonzero(second)
    width = sequences.items + 1
    keys = sequences.values[second - 1].astype(np.int64) * width
    keys += sequences.values[second]
    keys, counts = np.unique(keys, return_counts=True)
    starts = np.searchsorted(keys, np.arange(width + 1) * width)
    return starts, keys % width, counts


def popularity_ranks(
    split: Split,
    part: str = "test",
    *,
    mask: str = "all",
    window: int | None = None,
    ties: str = "expected",
    repeat_targets: str = "keep",
) -> Ranks:
    """Ranks of the targets among all items, most popular first.

    Args:
        split: Data.
        part: "test" or "valid".
        mask: History items that are no candidates: "all", the last `window` of them
            ("window"), or "none".
        window: Only with mask="window".
        ties: "expected", "optimistic" or "pessimistic"; see `jaxrec.eval.ranking`.
        repeat_targets: "keep" or "miss"; see `jaxrec.eval.ranking`.

    Returns:
        Ranks in the order of the cases.

    Raises:
        ValueError: An argument has another value than those, or the part has no cases.
    """
    empty = np.zeros(split.sequences.items + 2, np.int64), np.zeros(0, np.int64)
    followers = (*empty, empty[1])
    return _ranks(split, part, followers, mask, window, ties, repeat_targets)


def transition_ranks(
    split: Split,
    part: str = "test",
    *,
    mask: str = "all",
    window: int | None = None,
    ties: str = "expected",
    repeat_targets: str = "keep",
    equal_counts: str = "tied",
) -> Ranks:
    """Ranks of the targets by transition count from the last history item.

    The other arguments, the result and the errors are those of `popularity_ranks`.

    Args:
        equal_counts: Two items that followed the context equally often, at least once,
            are "tied", or go by "popularity" too, which is a higher floor where counts
            are small (Recall@10 on MovieLens-100K .145 instead of .136).
    """
    check_choice("equal_counts", equal_counts, ("tied", "popularity"))
    return _ranks(
        split,
        part,
        transition_counts(split),
        mask,
        window,
        ties,
        repeat_targets,
        equal_counts == "popularity",
    )


def _ranks(
    split, part, followers, mask, window, ties, repeat_targets, by_popularity=False
):
    cases = part_of(split, part)
    check_choice("ties", ties, TIES)
    check_choice("repeat_targets", repeat_targets, REPEATS)
    shown = mask_window(mask, window)
    sequences = split.sequences
    values, width = sequences.values, sequences.items + 1
    popularity = popularity_counts(split)
    ordered = np.sort(popularity[1:])
    tie_weight = TIES.index(ties) / 2
    starts, follower, times = followers
    first = sequences.offsets[cases.user]
    masked_from = first if shown is None else np.maximum(first, cases.position - shown)
    context = np.where(cases.position > first, values[cases.position - 1], 0)
    sizes = cases.position - masked_from + starts[context + 1] - starts[context]
    rank = np.zeros(len(cases))
    for rows in _blocks(sizes):
        target = values[cases.position[rows]].astype(np.int64)
        own = popularity[target]
        row, position = _spread(masked_from[rows], cases.position[rows])
        masked = _distinct(row * width + values[position])
        row, item = np.divmod(masked, width)
        repeated = np.zeros(len(target), bool)
        repeated[row[item == target[row]]] = True
        row, item = row[item != target[row]], item[item != target[row]]
        above, tied = _compare(popularity[item], own, row)
        above = len(ordered) - np.searchsorted(ordered, own, "right") - above
        tied = np.searchsorted(ordered, own, "right") - tied - 1
        tied -= np.searchsorted(ordered, own, "left")

        # Followers of the context that are candidates; `count` is that of the target.
        row, place = _spread(starts[context[rows]], starts[context[rows] + 1])
        item, often = follower[place], times[place]
        count = np.zeros(len(target), np.int64)
        count[row[item == target[row]]] = often[item == target[row]]
        free = ~_member(row * width + item, masked) & (item != target[row])
        row, item, often = row[free], item[free], often[free]
        # Items that never followed count only if the target never followed either.
        above_here, tied_here = _compare(popularity[item], own, row)
        above = np.where(count == 0, above - above_here, 0)
        tied = np.where(count == 0, tied - tied_here, 0)
        above_here, tied_here = _compare(often, count, row)
        if by_popularity:
            even = often == count[row]
            higher, tied_here = _compare(popularity[item[even]], own, row[even])
            above_here += higher
        above += above_here
        tied += tied_here
        rank[rows] = above + tie_weight * tied
        if repeat_targets == "miss":
            rank[rows][repeated] = width
    return Ranks(cases.user, rank)


def _in_training(split: Split) -> np.ndarray:
    """(events,) bool: the event is in the training part of its user."""
    offsets = split.sequences.offsets
    edges = np.zeros(split.sequences.events + 1, np.int8)
    users = np.flatnonzero(split.train_end > offsets[:-1])
    edges[offsets[users]] += 1
    edges[split.train_end[users]] -= 1
    return np.cumsum(edges[:-1], dtype=np.int8).astype(bool)


def _blocks(sizes: np.ndarray) -> Iterator[slice]:
    """Slices of rows whose sizes add up to about `_BLOCK`, at least one row each."""
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        before = ends[begin - 1] if begin else 0
        end = int(np.searchsorted(ends, before + _BLOCK, "right"))
        end = max(end, begin + 1)
        yield slice(begin, end)
        begin = end


def _spread(begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and positions of all half-open ranges, one after the other."""
    lengths = ends - begins
    row = np.repeat(np.arange(len(begins)), lengths)
    shift = np.repeat(begins - np.cumsum(lengths) + lengths, lengths)
    return row, np.arange(len(row)) + shift


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct keys, rising; several times faster here than np.unique's hashing."""
    keys = np.sort(keys)
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys


def _compare(values, own, row):
    """How many of a row's values are above and equal to the row's own, each (n,)."""
    n = len(own)
    above = np.bincount(row[values > own[row]], minlength=n)
    return above, np.bincount(row[values == own[row]], minlength=n)


def _member(keys: np.ndarray, rising: np.ndarray) -> np.ndarray:
    """(len(keys),) bool: the key is in the sorted array."""
    if not len(rising):
        return np.zeros(len(keys), bool)
    place = np.minimum(np.searchsorted(rising, keys), len(rising) - 1)
    return rising[place] == keys
