"""Ranking against sampled negatives. Not comparable with full ranking.

Figures under sampled negatives can order models differently from full ranking (Krichene
and Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020). They are here for
catalogues whose published figures were made so, and carry "sampled<n>/" in their names.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from jaxrec.data.splits import Split
from jaxrec.eval.batching import case_batches
from jaxrec.eval.metrics import Ranks
from jaxrec.eval.protocol import TIES, check_choice, mask_window, part_of
from jaxrec.eval.ranking import (
    Head,
    constrained,
    gathered,
    in_case_order,
    place,
    whose_and_when,
)

_BLOCK = 128  # Negatives whose embeddings are gathered at once, per row.


def draw_negatives(
    keys: jax.Array, excluded: jax.Array, *, items: int, negatives: int
) -> jax.Array:
    """Uniform draws, with replacement, from the items that are not excluded.

    A number below the count of allowed items is drawn and turned into the allowed item
    of that rank; nothing is rejected, so the draws of a row depend on its key and on
    the set of its excluded items only.

    Args:
        keys: (b,) typed keys.
        excluded: (b, h) int32 ids, 0 for nothing, any order, repeats allowed; must
            leave
            an item over.
        items: Catalogue size.
        negatives: Draws per row.

    Returns:
        (b, negatives) int32 ids in 1..items.
    """

    def row(key, ids):
        ids = jnp.sort(jnp.concatenate([jnp.zeros(1, ids.dtype), ids]))
        new = jnp.concatenate([jnp.ones(1, bool), ids[1:] != ids[:-1]])
        # With the distinct excluded ids e_0 < e_1 < ..., e_j - j allowed ids lie below
        # e_j; so the allowed id of rank r is r plus the number of j with e_j - j <= r.
        distinct = jnp.cumsum(new)
        rank = jax.random.randint(key, (negatives,), 0, items + 1 - distinct[-1])
        place = jnp.searchsorted(ids - (distinct - 1), rank, side="right")
        return rank + distinct[place - 1]  # The first entry is id 0: place is never 0.

    return jax.vmap(row)(keys, excluded).astype(jnp.int32)


def sampled_ranks(
    params: Any,
    split: Split,
    part: str,
    hidden_fn: Callable[..., jax.Array],
    table_fn: Callable[[Any], Head],
    *,
    window: int,
    users: np.ndarray | None = None,
    times: bool = False,
    negatives: int = 100,
    seed: int = 0,
    batch: int = 256,
    mask: str = "all",
    ties: str = "optimistic",
    bucket: bool = True,
    sharding: NamedSharding | None = None,
) -> Ranks:
    """Ranks every target among `negatives` sampled items.

    The negatives of a case are uniform, with replacement, over the items that are
    neither its target nor masked. They depend on the seed and on the number of the
    case: not on the model, the batch size or the buckets.

    Args:
        params: See `jaxrec.eval.ranking.rank_cases`, as for all that is not here.
        split: Data.
        part: "test" or "valid".
        hidden_fn: (params, ids (b, t)) -> (b, d).
        table_fn: params -> (table (v, d), bias (v,)).
        window: Most items the model sees.
        users: As for `rank_cases`.
        times: As for `rank_cases`.
        negatives: Items against which a target is ranked.
        seed: Seed of the negatives.
        batch: Rows per call.
        mask: Which items of the history cannot be negatives.
        ties: "optimistic", "expected" or "pessimistic".
        bucket: Short histories in short batches.
        sharding: Where the rows of a batch go.

    Returns:
        Ranks with the prefix "sampled<negatives>/" for every metric.

    Raises:
        ValueError: An argument is none of the accepted values, the part has no cases,
        or
            a case leaves no item to draw.
    """
    if negatives < 1:
        raise ValueError(f"negatives must be 1 or more, got {negatives}")
    check_choice("ties", ties, TIES)
    cases = part_of(split, part)
    masked = mask_window(mask, window)
    sequences = split.sequences
    numbers, ranks = [], []
    head = table_fn(params)
    seed = jax.device_put(np.uint32(seed))
    for some in case_batches(
        sequences,
        cases,
        window=window,
        masked=masked,
        batch=batch,
        bucket=bucket,
        times=times,
    ):
        _check_leaves_an_item(some, sequences.items)
        ids = place(some.ids, sharding)
        history = ids if some.history is some.ids else place(some.history, sharding)
        rank = _sampled_ranks(
            hidden_fn(params, ids, *whose_and_when(users, cases, some, sharding)),
            *head,
            place(some.targets, sharding),
            history,
            place(some.number, sharding),
            seed,
            items=sequences.items,
            negatives=negatives,
            ties=ties,
            gathered=gathered(sharding),
        )
        numbers.append(some.cases)
        ranks.append(rank)
    prefix = f"sampled{negatives}/"
    return Ranks(cases.user, in_case_order(numbers, ranks), prefix)


def _check_leaves_an_item(some, items):
    if some.history.shape[1] + 1 < items:
        return
    for row, case in enumerate(some.cases):
        taken = np.union1d(some.history[row], some.targets[row])
        if (taken > 0).sum() >= items:
            raise ValueError(
                f"case {case} excludes all {items} items, so no negative can be drawn"
            )


@functools.partial(jax.jit, static_argnames=("items", "negatives", "ties", "gathered"))
def _sampled_ranks(
    hidden,
    table,
    bias,
    targets,
    history,
    number,
    seed,
    *,
    items,
    negatives,
    ties,
    gathered,
):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), number)
    excluded = jnp.concatenate([history, targets[:, None]], 1)
    drawn = draw_negatives(keys, excluded, items=items, negatives=negatives)
    blocks = -(-negatives // _BLOCK)
    size = -(-negatives // blocks)
    # Filled up with id 0, which is then not counted.
    drawn = jnp.pad(drawn, ((0, 0), (0, blocks * size - negatives)))
    drawn = drawn.reshape(-1, blocks, size).swapaxes(0, 1)
    tie = {"optimistic": 0, "expected": 1, "pessimistic": 2}[ties]

    def twice(block):
        ids = jnp.concatenate([targets[:, None], block], 1)
        scores = jnp.einsum(
            "bd,bnd->bn",
            hidden,
            table[ids],
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.float32,
        )
        scores = jax.lax.optimization_barrier(scores + bias[ids])
        own, scores = scores[:, :1], scores[:, 1:]
        points = jnp.where(scores < own, 0, jnp.where(scores == own, tie, 2))
        return jnp.where(block == 0, 0, points).sum(1, dtype=jnp.int32)

    rank = jax.lax.map(twice, drawn).sum(0) / 2
    return constrained(rank.astype(jnp.float32), gathered)
