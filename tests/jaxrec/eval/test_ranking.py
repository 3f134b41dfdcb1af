import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ranking_worlds import plain_rank, random_lists, split_of

from jaxrec.eval.ranking import rank_cases, score_ranks, target_ranks
from jaxrec.eval.sampled import sampled_ranks

TIES = ("optimistic", "expected", "pessimistic")


def problem(b=23, v=41, d=3, h=9, seed=0):
    """Small integers: products are exact and most scores occur several times."""
    rng = np.random.default_rng(seed)
    hidden = rng.integers(-2, 3, (b, d)).astype(np.float32)
    table = rng.integers(-1, 2, (v, d)).astype(np.float32)
    bias = rng.integers(-1, 2, v).astype(np.float32)
    targets = rng.integers(1, v, b).astype(np.int32)
    history = rng.integers(0, v, (b, h)).astype(np.int32)
    history[::3, 2:4] = targets[::3, None]  # Twice in its own history.
    history[1::3, -1] = history[1::3, 0]
    return hidden, table, bias, targets, history


def reference(hidden, table, bias, targets, history, **options):
    scores = hidden @ table.T + bias
    rows = zip(scores, targets, history.tolist(), strict=True)
    return [plain_rank(*row, **options) for row in rows]


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("repeat_targets", ["keep", "miss"])
def test_ranks_are_those_of_a_sort(ties, repeat_targets):
    arrays = problem()
    options = dict(ties=ties, repeat_targets=repeat_targets)
    expected = reference(*arrays, **options)
    got = target_ranks(*arrays, **options)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, expected)
    hidden, table, bias, targets, history = arrays
    scores = hidden @ table.T + bias
    np.testing.assert_array_equal(
        score_ranks(scores, targets, history, **options), expected
    )


def test_several_biases_rank_as_one_by_one():
    hidden, table, bias, targets, history = problem()
    several = np.stack([bias, -bias, bias[::-1]])
    options = dict(ties="expected", max_scores=41 * 5)
    got = target_ranks(hidden, table, several, targets, history, **options)
    assert got.shape == (23, 3)
    for column, one in zip(got.T, several, strict=True):
        expected = target_ranks(hidden, table, one, targets, history, **options)
        np.testing.assert_array_equal(column, expected)


@pytest.mark.parametrize("rows", [0, 1, 5, 12, 22])
def test_blocks_of_rows_change_nothing(rows):
    arrays = problem()
    expected = reference(*arrays, ties="expected")
    got = target_ranks(*arrays, ties="expected", max_scores=41 * rows + 1)
    np.testing.assert_array_equal(got, expected)


def test_no_more_scores_are_held_than_asked_for():
    shapes = jax.eval_shape(lambda: tuple(map(jnp.asarray, problem(b=64, v=10_000))))

    def scratch(max_scores):
        fn = jax.jit(target_ranks, static_argnames="max_scores")
        compiled = fn.lower(*shapes, max_scores=max_scores).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert scratch(64 * 10_000) > 64 * 10_000 * 4
    # The product, its sum with the bias, and the mask of a block.
    assert scratch(8 * 10_000) < 3 * (8 * 10_000 * 4)


def test_the_rules_for_ties_and_repeats_make_a_difference_here():
    arrays = problem()
    first, middle, last = (np.array(reference(*arrays, ties=ties)) for ties in TIES)
    assert (last - first).max() > 10
    np.testing.assert_array_equal(middle, (first + last) / 2)
    missed = np.array(reference(*arrays, ties="optimistic", repeat_targets="miss"))
    assert (missed[::3] == 41).all() and (first[::3] < 41).all()


def test_rank_by_hand():
    #                  pad   1    2    3    4    5    6
    scores = np.array([[9.0, 5.0, 3.0, 4.0, 3.0, 3.0, 1.0]])
    target = np.array([4])
    none = np.zeros((1, 0), np.int32)
    for ties, rank in zip(TIES, (2, 2 + 2 / 2, 2 + 2), strict=True):
        assert score_ranks(scores, target, none, ties=ties)[0] == rank
    # Without item 1, named twice, and without item 5, an equal of the target.
    history = np.array([[0, 1, 5, 1]])
    for ties, rank in zip(TIES, (1, 1 + 1 / 2, 1 + 1), strict=True):
        assert score_ranks(scores, target, history, ties=ties)[0] == rank


