"""Which events are trained on and which are predicted.

Nothing is copied: a split is the sequences, one end of training per user, and
two lists of targets given as positions in `values`.
"""

import dataclasses

import numpy as np

from jaxrec.data.sequences import Sequences


@dataclasses.dataclass(frozen=True, eq=False)
class Cases:
    """Targets to predict, one row each, ordered by user.

    Attributes:
        user: (n,) int32 user numbers.
        position: (n,) int64 index of the target in `values`. The history of the
            case is values[offsets[user]:position].
    """

    user: np.ndarray
    position: np.ndarray

    def __len__(self) -> int:
        return len(self.user)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Sequences divided into training events, validation and test targets.

    Attributes:
        sequences: All events.
        train_end: (users,) int64; user u trains on values[offsets[u]:train_end[u]].
        valid: Validation targets.
        test: Test targets.
    """

    sequences: Sequences
    train_end: np.ndarray
    valid: Cases
    test: Cases


def leave_one_out(sequences: Sequences, min_length: int = 3) -> Split:
    """The last event of a user is the test target, the one before it validation.

    The test history holds the validation event. Users with fewer than
    `min_length` events give all their events to training and no target, as the
    released code of LRURec (Yue et al., WSDM 2024) does with 3.

    Args:
        sequences: All events.
        min_length: Fewest events, at least 3, of a user that gives targets.

    Raises:
        ValueError: `min_length` is below 3: a user with two events would have no
            training event before the validation target.
    """
    if min_length < 3:
        raise ValueError(f"data.min_length must be 3 or more, got {min_length}")
    ends = sequences.offsets[1:]
    user = np.flatnonzero(sequences.lengths >= min_length)
    train_end = np.array(ends)
    train_end[user] -= 2
    valid = Cases(user.astype(np.int32), ends[user] - 2)
    test = Cases(user.astype(np.int32), ends[user] - 1)
    return Split(sequences, train_end, valid, test)


def temporal(
    sequences: Sequences, valid_fraction: float = 0.1, test_fraction: float = 0.1
) -> Split:
    """Cuts at two moments that are the same for all users.

    With the times of all `n` events sorted, the validation period begins at
    T1 = sorted[n - round(n (valid_fraction + test_fraction))] and the test period
    at T2 = sorted[n - round(n test_fraction)]. Then

      * training: events with time < T1;
      * validation: of each user the first event with T1 <= time < T2, if the user
        has an earlier event (which is then a training event);
      * test: of each user the first event with T2 <= time, if the user has an
        earlier event. Its history also holds the user's events between T1 and T2,
        so a user who first appears after T1 can have a test target.

    At most one target per user and period; later events of a period are neither
    trained on nor predicted. Events that share the time T1 (or T2) all lie behind
    the cut, so the periods may hold somewhat more than their fractions. A target
    may be an item that no training event shows.

    Args:
        sequences: All events, each user in order of time.
        valid_fraction: Share of all events in the validation period, in (0, 1).
        test_fraction: Share of all events in the test period, in (0, 1).

    Raises:
        ValueError: There are no times, a user is not in order of time, a fraction
            is out of range, or one of the three periods is empty.
    """
    times, offsets = sequences.times, sequences.offsets
    if times is None:
        raise ValueError(
            "data.split='temporal' needs a time stamp per event and "
            f"{sequences.name or 'this data set'} has none; use 'leave_one_out'"
        )
    if not (valid_fraction > 0 and test_fraction > 0):
        raise ValueError(
            "data.valid_fraction and data.test_fraction must be above 0, got "
            f"{valid_fraction} and {test_fraction}"
        )
    if not valid_fraction + test_fraction < 1:
        raise ValueError(
            "data.valid_fraction + data.test_fraction must be below 1, got "
            f"{valid_fraction} + {test_fraction}"
        )
    _check_time_order(sequences)
    events = sequences.events
    cuts = [
        events - round(events * (valid_fraction + test_fraction)),
        events - round(events * test_fraction),
    ]
    if not 0 < cuts[0] < cuts[1] < events:
        raise ValueError(
            f"{events} events are too few for a validation share of {valid_fraction} "
            f"and a test share of {test_fraction}"
        )
    valid_time, test_time = np.partition(times, cuts)[cuts]
    if valid_time == test_time or times.min() == valid_time:
        raise ValueError(
            "the cuts leave an empty period: too many events share the time "
            f"{valid_time} (validation begins at {valid_time}, test at {test_time})"
        )
    train_end = _first_not_before(sequences, valid_time)
    test_start = _first_not_before(sequences, test_time)
    begins, ends = offsets[:-1], offsets[1:]
    valid = np.flatnonzero((train_end > begins) & (train_end < test_start))
    test = np.flatnonzero((test_start > begins) & (test_start < ends))
    return Split(
        sequences,
        train_end,
        Cases(valid.astype(np.int32), train_end[valid]),
        Cases(test.astype(np.int32), test_start[test]),
    )


def _first_not_before(sequences: Sequences, time: int) -> np.ndarray:
    """(users,) position of each user's first event at or after `time`, else its end."""
    before = np.concatenate([[0], np.cumsum(sequences.times < time, dtype=np.int64)])
    offsets = sequences.offsets
    return offsets[:-1] + before[offsets[1:]] - before[offsets[:-1]]


def _check_time_order(sequences: Sequences) -> None:
    backwards = np.flatnonzero(sequences.times[1:] < sequences.times[:-1]) + 1
    # A step back in time is fine where the next user begins.
    backwards = np.setdiff1d(backwards, sequences.offsets)
    if len(backwards):
        user = np.searchsorted(sequences.offsets, backwards[0], side="right") - 1
        raise ValueError(
            f"user {str(sequences.user_ids[user])!r} is not in order of time; "
            "a temporal split needs data.order='time'"
        )
