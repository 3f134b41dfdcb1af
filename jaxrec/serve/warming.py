"""Compiling beforehand what requests to a Recommender will use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxrec.serve.engine import USERS

if TYPE_CHECKING:
    from jaxrec.serve.recommender import Recommender


def warm(
    rec: "Recommender",
    k: int | Sequence[int],
    users: Sequence[int],
    pools: Sequence[int],
    exclude_seen: bool,
    funnel: tuple[int, int] | None,
) -> int:
    """How many programs were compiled; arguments are those of `Recommender.warm`."""
    before = rec.compiled
    sizes = [k] if isinstance(k, int) else list(k)
    item = rec.ids.raw([1])[0]
    histories = [[item] * length for length in (*rec.lengths, rec.lengths[-1] + 1)]

    how = {"exclude_seen": exclude_seen, "funnel": funnel}

    def now(times):  # Any time will do.
        return {"times": times} if rec.times else {}

    if rec.room:
        rec.add_items([], [np.zeros((0, dim), np.float32) for dim in rec.feature_dims])
    for count in users:
        items, when = [item] * count, now([0] * count)
        state = rec.observe(rec.start(count), items, **when)
        for size in sizes:
            rec.observe_and_top(state, items, size, **how, **when)
            for history in [[], *histories]:
                when_whole = now([[0] * len(history)] * count)
                rec.recommend([history] * count, size, **how, **when_whole)
    for rows in pools:
        pool = rec.start(rows)
        for count in [count for count in (*USERS, rows) if count <= rows]:
            slots, items = range(count), [item] * count
            chosen = {"slots": slots, **now([0] * count)}
            pool = rec.observe(pool, items, **chosen)
            for size in sizes:
                rec.top(pool, size, **how, slots=slots)
                pool, _ = rec.observe_and_top(pool, items, size, **how, **chosen)
    return rec.compiled - before