def test_columns_behind_the_catalogue_are_no_candidates():
    hidden, table, bias, targets, history = problem()
    more = np.concatenate([table, np.full((7, 3), 0, np.float32)])
    more_bias = np.concatenate([bias, np.full(7, 100, np.float32)])
    got = target_ranks(hidden, more, more_bias, targets, history, items=40)
    expected = target_ranks(hidden, table, bias, targets, history)
    np.testing.assert_array_equal(got, expected)
    spoiled = target_ranks(hidden, more, more_bias, targets, history)
    np.testing.assert_array_equal(spoiled, np.array(expected) + 7)


def test_rounding_never_puts_a_candidate_above_itself():
    # Only the target is a candidate: nothing may be above it or equal to it.
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(64, 50)).astype(np.float32)
    table = rng.normal(size=(300, 50)).astype(np.float32)
    bias = rng.normal(size=300).astype(np.float32)
    targets = rng.integers(1, 300, 64).astype(np.int32)
    history = np.tile(np.arange(1, 300, dtype=np.int32), (64, 1))
    for max_scores in (1, 300 * 8, None):
        ranks = jax.jit(target_ranks, static_argnames=("ties", "max_scores"))(
            hidden, table, bias, targets, history,
            ties="pessimistic", max_scores=max_scores,
        )  # fmt: skip
        np.testing.assert_array_equal(ranks, np.zeros(64))


def test_real_scores_rank_as_numpy_ranks_the_same_scores():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(50, 200)).astype(np.float32)
    targets = rng.integers(1, 200, 50)
    history = rng.integers(0, 200, (50, 20))
    expected = [
        plain_rank(row, target, seen, "optimistic")
        for row, target, seen in zip(scores, targets, history.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(score_ranks(scores, targets, history), expected)


@pytest.mark.parametrize("ties", TIES)
def test_scores_that_are_no_numbers_rank_the_target_last(ties):
    scores = np.array([[0, np.nan, np.nan, np.nan], [0, 1, np.nan, 3]], np.float32)
    targets, history = np.array([2, 3]), np.zeros((2, 1), np.int32)
    ranks = score_ranks(scores, targets, history, ties=ties)
    # All three are NaN: the two others are above. Item 2 alone is: it is above item 3.
    np.testing.assert_array_equal(ranks, [2, 1])


def test_scores_of_minus_infinity_are_scores():
    scores = np.array([[0, -np.inf, -np.inf, -np.inf, 1]], np.float32)
    ranks = score_ranks(scores, np.array([1]), np.array([[3]]), ties="pessimistic")
    assert ranks[0] == 1 + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ties": "random"}, "ties must be one of .*'optimistic'.* got 'random'"),
        ({"repeat_targets": "no"}, "repeat_targets must be one of"),
        ({"items": 41}, r"items must be in 1\.\.40 for 41 columns, got 41"),
    ],
)
def test_unknown_choices_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        target_ranks(*problem(), **options)


# The driver, over a model whose output is a recency-weighted sum of embeddings.

ITEMS = 31
WINDOW = 12
LISTS = random_lists(users=70, items=ITEMS, longest=40)
SPLIT = split_of(LISTS, ITEMS)


def parameters():
    rng = np.random.default_rng(5)
    return {
        "table": rng.integers(-2, 3, (ITEMS + 1, 4)).astype(np.float32),
        "bias": rng.integers(-1, 2, ITEMS + 1).astype(np.float32),
    }


@jax.jit
def hidden_fn(params, ids):
    # Weights from the end and id 0 without effect: left padding leaves no trace.
    weight = jnp.arange(ids.shape[1], 0, -1) <= 3
    return (params["table"][ids] * ((ids > 0) & weight)[..., None]).sum(1)


def table_fn(params):
    return params["table"], params["bias"]


