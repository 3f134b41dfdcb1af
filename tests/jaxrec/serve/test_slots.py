"""A pool of states, of which each call updates and answers some rows."""

import jax
import numpy as np
import pytest

from jaxrec.serve.asked import Asked


def raw(numbers):
    return [f"i{n}" for n in numbers]


def answers_equal(some, others):
    for one, other in zip(some, others, strict=True):
        assert one.ids == other.ids
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-4)


@pytest.fixture
def pool(rec):
    """Five users with histories of 0 to 4 events."""
    return rec.prefill([raw(range(1, n + 1)) for n in range(5)])


def test_observe_changes_only_the_slots(rec, pool):
    before = rec.top(pool, k=5)
    after = rec.observe(pool, ["i9", "i8"], slots=[3, 0])
    found = rec.top(after, k=5)
    expected = list(before)
    expected[3] = rec.recommend([raw([1, 2, 3, 9])], k=5)[0]
    expected[0] = rec.recommend([raw([8])], k=5)[0]
    answers_equal(found, expected)


def test_top_of_slots(rec, pool):
    everybody = rec.top(pool, k=5)
    answers_equal(rec.top(pool, k=5, slots=[4, 2]), [everybody[4], everybody[2]])
    assert rec.top(pool, k=5, slots=[]) == []


def test_both_in_one_call(rec, pool):
    new, answers = rec.observe_and_top(pool, ["i9", "x", "i8"], k=5, slots=[3, 4, 0])
    histories = [[1, 2, 3, 9], [1, 2, 3, 4], [8]]
    answers_equal(answers, rec.recommend([raw(h) for h in histories], k=5))
    assert [a.unknown for a in answers] == [(), ("x",), ()]
    answers_equal(rec.top(new, k=5, slots=[3, 4, 0]), answers)
    new, again = rec.observe_and_top(new, ["i7"], k=5, slots=[1])
    answers_equal(again, rec.recommend([raw([1, 7])], k=5))


def test_one_slot(rec, pool):
    new = rec.observe(pool, "i9", slots=[2])
    answers_equal(rec.top(new, k=5, slots=[2]), rec.recommend([raw([1, 2, 9])], k=5))


def test_only_unknown_items_leave_the_pool(rec, pool):
    assert rec.observe(pool, ["x"], slots=[2]) is pool


def test_the_pool_is_written_into_and_not_copied(rec):
    pool = rec.observe(rec.start(2000), "i9", slots=[2])  # now arrays of JAX
    used = jax.tree.leaves(pool)
    pool = rec.observe(pool, "i9", slots=[1])
    assert all(leaf.is_deleted() for leaf in used)
    rec.observe_and_top(pool, "i1", slots=[0])
    bytes_of_state = sum(leaf.nbytes for leaf in used)
    for key in (("observe", 8, 2000), ("both", 8, 2000, Asked(10, True))):
        memory = rec._engine.programs._programs[key].memory_analysis()
        assert memory.alias_size_in_bytes == bytes_of_state
        assert memory.temp_size_in_bytes < bytes_of_state / 2


def test_a_consumed_pool_says_so(rec, pool):
    pool = rec.observe(pool, "i9", slots=[2])
    rec.observe(pool, "i9", slots=[1])
    for call in (
        lambda: rec.observe(pool, "i9", slots=[1]),
        lambda: rec.top(pool, k=5, slots=[1]),
        lambda: rec.top(pool, k=5),
    ):
        with pytest.raises(ValueError, match="this state was consumed"):
            call()


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ([5], r"slots: want 0\.\.4 \(users of the state\), got 5"),
        ([-1], r"slots: want 0\.\.4 \(users of the state\), got -1"),
        ([1, 3, 1], "slots: 1 is given twice in one call"),
        ([1.0], r"slots: want a list of integers, got \[1\.0\]"),
        ([[1]], "slots: want a list of integers"),
        ([True], "slots: want a list of integers"),
    ],
)
def test_impossible_slots(rec, pool, slots, message):
    items = ["i1"] * len(slots)
    for call in (
        lambda: rec.observe(pool, items, slots=slots),
        lambda: rec.top(pool, slots=slots),
        lambda: rec.take(pool, slots),
        lambda: rec.put(pool, slots, rec.start(len(slots))),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_slots_and_items_that_do_not_fit(rec, pool):
    with pytest.raises(ValueError, match="items: want one per user, got 1 for 2 users"):
        rec.observe(pool, ["i1"], slots=[0, 1])
    with pytest.raises(ValueError, match="new has 1 users, but there are 2 indices"):
        rec.put(pool, [0, 1], rec.start(1))
