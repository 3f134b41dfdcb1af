"""Times in batches: those of the events in the slots, whatever the clock."""

import dataclasses

import numpy as np
import pytest

from jaxrec.data.batches import Batches
from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import leave_one_out

LENGTH, LENGTHS = 8, (4, 9, 12, 25, 30)
EVENTS = sum(LENGTHS)
OFFSETS = np.cumsum((0, *LENGTHS))


def split(times):
    """Every event is of an item of its own, item n the nth."""
    sequences = Sequences(
        values=np.arange(1, EVENTS + 1, dtype=np.int32),
        offsets=OFFSETS,
        user_ids=np.arange(len(LENGTHS)).astype(str),
        item_ids=np.array(["", *map(str, range(1, EVENTS + 1))]),
        times=times,
        name="shop",
    )
    return leave_one_out(sequences)


def draw_times():
    """Years 2017 to 2050: float32 holds few of them, and int32 not the last."""
    gaps = np.random.default_rng(0).integers(0, 2**26, EVENTS)
    first = np.repeat(OFFSETS[:-1], LENGTHS)
    return 1_500_000_000 + np.cumsum(gaps) - np.cumsum(gaps)[first]


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("bos_target", [True, False])
def test_slots_have_the_times_of_input_and_target(layout, bos_target):
    times = draw_times()
    assert times.max() > 2**31
    options = {"layout": layout, "bos_target": bos_target, "windows": "shifted"}
    made = Batches(split(times), size=3, length=LENGTH, times=True, **options)
    seen, passed = 0, []
    for step in range(2 * made.steps_per_epoch):
        batch = made(step)
        tokens, labels, pairs = batch["tokens"], batch["labels"], batch["times"]
        assert pairs.shape == (*tokens.shape, 2) and pairs.dtype == np.int32
        assert not pairs[labels == 0].any()
        target = labels > 0
        wanted = times[labels[target] - 1]
        np.testing.assert_array_equal(pairs[target, 1], wanted.astype(np.int32))
        both = target & (tokens > 0)
        before = times[tokens[both] - 1]
        np.testing.assert_array_equal(pairs[both, 0], before.astype(np.int32))
        between = times[labels[both] - 1] - before
        np.testing.assert_array_equal(pairs[both, 1] - pairs[both, 0], between)
        seen, passed = seen + both.sum(), [*passed, *between]
    assert seen > 50 and max(passed) > 2**25
    assert "times" not in Batches(split(times), size=3, length=LENGTH, **options)(0)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (None, "model.times=true: the data 'shop' have no time stamps"),
        (draw_times() * 1000, "'shop' have a user with more than 2147483647 seconds"),
    ],
)
def test_times_that_are_not_there_or_no_seconds_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        Batches(split(times), size=3, length=LENGTH, times=True)


def test_users_without_events_do_no_harm():
    data = split(draw_times())
    offsets = np.array([0, 0, *OFFSETS[1:], EVENTS])
    sequences = dataclasses.replace(
        data.sequences, offsets=offsets, user_ids=np.arange(7).astype(str)
    )
    made = Batches(leave_one_out(sequences), size=3, length=LENGTH, times=True)
    assert made(0)["times"].any()