@jax.jit
def score_fn(params, hidden):
    return hidden @ params["table"].T + params["bias"]


def expected_ranks(part, mask, **options):
    params = parameters()
    ranks = []
    for items in LISTS:
        if len(items) < 3:
            continue
        place = len(items) - (1 if part == "test" else 2)
        history, target = items[:place], items[place]
        hidden = params["table"][history[-WINDOW:][-3:]].sum(0)
        scores = params["table"] @ hidden + params["bias"]
        masked = {"all": history, "window": history[-WINDOW:], "none": history[:0]}
        ranks.append(plain_rank(scores, target, masked[mask].tolist(), **options))
    return ranks


@pytest.mark.parametrize(
    ("part", "mask", "repeat_targets", "bucket"),
    [
        ("test", "window", "keep", True),
        ("test", "window", "miss", True),
        ("test", "all", "keep", True),
        ("test", "all", "miss", True),
        ("test", "none", "keep", True),
        ("valid", "all", "keep", True),
        ("valid", "window", "miss", False),
        ("test", "all", "keep", False),
    ],
)
def test_cases_rank_as_one_by_one(part, mask, bucket, repeat_targets):
    result = rank_cases(
        parameters(),
        SPLIT,
        part,
        hidden_fn,
        table_fn,
        window=WINDOW,
        batch=16,
        mask=mask,
        ties="expected",
        repeat_targets=repeat_targets,
        bucket=bucket,
    )
    expected = expected_ranks(
        part, mask, ties="expected", repeat_targets=repeat_targets
    )
    np.testing.assert_array_equal(result.rank, expected)
    np.testing.assert_array_equal(result.user, getattr(SPLIT, part).user)


def test_cases_rank_under_several_biases_as_under_each():
    shifts = np.random.default_rng(0).integers(-3, 4, (3, len(parameters()["bias"])))
    options = dict(window=WINDOW, batch=16, ties="expected")

    def under(shift):
        def head(params):
            table, bias = table_fn(params)
            return table, bias + shift

        return rank_cases(parameters(), SPLIT, "test", hidden_fn, head, **options)

    several = under(shifts)
    assert len(several) == 3
    for result, shift in zip(several, shifts, strict=True):
        expected = under(shift)
        np.testing.assert_array_equal(result.rank, expected.rank)
        np.testing.assert_array_equal(result.user, expected.user)


def test_users_of_the_cases_go_to_the_model():
    """Each user is told by a number: that of the item before the target."""
    before = np.array([items[max(len(items) - 2, 0)] for items in LISTS], np.int32)

    def last_of(params, ids, users):
        assert users.shape == ids.shape[:1]
        np.testing.assert_array_equal(users, ids[:, -1])
        return hidden_fn(params, ids)

    options = dict(window=WINDOW, batch=16, ties="expected", users=before)
    result = rank_cases(parameters(), SPLIT, "test", last_of, table_fn, **options)
    expected = expected_ranks("test", "window", ties="expected")
    np.testing.assert_array_equal(result.rank, expected)


def test_times_of_the_items_go_to_the_model():
    """The time of an event tells its item."""
    sequences = dataclasses.replace(
        SPLIT.sequences, times=7 + np.int64(SPLIT.sequences.values) * (2**32 + 5)
    )
    split = dataclasses.replace(SPLIT, sequences=sequences)
    whose = np.arange(len(LISTS), dtype=np.int32)

    def times_of(params, ids, users, times):
        assert users.shape == ids.shape[:1] and times.dtype == np.int32
        np.testing.assert_array_equal(times, np.where(ids > 0, 7 + 5 * ids, 0))
        return hidden_fn(params, ids)

    options = dict(window=WINDOW, batch=16, ties="expected", users=whose, times=True)
    ranked = rank_cases(parameters(), split, "test", times_of, table_fn, **options)
    expected = expected_ranks("test", "window", ties="expected")
    np.testing.assert_array_equal(ranked.rank, expected)
    sampled_ranks(parameters(), split, "test", times_of, table_fn, **options)


