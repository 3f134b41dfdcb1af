import dataclasses

import numpy as np
import pytest

from jaxrec.data.options import from_config
from jaxrec.data.preprocess import adjacent_repeats, all_repeats, core, preprocess
from jaxrec.data.sequences import Sequences


def raw(histories, times=None, ratings=None):
    sequences = Sequences.from_histories(histories, name="tiny")
    if times is not None:
        sequences = dataclasses.replace(sequences, times=np.array(times, np.int64))
    if ratings is not None:
        sequences = dataclasses.replace(
            sequences, ratings=np.array(ratings, np.float32)
        )
    return sequences


def run(sequences, **config):
    return preprocess(sequences, from_config({"name": "custom"} | config))


def histories(sequences):
    return {
        str(user): "".join(sequences.item_ids[sequences.history(at)])
        for at, user in enumerate(sequences.user_ids)
    }


def test_as_is_returns_the_arrays_themselves():
    sequences = raw({"u": "ab", "v": "ba"})
    result = run(sequences)
    assert result.values is sequences.values
    assert result.item_ids is sequences.item_ids
    assert result.report["events_read"] == result.report["events"] == 4


def test_min_rating_keeps_the_threshold_itself():
    sequences = raw({"u": "abc", "v": "d"}, ratings=[3, 4, 5, 3.5])
    result = run(sequences, min_rating=4)
    assert histories(result) == {"u": "bc"}
    assert result.ratings.tolist() == [4, 5]
    assert result.item_ids.tolist() == ["", "b", "c"]
    assert result.report["dropped_low_rating"] == 2
    assert (result.report["users_read"], result.report["users"]) == (2, 1)
    assert (result.report["items_read"], result.report["items"]) == (4, 2)


def test_order_by_time_is_stable():
    sequences = raw({"u": "dcba", "v": "ab"}, times=[5, 1, 5, 1, 9, 2])
    assert histories(run(sequences)) == {"u": "cadb", "v": "ba"}
    assert histories(run(sequences, order="file")) == {"u": "dcba", "v": "ab"}
    result = run(sequences, ties="item")
    assert histories(result) == {"u": "acbd", "v": "ba"}
    assert result.times.tolist() == [1, 1, 5, 5, 2, 9]


def test_times_that_a_float_would_merge_stay_apart():
    late, early = 2**53 + 1, 2**53
    sequences = raw({"u": "ab"}, times=[late, early])
    assert float(late) == float(early)
    assert histories(run(sequences)) == {"u": "ba"}


def test_dedup():
    sequences = raw({"u": "aabab", "v": "bb"})
    assert histories(run(sequences, dedup="adjacent")) == {"u": "abab", "v": "b"}
    result = run(sequences, dedup="all")
    assert histories(result) == {"u": "ab", "v": "b"}
    assert result.report["dropped_repeat"] == 3 + 1


def test_dedup_sees_the_order_of_time():
    sequences = raw({"u": "aba"}, times=[1, 3, 2])
    assert histories(run(sequences, dedup="adjacent")) == {"u": "ab"}


def test_repeats_do_not_cross_users():
    user, item = np.array([0, 0, 1, 1]), np.array([3, 3, 3, 3])
    assert adjacent_repeats(user, item).tolist() == [False, True, False, True]
    assert all_repeats(user, item).tolist() == [False, True, False, True]


def test_core_once_counts_users_after_items():
    # c occurs once and goes, which leaves v with one event, which goes; b, now at one,
    # stays because there is only one pass.
    sequences = raw({"u": "aab", "v": "bc", "w": "aa"})
    options = {"min_user_events": 2, "min_item_events": 2}
    once = run(sequences, core="once", **options)
    assert histories(once) == {"u": "aab", "w": "aa"}
    assert once.report["dropped_core"] == 2
    iterated = run(sequences, core="iterated", **options)
    assert histories(iterated) == {"u": "aa", "w": "aa"}
    assert iterated.report["core_passes"] == 2


def test_iterated_core_is_the_largest_fixed_point():
    rng = np.random.default_rng(0)
    user, item = rng.zipf(1.4, (2, 600)) % 90
    kept, _ = core(user, item, 3, 4, once=False)
    # Slow and plain: drop one offender at a time until there is none.
    alive = list(range(600))
    changed = True
    while changed:
        changed = False
        for axis, least in ((user, 3), (item, 4)):
            counts = np.bincount(axis[alive], minlength=90)
            left = [row for row in alive if counts[axis[row]] >= least]
            changed |= len(left) < len(alive)
            alive = left
    assert np.flatnonzero(kept).tolist() == alive
    assert 0 < len(alive) < 600


def test_numbers_follow_the_raw_ids_that_are_left():
    sequences = raw({"u": ["10", "9", "2"], "v": ["10", "2", "x"][:2]})
    result = run(sequences, core="once", min_item_events=2, min_user_events=1)
    assert result.item_ids.tolist() == ["", "2", "10"]
    assert result.values.tolist() == [2, 1, 2, 1]


def test_titles_follow_their_items():
    sequences = dataclasses.replace(
        raw({"u": "abb", "v": "b"}), titles=np.array(["", "A", "B"])
    )
    result = run(sequences, core="once", min_item_events=2, min_user_events=1)
    assert result.titles.tolist() == ["", "B"]


def test_lrurec_ml1m_preset_end_to_end():
    # Item d is rare; v then has four events and goes; ties of u go by item number.
    sequences = raw(
        {"u": "cbaac", "v": "abcad", "w": "abcba", "x": "abcab"},
        times=[7, 7, 7, 7, 8, *range(5), *range(5), *range(5)],
    )
    result = run(sequences, preset="lrurec_ml1m", min_item_events=4, min_user_events=4)
    # u: adjacent repeat "aa" becomes "a"; then a, b, c at time 7.
    assert histories(result) == {"u": "abcc", "v": "abca", "w": "abcba", "x": "abcab"}
    strict = run(sequences, preset="lrurec_ml1m", min_item_events=4)
    assert histories(strict) == {"w": "abcba", "x": "abcab"}


def test_one_event_user_survives_as_is():
    assert histories(run(raw({"u": "a", "v": "ab"}))) == {"u": "a", "v": "ab"}


@pytest.mark.parametrize(
    "config, message",
    [
        ({"order": "time"}, "data.order='time' needs time stamps and tiny has none"),
        ({"min_rating": 3.0}, "data.min_rating=3.0 needs ratings and tiny has none"),
        ({"core": "iterated"}, "tiny: no event is left"),
    ],
)
def test_what_cannot_be_done_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        run(raw({"u": "abc"}), **config)
