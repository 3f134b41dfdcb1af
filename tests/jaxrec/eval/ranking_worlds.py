"""Small data and plain references for the tests of the evaluation."""

import numpy as np

from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import leave_one_out


def split_of(lists, items=None):
    """A leave-one-out split of lists of item numbers."""
    items = max(map(max, lists)) if items is None else items
    return leave_one_out(
        Sequences(
            values=np.concatenate(lists).astype(np.int32),
            offsets=np.cumsum([0, *map(len, lists)]).astype(np.int64),
            user_ids=np.array([f"u{n}" for n in range(len(lists))]),
            item_ids=np.array(["", *(f"i{n}" for n in range(1, items + 1))]),
        )
    )


def random_lists(users, items, longest, seed=0):
    """Lists of 1..longest items, in which items come back."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, users)
    return [rng.integers(1, items + 1, length) for length in lengths]


def plain_rank(scores, target, masked, ties, repeat_targets="keep", items=None):
    """The rank by sorting the candidates in Python.

    Args:
        scores: (v,) numbers.
        target: Item.
        masked: Items that are no candidates.
        ties: Where the target stands among its equals.
    """
    items = len(scores) - 1 if items is None else items
    if repeat_targets == "miss" and target in masked:
        return items + 1
    candidates = [x for x in range(1, items + 1) if x == target or x not in set(masked)]
    best_first = sorted((scores[x] for x in candidates), reverse=True)
    first = best_first.index(scores[target])
    last = len(best_first) - 1 - best_first[::-1].index(scores[target])
    return {
        "optimistic": first,
        "pessimistic": last,
        "expected": (first + last) / 2,
    }[ties]
