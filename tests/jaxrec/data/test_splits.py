import dataclasses

import numpy as np
import pytest

from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import leave_one_out, temporal


def with_times(times_by_user):
    sequences = Sequences.from_histories(
        {
            str(user): [f"{user}-{at}" for at in range(len(times))]
            for user, times in enumerate(times_by_user)
        }
    )
    times = np.concatenate([np.array(times, np.int64) for times in times_by_user])
    return dataclasses.replace(sequences, times=times)


def test_leave_one_out_positions():
    sequences = Sequences.from_histories({"a": "wxyz", "b": "xy", "c": "x", "d": "xyz"})
    split = leave_one_out(sequences)
    assert sequences.offsets.tolist() == [0, 4, 6, 7, 10]
    assert split.train_end.tolist() == [4 - 2, 6, 7, 10 - 2]
    assert split.valid.user.tolist() == split.test.user.tolist() == [0, 3]
    assert split.valid.position.tolist() == [2, 8]
    assert split.test.position.tolist() == [3, 9]


def test_users_shorter_than_min_length_give_no_target():
    sequences = Sequences.from_histories({"a": "wxyz", "b": "vwxyz"})
    split = leave_one_out(sequences, min_length=5)
    assert split.train_end.tolist() == [4, 9 - 2]
    assert split.test.user.tolist() == [1]


def test_one_event_users_only_still_split():
    split = leave_one_out(Sequences.from_histories({"a": "x", "b": "y"}))
    assert split.train_end.tolist() == [1, 2]
    assert len(split.valid) == len(split.test) == 0


def test_min_length_below_three_is_refused():
    with pytest.raises(ValueError, match="min_length must be 3 or more, got 2"):
        leave_one_out(Sequences.from_histories({"a": "xyz"}), min_length=2)


def test_split_dtypes():
    split = leave_one_out(Sequences.from_histories({"a": "wxyz"}))
    assert split.train_end.dtype == np.int64
    assert split.test.user.dtype == np.int32
    assert split.test.position.dtype == np.int64


def test_temporal_cuts_all_users_at_the_same_moments():
    # Times 0..9; 10 - round(10 * .5) = 5 and 10 - round(10 * .2) = 8: the validation
    # period is [5, 8), the test period [8, ...).
    split = temporal(with_times([[0, 1, 5, 6, 8], [2, 3, 4, 9], [7]]), 0.3, 0.2)
    assert split.train_end.tolist() == [2, 5 + 3, 9]
    # User 0: event at 5. User 1 has none in the period. User 2 has no history.
    assert split.valid.user.tolist() == [0]
    assert split.valid.position.tolist() == [2]
    # User 0: event at 8. User 1: event at 9.
    assert split.test.user.tolist() == [0, 1]
    assert split.test.position.tolist() == [4, 8]


def test_temporal_user_who_appears_in_validation_can_have_a_test_target():
    split = temporal(with_times([[0, 1, 2, 3, 4], [5, 6], [7], [8, 9]]), 0.3, 0.2)
    # User 1 is in [5, 8) only, user 3 in [8, ...) only: neither has an earlier event
    # before its first one.
    assert len(split.valid) == 0
    assert len(split.test) == 0
    split = temporal(with_times([[0, 1, 2, 3, 4], [5, 6, 8], [7, 9]]), 0.3, 0.2)
    assert split.test.user.tolist() == [1, 2]
    assert split.test.position.tolist() == [5 + 2, 8 + 1]
    assert split.train_end.tolist() == [5, 5, 8]


def test_temporal_events_at_the_cut_are_behind_it():
    split = temporal(with_times([[0, 1, 5, 5, 5, 5, 5, 6, 8, 9]]), 0.3, 0.2)
    # sorted[5] = 5: all five events at time 5 leave training.
    assert split.train_end.tolist() == [2]
    assert split.valid.position.tolist() == [2]


def test_temporal_without_times_is_refused():
    with pytest.raises(ValueError, match="needs a time stamp per event"):
        temporal(Sequences.from_histories({"a": "xyz"}))


def test_temporal_refuses_users_out_of_order():
    with pytest.raises(ValueError, match="user '1' is not in order of time"):
        temporal(with_times([[5, 6], [2, 1], [0]]))


@pytest.mark.parametrize(
    "fractions, message",
    [
        ((0.0, 0.1), "must be above 0"),
        ((0.1, -0.1), "must be above 0"),
        ((0.5, 0.5), "must be below 1"),
        ((0.01, 0.01), "too few"),
    ],
)
def test_temporal_fractions(fractions, message):
    with pytest.raises(ValueError, match=message):
        temporal(with_times([[0, 1, 2], [3, 4]]), *fractions)


def test_temporal_equal_times_are_refused():
    with pytest.raises(ValueError, match="empty period"):
        temporal(with_times([[7] * 10]), 0.3, 0.2)
