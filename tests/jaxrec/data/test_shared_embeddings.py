"""Stochastic shared embeddings: how often, by what, and the same in every batch."""

import numpy as np
import pytest

from jaxrec.data.batches import Batches
from jaxrec.data.masked_batches import MaskedBatches
from jaxrec.data.sequences import Sequences
from jaxrec.data.shared_embeddings import SharedEmbeddings
from jaxrec.data.splits import leave_one_out

TOKEN, LENGTH, USERS = 100_001, 10, 400
PLAIN = SharedEmbeddings()


def split(lengths):
    """Users with so many training events; all items differ: 1, 2, 3, ..."""
    offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths) + 2)])
    values = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    ids = np.array(["", *map(str, values)])
    users = np.arange(len(lengths)).astype(str)
    return leave_one_out(Sequences(values, offsets, users, ids))


DATA = split(np.random.default_rng(0).integers(1, 35, USERS))


def batches(shared=PLAIN, masked=False, **options):
    options = {"size": 64, "length": LENGTH, "seed": 3, "users": True} | options
    if masked:
        options |= {"probability": 0.4, "token": TOKEN}
    return (MaskedBatches if masked else Batches)(DATA, shared=shared, **options)


def epoch_of(made, epoch=0):
    steps = [s for s in range(500) if made.locate(s)[0] == epoch]
    return [made(step) for step in steps]


def places(made, epoch=0):
    """Input, target (0 for none), user and a window's number of every used slot."""
    found = []
    for number, batch in enumerate(epoch_of(made, epoch)):
        targets = batch["labels"]
        if "slots" in batch:
            targets = np.zeros_like(batch["tokens"])
            row, column = np.nonzero(batch["labels"])
            targets[row, batch["slots"][row, column]] = batch["labels"][row, column]
        window = number * 1000 + batch["segments"]
        arrays = (batch["tokens"], targets, batch["users"], window)
        found.append(np.stack([a[batch["segments"] > 0] for a in arrays]))
    return np.concatenate(found, 1)


def deviation(count, n, p):
    """Of a binomial count from its mean, in standard deviations."""
    return abs(count - n * p) / np.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("masked", [False, True], ids=["next", "masked"])
def test_slots_say_whose_they_are(masked, layout):
    made = batches(masked=masked, layout=layout)
    inputs, targets, users, _ = places(made)
    items = np.where(inputs == TOKEN, targets, inputs) if masked else targets
    owners = np.searchsorted(DATA.sequences.offsets, items - 1, "right")
    np.testing.assert_array_equal(users, owners)
    batch = made(0)
    assert batch["users"].dtype == np.int32
    assert not batch["users"][batch["segments"] == 0].any()
    assert "users" not in batches(masked=masked, layout=layout, users=False)(0)


def test_users_without_a_target_have_no_number():
    data = split([1, 2, 5])
    assert Batches(data, size=3, length=4).user_numbers.tolist() == [1, 2, 3]
    context_only = Batches(data, size=3, length=4, bos_target=False)
    assert context_only.user_numbers.tolist() == [0, 2, 3]


def test_places_of_next_items_are_replaced_twice_and_independently():
    shared = SharedEmbeddings(sse_item=0.3)
    inputs, targets, _, _ = places(batches(shared))
    before, wanted, _, _ = places(batches())
    first = before == 0
    assert first.sum() >= USERS  # what begins a sequence is no item
    np.testing.assert_array_equal(inputs[first], 0)
    some = targets != wanted
    differ = some != (inputs != before)
    assert differ[~first].sum() < 5  # an item may be replaced by itself
    assert deviation(some.sum(), some.size, 0.3) < 5
    others = np.stack([inputs, targets])[:, some & ~first]
    items = DATA.sequences.items
    assert others.min() >= 1 and others.max() <= items
    # Uniform means of two independent draws: five standard deviations.
    spread = 5 / np.sqrt(12 * others.shape[1])
    assert np.abs(others.mean(1) / items - 0.5).max() < spread
    assert abs(np.corrcoef(others)[0, 1]) < 5 / np.sqrt(others.shape[1])