def test_the_protocols_differ_on_these_cases():
    ranks = {
        (mask, repeats): np.mean(
            expected_ranks("test", mask, ties="expected", repeat_targets=repeats)
        )
        for mask, repeats in [
            ("window", "keep"),
            ("all", "keep"),
            ("none", "keep"),
            ("window", "miss"),
            ("all", "miss"),
        ]
    }
    assert len(set(ranks.values())) == 5


def test_a_score_function_takes_the_place_of_the_table():
    result = rank_cases(
        parameters(), SPLIT, "test", hidden_fn, score_fn=score_fn, window=WINDOW
    )
    np.testing.assert_array_equal(
        result.rank, expected_ranks("test", "window", ties="optimistic")
    )
    for both in ({}, {"table_fn": table_fn, "score_fn": score_fn}):
        with pytest.raises(ValueError, match="exactly one of table_fn and score_fn"):
            rank_cases(parameters(), SPLIT, "test", hidden_fn, window=WINDOW, **both)


def test_short_histories_get_short_batches_and_a_second_call_compiles_nothing():
    shapes = []

    @jax.jit
    def traced(params, ids):
        shapes.append(ids.shape)
        return hidden_fn(params, ids)

    split = split_of(random_lists(300, ITEMS, longest=60), ITEMS)
    for _ in range(2):
        rank_cases(
            parameters(), split, "test", traced, table_fn, window=50, batch=32,
            mask="all",
        )  # fmt: skip
    assert sorted(shapes) == [(32, 8), (32, 16), (32, 32), (32, 50)]


def test_only_explicit_transfers_are_made():
    params = jax.device_put(parameters())
    with jax.transfer_guard("disallow"):
        for mask in ("window", "all", "none"):
            rank_cases(
                params, SPLIT, "test", hidden_fn, table_fn, window=WINDOW, mask=mask
            )


def test_sharded_rows_and_a_sharded_padded_table_give_the_same_ranks():
    mesh = jax.make_mesh(
        (4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2
    )
    axes = jax.sharding.PartitionSpec
    rows = jax.sharding.NamedSharding(mesh, axes("data"))
    params = parameters()
    params["table"] = np.pad(params["table"], ((0, 4), (0, 0)), constant_values=9)
    params["bias"] = np.pad(params["bias"], (0, 4), constant_values=99)
    params = {
        "table": jax.device_put(
            params["table"], jax.sharding.NamedSharding(mesh, axes("model", None))
        ),
        "bias": jax.device_put(
            params["bias"], jax.sharding.NamedSharding(mesh, axes("model"))
        ),
    }

    def several(params):
        table, bias = table_fn(params)
        return table, bias + np.zeros((2, 1), np.float32)

    expected = expected_ranks("test", "all", ties="expected")
    for head, max_scores in itertools.product((table_fn, several), (None, 36 * 8)):
        result = rank_cases(
            params,
            SPLIT,
            "test",
            hidden_fn,
            head,
            window=WINDOW,
            batch=32,
            mask="all",
            ties="expected",
            max_scores=max_scores,
            sharding=rows,
        )
        for one in [result] if head is table_fn else result:
            np.testing.assert_array_equal(one.rank, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "train"}, r"part must be one of \['test', 'valid'\], got 'train'"),
        ({"mask": "seen"}, "mask must be one of .* got 'seen'"),
        ({"ties": "none"}, "ties must be one of"),
        ({"window": 0}, "window of 1 or more, got 0"),
        ({"batch": 0}, "batch must be 1 or more, got .* 0"),
    ],
)
def test_the_driver_refuses_unknown_choices(options, message):
    options = {"part": "test", "window": WINDOW} | options
    part = options.pop("part")
    with pytest.raises(ValueError, match=message):
        rank_cases(parameters(), SPLIT, part, hidden_fn, table_fn, **options)


def test_a_part_without_cases_is_refused():
    split = split_of([np.array([1, 2]), np.array([2, 3])])
    with pytest.raises(ValueError, match="test part .* has no cases"):
        rank_cases(parameters(), split, "test", hidden_fn, table_fn, window=5)
