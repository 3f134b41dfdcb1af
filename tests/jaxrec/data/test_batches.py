import numpy as np
import pytest

from jaxrec.data.batches import Batches, make_windows, shifted_windows
from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import leave_one_out


def sequences(lengths):
    """Users of the given lengths; items count up, so an item tells its place."""
    values = np.concatenate([np.arange(1, n + 1) for n in lengths]).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = int(values.max())
    return Sequences(
        values=values,
        offsets=offsets,
        user_ids=np.arange(len(lengths)).astype(str),
        item_ids=np.array(["", *map(str, range(1, items + 1))]),
    )


def split(lengths):
    return leave_one_out(sequences(lengths))


def pairs(batch):
    """The (input, target) pairs of a batch, sorted."""
    valid = batch["labels"] > 0
    return sorted(zip(batch["tokens"][valid], batch["labels"][valid], strict=True))


def test_windows_follow_the_released_rule():
    # Training parts of 3, 4, 5, 8 and 11 events with windows of 4: all; all; the last 4
    # with one item of context; two windows; two windows from the end, 3 dropped.
    windows = make_windows(split([5, 6, 7, 10, 13]), 4)
    data = sequences([5, 6, 7, 10, 13])
    spans = [
        tuple(data.values[b : b + c].tolist())
        for b, c in zip(windows.begin, windows.count, strict=True)
    ]
    assert spans == [
        (1, 2, 3),
        (1, 2, 3, 4),
        (2, 3, 4, 5),
        (5, 6, 7, 8),
        (1, 2, 3, 4),
        (8, 9, 10, 11),
        (4, 5, 6, 7),
    ]
    assert windows.fresh.tolist() == [True, True, False, True, True, True, True]


def test_shifted_windows_hold_every_event_once_and_move():
    lengths = [3, 6, 7, 10, 13, 42]  # training parts of 1, 4, 5, 8, 11 and 40
    data = split(lengths)
    cuts = [shifted_windows(data, 4, np.random.default_rng(seed)) for seed in range(30)]
    for windows in cuts:
        spans = [
            np.arange(b, b + c)
            for b, c in zip(windows.begin, windows.count, strict=True)
        ]
        events = np.concatenate(spans)
        ends = zip(data.sequences.offsets, data.train_end, strict=False)
        np.testing.assert_array_equal(
            events, np.concatenate([np.arange(*e) for e in ends])
        )
        assert windows.count.max() == 4
        np.testing.assert_array_equal(
            windows.fresh, np.isin(windows.begin, data.sequences.offsets)
        )
        assert windows.count[:2].tolist() == [1, 4]  # short histories stay whole
    heads = {int(windows.count[2]) for windows in cuts}
    assert heads == {1, 2, 3, 4}


def epoch_of(batches, epoch):
    """All batches of one epoch."""
    step, found = 0, []
    while batches.locate(step)[0] <= epoch:
        if batches.locate(step)[0] == epoch:
            found.append(batches(step))
        step += 1
    return found


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_every_epoch_of_shifted_windows_holds_every_event(layout):
    data = split(np.random.default_rng(0).integers(1, 60, 100))
    given = dict(size=16, length=10, layout=layout, seed=3, windows="shifted")
    batches = Batches(data, **given)
    events = int((data.train_end - data.sequences.offsets[:-1]).sum())
    for epoch in (0, 2):
        held = [pair for batch in epoch_of(batches, epoch) for pair in pairs(batch)]
        assert len(held) == events
        assert all(before == target - 1 for before, target in held)
    again, same = Batches(data, **given), epoch_of(batches, 2)[0]
    steps = [s for s in range(99) if batches.locate(s) == (2, 0)]
    np.testing.assert_array_equal(again(steps[0])["labels"], same["labels"])


@pytest.mark.parametrize("windows", ["released", "shifted"])
def test_only_shifted_windows_change_between_epochs(windows):
    data = split([40] * 20)
    batches = Batches(data, size=16, length=10, layout="padded", windows=windows)

    def rows(epoch):
        return sorted(r for b in epoch_of(batches, epoch) for r in b["labels"].tolist())

    assert (rows(0) == rows(1)) == (windows == "released")


