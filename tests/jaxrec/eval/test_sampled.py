import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ranking_worlds import random_lists, split_of

from jaxrec.eval.sampled import draw_negatives, sampled_ranks

ITEMS = 60
LISTS = random_lists(users=40, items=ITEMS, longest=9, seed=1)
SPLIT = split_of(LISTS, ITEMS)


def parameters():
    rng = np.random.default_rng(2)
    return {
        "table": rng.integers(-2, 3, (ITEMS + 1, 4)).astype(np.float32),
        "bias": rng.integers(-1, 2, ITEMS + 1).astype(np.float32),
    }


@jax.jit
def hidden_fn(params, ids):
    return params["table"][ids[:, -1]]


def table_fn(params):
    return params["table"], params["bias"]


def ranks(**options):
    options = {"window": 10, "batch": 16} | options
    return sampled_ranks(parameters(), SPLIT, "test", hidden_fn, table_fn, **options)


def test_draws_are_uniform_over_the_items_left():
    excluded = jnp.array([[3, 0, 7, 3, 1], [0, 0, 0, 0, 0], [8, 7, 6, 5, 4]])
    keys = jax.random.split(jax.random.key(0), 3)
    drawn = np.array(draw_negatives(keys, excluded, items=8, negatives=6000))
    for row, allowed in zip(
        drawn, ([2, 4, 5, 6, 8], range(1, 9), [1, 2, 3]), strict=True
    ):
        counts = np.bincount(row, minlength=9)
        assert set(np.flatnonzero(counts)) == set(allowed)
        p = 1 / len(allowed)
        # Five standard deviations of a binomial count.
        spread = 5 * np.sqrt(6000 * p * (1 - p))
        assert np.abs(counts[list(allowed)] - 6000 * p).max() < spread


@pytest.mark.parametrize(
    ("ties", "negatives"), [("optimistic", 5), ("expected", 300), ("pessimistic", 300)]
)
def test_ranks_count_the_drawn_negatives_that_score_above(ties, negatives):
    params = parameters()
    got = ranks(ties=ties, negatives=negatives, seed=7)
    excluded = np.zeros((len(SPLIT.test), 9), np.int32)
    cases = [items for items in LISTS if len(items) >= 3]
    for row, items in zip(excluded, cases, strict=True):
        row[: len(items)] = items
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.key(np.uint32(7)), jnp.arange(len(cases))
    )
    drawn = np.array(draw_negatives(keys, excluded, items=ITEMS, negatives=negatives))
    for case, items in enumerate(cases):
        scores = params["table"] @ params["table"][items[-2]] + params["bias"]
        above = (scores[drawn[case]] > scores[items[-1]]).sum()
        equal = (scores[drawn[case]] == scores[items[-1]]).sum()
        weight = {"optimistic": 0, "expected": 0.5, "pessimistic": 1}[ties]
        assert got.rank[case] == above + weight * equal
        assert not set(drawn[case]) & {0, *items.tolist()}


def test_users_of_the_cases_go_to_the_model():
    """Each user is told by a number: that of the item before the target."""
    before = np.array([items[max(len(items) - 2, 0)] for items in LISTS], np.int32)

    @jax.jit
    def by_user(params, ids, users):
        return params["table"][users]

    got = sampled_ranks(
        parameters(),
        SPLIT,
        "test",
        by_user,
        table_fn,
        window=10,
        batch=16,
        users=before,
    )
    np.testing.assert_array_equal(got.rank, ranks().rank)


def test_the_seed_decides_and_batch_and_buckets_do_not():
    first = ranks(negatives=50)
    for same in (ranks(negatives=50, batch=7), ranks(negatives=50, bucket=False)):
        np.testing.assert_array_equal(first.rank, same.rank)
    assert (first.rank != ranks(negatives=50, seed=1).rank).any()


def test_every_metric_says_that_it_is_sampled():
    result = ranks(negatives=50)
    assert result.rank.max() <= 50
    result = result.summary((10,))
    assert "sampled50/recall@10" in result
    assert all(key.startswith("sampled50/") for key in result)


def test_only_explicit_transfers_are_made():
    params = jax.device_put(parameters())
    with jax.transfer_guard("disallow"):
        sampled_ranks(params, SPLIT, "test", hidden_fn, table_fn, window=10)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="negatives must be 1 or more, got 0"):
        ranks(negatives=0)
    split = split_of([np.array([1, 2, 3, 2, 1, 3])])
    with pytest.raises(ValueError, match="case 0 excludes all 3 items"):
        sampled_ranks(parameters(), split, "test", hidden_fn, table_fn, window=10)
