"""Full ranking on the device: where every target stands among all items.

The rank of a target is the number of candidates with a better score, 0 for the best.
Candidates are the items 1..N except the ones to be masked; id 0 never is one. Choices:

  ties            A candidate with the score of the target counts 0 ("optimistic":
                  strictly greater only, as the released code of LRURec), 1
                  ("pessimistic") or 1/2 ("expected": the mean rank over the orders of
                  the tied items).
  repeat_targets  A target that is among the masked items stays a candidate ("keep"), or
                  cannot be found and gets rank N + 1 ("miss": the released code of
                  LRURec masks the history, target or not). They differ only for data in
                  which users return to items.
  mask            "window": the items that the model saw are no candidates (LRURec, Yue
                  et al., WSDM 2024); "all": the whole history, also beyond the window;
                  "none": every item is one (released code of fMRLRec).

A score that is not a number counts as better than any other, so a model that diverged
is at the end and not at the top. The score of the target is read from the same product
as the scores of the others, never computed apart: rounding cannot put an item above
itself, and equal items are equal.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxrec.core.row_blocks import blocks_for, map_blocks
from jaxrec.data.splits import Cases, Split
from jaxrec.eval.batching import CaseBatch, case_batches
from jaxrec.eval.metrics import Ranks
from jaxrec.eval.protocol import REPEATS, TIES, check_choice, mask_window, part_of

Head = tuple[jax.Array, jax.Array]


def score_ranks(
    scores: jax.Array,
    targets: jax.Array,
    history: jax.Array,
    *,
    items: int | None = None,
    ties: str = "optimistic",
    repeat_targets: str = "keep",
) -> jax.Array:
    """Ranks of targets from scores of all items.

    The masked columns go into a (b, v) boolean by one scatter. Measured on CPU against
    a scatter of -inf into the scores and against subtracting the sorted history's
    share: as fast for short histories and 1.6 to 5 times faster for 2,048 ids a row. A
    scatter is parallel on a GPU, ids that occur twice need no care, and scores of -inf
    keep their meaning.

    Args:
        scores: (b, v) float; column 0 is padding.
        targets: (b,) int32 in 1..v - 1.
        history: (b, h) int32 ids that are no candidates; 0 for nothing, any order,
            repeats allowed.
        items: Catalogue size N, at most v - 1; columns behind it (rows that only pad a
            sharded table) are no candidates. Default v - 1.
        ties: "optimistic", "expected" or "pessimistic".
        repeat_targets: "keep" or "miss".

    Returns:
        (b,) float32 0-based ranks, exact for up to 8 million items.

    Raises:
        ValueError: `ties`, `repeat_targets` or `items` is none of the accepted values.
    """
    b, v = scores.shape
    items = v - 1 if items is None else items
    check_choice("ties", ties, TIES)
    check_choice("repeat_targets", repeat_targets, REPEATS)
    if not 1 <= items < v:
        raise ValueError(f"items must be in 1..{v - 1} for {v} columns, got {items}")
    # Without the barrier XLA may make the scores once for `own` and once for the count.
    scores = jax.lax.optimization_barrier(scores)
    own = jnp.take_along_axis(scores, targets[:, None], 1)
    row = jnp.arange(b)[:, None]
    closed = jnp.zeros((b, v), bool).at[row, history].set(True)
    closed = closed.at[row, targets[:, None]].set(True)
    column = jnp.arange(v)
    closed |= (column == 0) | (column > items)
    # Twice the rank, in integers. Comparisons with NaN are false: such a score is
    # above.
    tie = {"optimistic": 0, "expected": 1, "pessimistic": 2}[ties]
    twice = jnp.where(scores < own, 0, jnp.where(scores == own, tie, 2))
    rank = jnp.where(closed, 0, twice).sum(1, dtype=jnp.int32) / 2
    if repeat_targets == "miss":
        repeated = (history == targets[:, None]).any(1)
        rank = jnp.where(repeated, items + 1, rank)
    return rank.astype(jnp.float32)


def target_ranks(
    hidden: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    targets: jax.Array,
    history: jax.Array,
    *,
    items: int | None = None,
    ties: str = "optimistic",
    repeat_targets: str = "keep",
    max_scores: int | None = None,
) -> jax.Array:
    """Ranks of targets under the scores hidden @ table.T + bias.

    Rows are taken in blocks so small that a block's scores of the whole catalogue fit
    `max_scores`; the product runs once, in float32 at the highest precision (no TF32).
    Blocking the catalogue instead would need every product twice: the score of the
    target must come from the same product and is known only after the last block.

    Args:
        hidden: (b, d) outputs of the model.
        table: (v, d) item embeddings, row 0 padding.
        bias: (v,), or several (c, v), for which the product is made once.
        targets: (b,) int32, as for `score_ranks`.
        history: (b, h) int32, as for `score_ranks`.
        items: As for `score_ranks`.
        ties: As for `score_ranks`.
        repeat_targets: As for `score_ranks`.
        max_scores: Most scores held at once, though never less than one row of v, and
            for each of several biases as many again. By default 2**21 on CPU, where a
            block should stay in the cache (57,000 items: half the time of 2**24), else
            2**27.

    Returns:
        (b,) float32 0-based ranks, or (b, c) with several biases.

    Raises:
        ValueError: As `score_ranks`.
    """
    if max_scores is None:
        max_scores = 2**21 if jax.default_backend() == "cpu" else 2**27
    b, v = hidden.shape[0], table.shape[0]

    def block_ranks(block_hidden, block_targets, block_history):
        scores = jnp.einsum(
            "bd,vd->bv",
            block_hidden,
            table,
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.float32,
        )
        ranks = [
            score_ranks(
                scores + one,
                block_targets,
                block_history,
                items=items,
                ties=ties,
                repeat_targets=repeat_targets,
            )
            for one in jnp.atleast_2d(bias)
        ]
        return ranks[0] if bias.ndim == 1 else jnp.stack(ranks, 1)

    blocks = blocks_for(b, v, max_scores)
    return map_blocks(block_ranks, blocks, hidden, targets, history)


def rank_cases(
    params: Any,
    split: Split,
    part: str,
    hidden_fn: Callable[..., jax.Array],
    table_fn: Callable[[Any], Head] | None = None,
    *,
    score_fn: Callable[[Any, jax.Array], jax.Array] | None = None,
    window: int,
    users: np.ndarray | None = None,
    times: bool = False,
    batch: int = 256,
    mask: str = "window",
    ties: str = "optimistic",
    repeat_targets: str = "keep",
    bucket: bool = True,
    max_scores: int | None = None,
    sharding: NamedSharding | None = None,
) -> Ranks | list[Ranks]:
    """Ranks the targets of a part of a split; only the ranks leave the device.

    Pass the same function objects at every call: `hidden_fn` and `score_fn` are called
    as they are and must be jitted (and keep what they have compiled); `bucket` makes
    one shape per power of two up to the window.

    Args:
        params: Parameters, handed to the functions.
        split: Data.
        part: "test" or "valid".
        hidden_fn: (params, ids (b, t) int32 left padded) -> (b, d), the output behind
            the last item. With `bucket`, t varies and must not matter to it, as is so
            where padding leaves no trace or positions count from the end.
        table_fn: params -> (table (v, d), bias (v,)), v > items. Called once. Under
            several biases (c, v) targets are ranked at the price of little more than
            one.
        score_fn: (params, hidden (b, d)) -> (b, v), for models whose scores are not one
            product, in place of `table_fn`.
        window: Most items the model sees.
        users: (users of the data,) int32, of which `hidden_fn` is given those of the
            cases (b,) as its third argument; None gives it two.
        times: Whether `hidden_fn` is given, as its last argument, when the events of
            the items were, (b, t) int32, see `jaxrec.data.times`.
        batch: Rows per call.
        mask: "window", "all" or "none", see the module.
        ties: "optimistic", "expected" or "pessimistic", see the module.
        repeat_targets: "keep" or "miss", see the module.
        bucket: Short histories in short batches; else all have length `window`.
        max_scores: See `target_ranks`; not used with `score_fn`.
        sharding: Where the rows of a batch go, such as NamedSharding(mesh, P("data")).
            Works across processes; each must make the same call.

    Returns:
        Ranks in the order of the cases; a list of them with several biases.

    Raises:
        ValueError: An argument is none of the accepted values, the part has no cases,
        or
            not exactly one of `table_fn` and `score_fn` is given.
    """
    if (table_fn is None) == (score_fn is None):
        raise ValueError("give exactly one of table_fn and score_fn")
    cases = part_of(split, part)
    masked = mask_window(mask, window)
    head = table_fn(params) if table_fn is not None else None
    options = dict(
        items=split.sequences.items,
        ties=ties,
        repeat_targets=repeat_targets,
        gathered=gathered(sharding),
    )
    numbers, ranks = [], []
    for some in case_batches(
        split.sequences,
        cases,
        window=window,
        masked=masked,
        batch=batch,
        bucket=bucket,
        times=times,
    ):
        ids, targets = place(some.ids, sharding), place(some.targets, sharding)
        history = ids if some.history is some.ids else place(some.history, sharding)
        others = whose_and_when(users, cases, some, sharding)
        hidden = hidden_fn(params, ids, *others)
        if head is None:
            rank = _score_ranks(score_fn(params, hidden), targets, history, **options)
        else:
            rank = _target_ranks(
                hidden, *head, targets, history, max_scores=max_scores, **options
            )
        numbers.append(some.cases)
        ranks.append(rank)
    found = in_case_order(numbers, ranks)
    if found.ndim == 1:
        return Ranks(cases.user, found)
    return [Ranks(cases.user, rank) for rank in found.T]


def whose_and_when(
    users: np.ndarray | None,
    cases: Cases,
    some: CaseBatch,
    sharding: NamedSharding | None,
) -> tuple[jax.Array, ...]:
    """The `users` (b,) of a batch of cases, if not None, and its times, if it has."""
    whose = () if users is None else (users[cases.user[some.number]],)
    when = () if some.times is None else (some.times,)
    return tuple(place(array, sharding) for array in (*whose, *when))


def place(array: np.ndarray, sharding: NamedSharding | None) -> jax.Array:
    """An array that every process holds, put where `sharding` says."""
    if sharding is None or sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    return jax.make_array_from_callback(array.shape, sharding, lambda i: array[i])


def gathered(sharding: NamedSharding | None) -> NamedSharding | None:
    """The sharding under which every process can read a result."""
    return None if sharding is None else NamedSharding(sharding.mesh, PartitionSpec())


def in_case_order(numbers: list[np.ndarray], ranks: list[jax.Array]) -> np.ndarray:
    """(n,) or (n, c) float64 ranks by number of the case, without the batches' padding
    rows."""
    ranks = jax.device_get(ranks)
    result = np.zeros((sum(map(len, numbers)), *ranks[0].shape[1:]))
    for chosen, rank in zip(numbers, ranks, strict=True):
        result[chosen] = rank[: len(chosen)]
    return result


def constrained(rank: jax.Array, gathered: NamedSharding | None) -> jax.Array:
    """`rank`, under a sharding if there is one."""
    if gathered is None:
        return rank
    return jax.lax.with_sharding_constraint(rank, gathered)


@functools.partial(
    jax.jit, static_argnames=("items", "ties", "repeat_targets", "gathered")
)
def _score_ranks(scores, targets, history, *, gathered, **options):
    return constrained(score_ranks(scores, targets, history, **options), gathered)


@functools.partial(
    jax.jit,
    static_argnames=("items", "ties", "repeat_targets", "max_scores", "gathered"),
)
def _target_ranks(hidden, table, bias, targets, history, *, gathered, **options):
    rank = target_ranks(hidden, table, bias, targets, history, **options)
    return constrained(rank, gathered)