def test_first_target_is_predicted_from_padding_or_left_out():
    batches = Batches(split([5]), size=1, length=4, layout="padded")
    batch = batches(0)
    assert batch["tokens"].tolist() == [[0, 0, 1, 2]]
    assert batch["labels"].tolist() == [[0, 1, 2, 3]]
    without = Batches(split([5]), size=1, length=4, layout="padded", bos_target=False)
    assert without(0)["tokens"].tolist() == [[0, 0, 1, 2]]
    assert without(0)["labels"].tolist() == [[0, 0, 2, 3]]


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_an_epoch_holds_every_target_once(layout):
    lengths = np.random.default_rng(0).integers(1, 40, 200)
    data = split(lengths)
    batches = Batches(data, size=16, length=10, layout=layout, seed=3)
    seen = []
    for step in range(batches.steps_per_epoch):
        batch = batches(step)
        assert batch["tokens"].shape == (batches.rows, 10)
        seen += pairs(batch)
    windows = make_windows(data, 10)
    assert len(seen) == windows.count.sum() == batches.targets_per_epoch
    assert batches.locate(batches.steps_per_epoch) == (1, 0)
    other = Batches(data, size=16, length=10, layout="padded", seed=9)
    expected = []
    for step in range(other.steps_per_epoch):
        expected += pairs(other(step))
    assert sorted(seen) == sorted(expected)


def test_packed_rows_are_full_and_sequences_do_not_mix():
    lengths = np.random.default_rng(1).integers(3, 60, 2000)
    batches = Batches(split(lengths), size=64, length=50)
    assert batches.fill > 0.9
    batch = batches(0)
    # Within a segment each input is the target before it, or 0 at its start.
    same = batch["segments"][:, 1:] == batch["segments"][:, :-1]
    inside = same & (batch["labels"][:, 1:] > 0)
    np.testing.assert_array_equal(
        batch["tokens"][:, 1:][inside], batch["labels"][:, :-1][inside]
    )


def test_batches_are_functions_of_seed_and_step():
    data = split(np.random.default_rng(2).integers(3, 30, 300))
    one = Batches(data, size=32, length=20, seed=5)
    far = one(7 * one.steps_per_epoch + 1)
    two = Batches(data, size=32, length=20, seed=5)
    again = two(7 * one.steps_per_epoch + 1)
    for name in far:
        np.testing.assert_array_equal(far[name], again[name])
    other = Batches(data, size=32, length=20, seed=6)(0)
    assert not np.array_equal(other["labels"], one(0)["labels"])


def test_draws_belong_to_events_in_whatever_batch_they_stand():
    data = split(np.random.default_rng(2).integers(3, 60, 100))
    events = data.sequences.values.size
    data.sequences.values[:] = np.arange(1, events + 1)  # so an item tells its event

    def drawn(epoch, **options):
        given = {"size": 16, "length": 10, "seed": 3, "draws": True} | options
        found = np.zeros(events + 1, np.uint32)
        for batch in epoch_of(Batches(data, **given), epoch):
            labels, draws = batch["labels"], batch["draws"]
            assert draws.dtype == np.uint32 and draws.shape == labels.shape
            assert (draws[labels == 0] == 0).all()
            found[labels[labels > 0]] = draws[labels > 0]
        return found

    one = drawn(0, windows="shifted")
    numbers = one[one > 0]
    assert numbers.size == np.unique(numbers).size > 1000
    assert abs(numbers.mean() / 2**32 - 0.5) < 5 * np.sqrt(1 / 12 / numbers.size)
    np.testing.assert_array_equal(drawn(0, windows="shifted", layout="padded"), one)
    fewer = drawn(0, size=5, length=7)  # released windows, some events dropped
    np.testing.assert_array_equal(fewer[fewer > 0], one[fewer > 0])
    for other in (drawn(1, windows="shifted"), drawn(0, windows="shifted", seed=4)):
        assert not (one == other)[one > 0].any()
    assert "draws" not in Batches(data, size=16, length=10)(0)


def test_rows_are_a_multiple_and_bad_values_are_refused():
    data = split([5] * 30)
    assert Batches(data, size=5, length=4, multiple=8).rows % 8 == 0
    with pytest.raises(ValueError, match="batch.windows: want released or shifted"):
        Batches(data, size=5, length=4, windows="moved")
    with pytest.raises(ValueError, match="layout: want packed or padded, got 'paked'"):
        Batches(data, size=5, length=4, layout="paked")
    with pytest.raises(ValueError, match="positive sizes"):
        Batches(data, size=0, length=4)


def test_no_training_target_is_an_error():
    with pytest.raises(ValueError, match="no user has a training target"):
        make_windows(split([3, 3]), 4, bos_target=False)


def test_a_user_with_one_event_gives_one_target():
    data = split([1, 5])
    batches = Batches(data, size=2, length=4, layout="padded")
    assert pairs(batches(0)) == [(0, 1), (0, 1), (1, 2), (2, 3)]
    assert len(data.test) == 1