@pytest.mark.parametrize("p", [0.2, 0.6])
def test_the_released_probabilities(p):
    """A window with p, and then each of its places with 1 - p."""
    shared = SharedEmbeddings(sse_item=1 - p, sse_windows=p)
    changed = windows = drawn = size = 0
    for epoch in range(4):
        _, targets, _, window = places(batches(shared), epoch)
        _, wanted, _, _ = places(batches(), epoch)
        some = targets != wanted
        long = np.flatnonzero(np.bincount(window) == LENGTH)
        counts = np.bincount(window[some], minlength=window.max() + 1)[long]
        windows, drawn = windows + len(long), drawn + (counts > 0).sum()
        chosen = counts[counts > 0]
        changed, size = changed + chosen.sum(), size + LENGTH * len(chosen)
    none = p**LENGTH  # a chosen window in which no place is drawn
    assert deviation(drawn, windows, p * (1 - none)) < 5
    assert deviation(changed, size, (1 - p) / (1 - none)) < 5


def test_masked_items_stay_as_many_and_hidden():
    inputs, targets, _, _ = places(batches(SharedEmbeddings(sse_item=0.3), masked=True))
    before, wanted, _, _ = places(batches(masked=True))
    hidden = before == TOKEN
    np.testing.assert_array_equal(inputs == TOKEN, hidden)
    np.testing.assert_array_equal(targets > 0, hidden)
    for now, then, some in ((inputs, before, ~hidden), (targets, wanted, hidden)):
        changed = (now != then)[some]
        assert deviation(changed.sum(), changed.size, 0.3) < 5


def test_users_are_replaced_or_unknown():
    shared = SharedEmbeddings(sse_user=0.4, unknown_user=0.25)
    numbers = np.stack(
        [
            shared.replace_users(np.arange(USERS), seed=0, epoch=e, count=USERS)
            for e in range(20)
        ]
    )
    unknown = (numbers == 0).sum()
    assert deviation(unknown, numbers.size, 0.25) < 5
    others = numbers[(numbers != np.arange(USERS) + 1) & (numbers != 0)]
    assert deviation(others.size, numbers.size, 0.75 * 0.4 * (1 - 1 / USERS)) < 5
    assert others.min() >= 1 and others.max() <= USERS
    assert abs(others.mean() / USERS - 0.5) < 5 / np.sqrt(12 * others.size)
    # All windows of a user have the same one.
    _, targets, users, _ = places(batches(shared))
    owners = np.searchsorted(DATA.sequences.offsets, targets - 1, "right") - 1
    replaced = shared.replace_users(np.arange(USERS), seed=3, epoch=0, count=USERS)
    np.testing.assert_array_equal(users, replaced[owners])


@pytest.mark.parametrize("masked", [False, True], ids=["next", "masked"])
def test_replacements_depend_on_seed_epoch_and_event_alone(masked):
    shared = SharedEmbeddings(0.3, 0.5, 0.3, 0.2)

    def held(epoch=0, **options):
        found = places(batches(shared, masked, **options), epoch)[:3]
        return sorted(map(tuple, found.T.tolist()))

    one = held()
    assert held(layout="padded", size=7) == one  # in other batches
    assert held(epoch=1) != one and held(seed=4) != one
    # A resumed run sees what it would have seen.
    made, again = batches(shared, masked), batches(shared, masked)
    far = 3 * made.steps_per_epoch + 1
    for name, array in made(far).items():
        np.testing.assert_array_equal(array, again(far)[name])


@pytest.mark.parametrize("name", ["sse_item", "sse_user", "unknown_user"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_probability_outside_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"batch\.{name}: want 0 or more, below 1"):
        SharedEmbeddings(**{name: value})


@pytest.mark.parametrize("value", [0.0, 1.1, float("nan")])
def test_a_share_of_windows_outside_is_refused(value):
    with pytest.raises(ValueError, match=r"batch\.sse_windows: want above 0, at most"):
        SharedEmbeddings(sse_item=0.1, sse_windows=value)


def test_what_would_have_no_effect_is_refused():
    with pytest.raises(ValueError, match=r"sse_windows=0.5 has no effect"):
        SharedEmbeddings(sse_windows=0.5)
    with pytest.raises(ValueError, match=r"batch.sse_user=0.3: the model has no user"):
        batches(SharedEmbeddings(sse_user=0.3), users=False)
