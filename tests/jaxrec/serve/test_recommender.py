"""Whole histories: the answers of the model, in raw ids, for any length and number."""

import numpy as np
import pytest
import serving_runs

from jaxrec.serve import engine
from jaxrec.serve.asked import Asked
from jaxrec.serve.recommendation import Recommendation
from jaxrec.serve.workdir import load


def raw(numbers):
    return [f"i{n}" for n in numbers]


def numbers(histories):
    return [np.array([int(i[1:]) for i in h], np.int32) for h in histories]


def assert_answer(answer, values, k, excluded=()):
    """`answer` holds the k best of scores `values`."""
    best = serving_runs.best(values, k, excluded)
    assert answer.ids == tuple(raw(best))
    np.testing.assert_allclose(answer.scores, values[best], rtol=1e-4, atol=1e-4)


def random_history(length, seed=0):
    rng = np.random.default_rng([seed, length])
    return rng.integers(1, serving_runs.ITEMS + 1, length).tolist()


# Lengths around the sizes 4 and 8 that programs are made for, and several pieces of 8.
@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 8, 9, 16, 17, 30])
def test_equals_the_model_for_every_length(rec, expected, length):
    history = random_history(length)
    (answer,) = rec.recommend([raw(history)], k=5)
    assert_answer(answer, expected(history), 5, history)


def test_many_users_at_once(rec, expected):
    histories = [random_history(n % 12, seed=n) for n in range(11)]
    answers = rec.recommend([raw(h) for h in histories], k=3)
    assert len(answers) == 11
    for answer, history in zip(answers, histories, strict=True):
        assert_answer(answer, expected(history), 3, history)


def test_many_users_are_read_in_groups(rec, monkeypatch):
    histories = [raw(random_history(n, seed=n)) for n in (3, 4, 2, 4, 1, 3, 4, 4, 2, 1)]
    whole = rec.recommend(histories, k=3)
    monkeypatch.setattr(engine, "_WEIGHT", 8 * 4)  # eight users with four events
    asked = Asked(10, True)
    found = rec._engine.recommend(numbers(histories), asked)
    groups = [len(rows) for rows, _ in found]
    assert groups == [8, 2]
    assert [a.ids for a in rec.recommend(histories, k=3)] == [a.ids for a in whole]


def test_seen_items_may_be_kept(rec, expected):
    history = random_history(6)
    (answer,) = rec.recommend([raw(history)], k=40, exclude_seen=False)
    assert_answer(answer, expected(history), 40)
    assert set(raw(history)) < set(answer.ids)


def test_fewer_items_than_asked_for(rec, expected):
    history = list(range(1, 38))
    (answer,) = rec.recommend([raw(history)], k=10)
    assert len(answer) == 40 - 37
    assert_answer(answer, expected(history), 10, history)


def test_an_answer_is_pairs_and_titles(rec):
    (answer,) = rec.recommend([["i1"]], k=2)
    assert list(answer) == list(zip(answer.ids, answer.scores, strict=True))
    assert answer.titles == tuple(f"Title {i[1:]}" for i in answer.ids)
    assert Recommendation(("a",), (1.0,), ("",)).unknown == ()


def test_unknown_items_are_skipped_counted_and_reported(rec):
    known, mixed, lost = rec.recommend([["i1", "i2"], ["x", "i1", 7, "i2"], ["y"]])
    assert mixed.unknown == ("x", "7")
    assert (mixed.ids, mixed.scores) == (known.ids, known.scores)
    assert known.unknown == ()
    assert lost.unknown == ("y",)
    assert lost.ids == rec.recommend([[]])[0].ids
    assert rec.unknown == 3


def test_unknown_items_may_be_refused(run):
    rec = load(run[0], on_unknown="raise", lengths=(4,))
    with pytest.raises(ValueError, match="unknown item id 'x'"):
        rec.recommend([["i1", "x"]])
    with pytest.raises(ValueError, match="unknown item id 'x'"):
        rec.observe(rec.start(), "x")


def test_a_recommender_with_a_ring_forgets_what_was_seen(run):
    rec = load(run[0], seen_capacity=2, lengths=(4,))
    history = raw([1, 2, 3])
    (answer,) = rec.recommend([history], k=40)
    assert set(answer.ids) == set(raw(range(1, 41))) - {"i2", "i3"}
    (same,) = rec.top(rec.prefill([history]), k=40)
    assert set(same.ids) == set(answer.ids)
    (after,) = rec.top(rec.observe(rec.prefill([history]), "i4"), k=40)
    assert set(after.ids) == set(raw(range(1, 41))) - {"i3", "i4"}


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (41, r"k must be in 1\.\.40 \(the catalogue\), got 41"),
        (0, r"k must be in 1\.\.40"),
        (-1, r"k must be in 1\.\.40"),
        ("3", "k must be an integer, got '3'"),
        (2.5, "k must be an integer, got 2.5"),
    ],
)
def test_impossible_k(rec, k, message):
    with pytest.raises(ValueError, match=message):
        rec.recommend([["i1"]], k=k)
    with pytest.raises(ValueError, match=message):
        rec.top(rec.start(), k=k)
    with pytest.raises(ValueError, match=message):
        rec.observe_and_top(rec.start(), "i1", k=k)


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ("i1", "histories: want one list of item ids per user, got 'i1'"),
        (7, "histories: want one list of item ids per user, got 7"),
        (["i1", "i2"], r"histories\[0\]: want a list of item ids, got 'i1'; for one"),
        ([["i1"], 2], r"histories\[1\]: want a list of item ids, got 2"),
        ([["i1", 2.5]], "an item id is a string or an integer, got 2.5 of type float"),
        ([["i1", None]], "an item id is a string or an integer, got None"),
        ([], "want at least one user"),
    ],
)
def test_what_is_no_list_of_histories(rec, histories, message):
    for method in (rec.recommend, rec.prefill):
        with pytest.raises(ValueError, match=message):
            method(histories)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seen_capacity": 0}, "seen_capacity: want 1 or more, got 0"),
        ({"on_unknown": "skp"}, "on_unknown: want 'skip' or 'raise', got 'skp'"),
    ],
)
def test_impossible_options(run, options, message):
    with pytest.raises(ValueError, match=message):
        load(run[0], **options)


def test_repr_says_what_it_is(rec):
    (kept,) = {
        sum(a.nbytes for a in rec.to_arrays(rec.start(n)).values()) // n for n in (1, 3)
    }
    assert repr(rec) == (
        f"<Recommender of {serving_runs.ITEMS} items with titles, "
        f"{kept} bytes of state per user>"
    )
