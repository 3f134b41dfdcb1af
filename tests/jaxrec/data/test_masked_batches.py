"""Masked batches: how many, which, reproducibly, and nothing lost."""

import numpy as np
import pytest

from jaxrec.data.batches import make_windows
from jaxrec.data.masked_batches import MaskedBatches
from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import leave_one_out

TOKEN = 100_001


def split(lengths):
    """Users with so many training events; all items differ: 1, 2, 3, ..."""
    offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths) + 2)])
    values = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    ids = np.array(["", *map(str, values)])
    users = np.arange(len(lengths)).astype(str)
    return leave_one_out(Sequences(values, offsets, users, ids))


def batches_of(lengths, **options):
    options = {"size": 16, "length": 10, "probability": 0.4, "seed": 3} | options
    return MaskedBatches(split(lengths), token=TOKEN, **options)


def samples(batch):
    """Per sequence of a batch its items, and which of them were masked."""
    tokens = batch["tokens"].copy()
    row, column = np.nonzero(batch["labels"])
    place = (row, batch["slots"][row, column])
    assert (tokens[place] == TOKEN).all()
    tokens[place] = batch["labels"][row, column]
    assert not (tokens == TOKEN).any()
    for items, shown, segments in zip(
        tokens, batch["tokens"], batch["segments"], strict=True
    ):
        np.testing.assert_array_equal(items > 0, segments > 0)
        for number in np.unique(segments[segments > 0]):
            yield items[segments == number], shown[segments == number] == TOKEN


def epoch_of(batches, epoch):
    steps = [s for s in range(2000) if batches.locate(s)[0] == epoch]
    return [sample for step in steps for sample in samples(batches(step))]


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("probability", [0.1, 0.4, 0.95])
def test_an_epoch_holds_every_window_once_with_its_share_masked(layout, probability):
    lengths = np.random.default_rng(0).integers(1, 40, 120)
    batches = batches_of(lengths, layout=layout, probability=probability)
    found = epoch_of(batches, 0)
    windows = make_windows(split(lengths), 10)
    starts = sorted((int(items[0]), len(items)) for items, _ in found)
    wanted = [(b + 1, c) for b, c in zip(windows.begin, windows.count, strict=True)]
    assert starts == sorted(wanted)
    for items, masked in found:
        n = len(items)
        np.testing.assert_array_equal(np.diff(items), 1)
        most = min(int(10 * probability), max(1, round(n * probability)))
        assert masked.sum() == most
    labels = sum(masked.sum() for _, masked in found)
    steps = range(batches.steps_per_epoch)
    assert labels == sum(np.count_nonzero(batches(s)["labels"]) for s in steps)


def test_shapes_and_what_is_not_filled():
    batches = batches_of([7, 3, 12, 9], size=4, layout="padded")
    batch = batches(0)
    assert batch["tokens"].shape == batch["segments"].shape == (4, 10)
    assert batch["labels"].shape == batch["slots"].shape == (4, 4)
    assert batch["row"].tolist() == [0, 1, 2, 3]
    assert (batch["slots"][batch["labels"] == 0] == 0).all()
    assert {array.dtype.name for array in batch.values()} == {"int32"}
    # Left padded, as other padded batches are.
    np.testing.assert_array_equal(np.sort(batch["tokens"] > 0, 1), batch["tokens"] > 0)


def test_which_items_are_masked_depends_on_seed_epoch_and_event_alone():
    lengths = np.random.default_rng(1).integers(3, 30, 200)

    def masked(epoch, **options):
        found = epoch_of(batches_of(lengths, **options), epoch)
        return sorted(int(i) for items, some in found for i in items[some])

    one = masked(0)
    assert masked(0, layout="padded", size=7) == one  # in other batches
    assert masked(0) == one
    other_epoch, other_seed = masked(1), masked(0, seed=4)
    for other in (other_epoch, other_seed):
        assert 0.2 < np.isin(one, other).mean() < 0.6  # as by chance, 0.4
    # A resumed run sees what it would have seen.
    batches, again = batches_of(lengths), batches_of(lengths)
    far = 3 * batches.steps_per_epoch + 1
    for name, array in batches(far).items():
        np.testing.assert_array_equal(array, again(far)[name])


def test_every_place_of_a_window_is_masked_equally_often():
    batches = batches_of([8] * 50, probability=0.25, size=50)
    counts = np.zeros(8)
    for epoch in range(60):
        for _, masked in epoch_of(batches, epoch):
            counts += masked
    # 3,000 draws of 2 of 8 places: five standard deviations.
    assert np.abs(counts / 3000 - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 3000)


def test_shifted_windows_drop_nothing():
    batches = batches_of([35] * 30, windows="shifted", size=20)
    for epoch in (0, 1):
        found = epoch_of(batches, epoch)
        events = np.sort(np.concatenate([items for items, _ in found]))
        wanted = np.concatenate([37 * u + np.arange(1, 36) for u in range(30)])
        np.testing.assert_array_equal(events, wanted)


def test_packed_rows_are_full():
    lengths = np.random.default_rng(2).integers(8, 300, 600)
    batches = batches_of(lengths, length=100, size=64, probability=0.2)
    assert batches.fill > 0.9
    filled = [np.count_nonzero(batches(s)["labels"]) for s in range(4)]
    assert np.mean(filled) / (batches.rows * batches.labels) > 0.85


def test_draws_belong_to_labels_and_say_nothing_of_what_is_masked():
    lengths = np.random.default_rng(1).integers(3, 30, 300)

    def drawn(epoch, **options):
        """By item, which is the place of its event plus 1."""
        batches, found = batches_of(lengths, draws=True, **options), {}
        for step in (s for s in range(500) if batches.locate(s)[0] == epoch):
            batch = batches(step)
            labels, draws = batch["labels"], batch["draws"]
            assert draws.dtype == np.uint32 and draws.shape == labels.shape
            assert (draws[labels == 0] == 0).all()
            found |= dict(zip(labels[labels > 0], draws[labels > 0], strict=True))
        return found

    one = drawn(0)
    assert drawn(0, layout="padded", size=7) == one
    other = drawn(1)
    assert not any(other.get(item) == draw for item, draw in one.items())
    # The masked have the lowest numbers of their window, but not of these.
    uniform = np.array(list(one.values())) / 2.0**32
    assert abs(uniform.mean() - 0.5) < 5 * np.sqrt(1 / 12 / uniform.size)


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_probability_outside_is_refused(probability):
    with pytest.raises(
        ValueError, match="mask_probability: want above 0 and below 1, got"
    ):
        batches_of([5, 5], probability=probability)


def test_windows_too_short_for_a_mask_are_refused():
    with pytest.raises(ValueError, match="batch.length=10 no item would be masked"):
        batches_of([5, 5], probability=0.09)


def test_what_batches_refuse_is_refused():
    with pytest.raises(ValueError, match="layout: want packed or padded, got 'paked'"):
        batches_of([5, 5], layout="paked")
