import dataclasses

import jax
import numpy as np
import pytest

from jaxbio.clustering.spikes import matching, preprocess, sort
from jaxbio.clustering.spikes.recording import Recording
from jaxbio.clustering.spikes.result import trains_of
from tests.jaxbio.clustering.spikes.toys import (
    RATE,
    best_accuracies,
    mean_shift,
    recording,
)

CONFIG = sort.Config(rounds=1)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def sorted_toy():
    made, samples, labels = recording()
    return sort.sort(made, mean_shift, KEY, CONFIG), made, samples, labels


def test_all_units_are_found(sorted_toy):
    found, _, samples, labels = sorted_toy
    assert len(found.templates) == 3
    assert min(best_accuracies(found, samples, labels)) > 0.95


def test_the_record(sorted_toy):
    found, made, *_ = sorted_toy
    assert (np.diff(found.samples) >= 0).all() and found.samples.dtype == np.int64
    assert set(found.labels) == {0, 1, 2}
    units, window, channels = found.templates.shape
    assert (units, window, channels) == (3, 120, 8) and found.before == 30
    troughs = found.templates[np.arange(3), :, found.channels].argmin(1)
    assert (np.abs(troughs - found.before) <= 1).all()
    np.testing.assert_allclose(found.amplitudes.mean(), 1, atol=0.03)
    assert found.length == made.samples
    assert found.quality.spikes.sum() == len(found.samples)
    assert [len(t) for t in found.trains] == found.quality.spikes.tolist()


def test_the_same_again(sorted_toy):
    found, made, *_ = sorted_toy
    again = sort.sort(made, mean_shift, KEY, CONFIG)
    for name in ("samples", "labels", "amplitudes", "templates"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))


def test_units_are_linked_from_part_to_part():
    made, samples, labels = recording(seconds=9.0, rate=25.0, drift=0.25)
    config = dataclasses.replace(CONFIG, part=3.0)
    found = sort.sort(made, mean_shift, KEY, config)
    assert len(found.templates) == 3
    assert min(best_accuracies(found, samples, labels)) > 0.9


def test_a_second_round_finds_what_a_clusterer_left_out():
    """The first time this clusterer only takes the deepest of the snippets."""
    made, samples, labels = recording(rate=20.0)
    calls = []

    def cluster(snippets, key):
        calls.append(len(snippets))
        found = mean_shift(snippets, key)
        sizes = np.bincount(found)
        return np.where(sizes[found] == sizes.max(), found, -1)

    config = dataclasses.replace(CONFIG, rounds=2)
    found = sort.sort(made, cluster, KEY, config)
    assert min(best_accuracies(found, samples, labels)) > 0.9


def test_no_spikes():
    noise = np.random.default_rng(0).standard_normal((40000, 4)).astype(np.float32)
    made = Recording(noise, RATE, np.arange(8.0).reshape(4, 2) * 20)
    found = sort.sort(made, mean_shift, KEY, CONFIG)
    assert found.templates.shape == (0, 120, 4)
    assert len(found.samples) == len(found.channels) == 0
    assert found.trains == []


def test_one_channel():
    made, samples, labels = recording(units=1, rate=20.0)
    one = Recording(made.traces[:, :1], RATE, made.positions[:1])
    found = sort.sort(one, mean_shift, KEY, CONFIG)
    assert len(found.templates) == 1
    assert min(best_accuracies(found, samples, labels)) > 0.9


def test_bad_traces():
    made, *_ = recording(seconds=1.0)
    traces = made.traces.copy()
    traces[77, 2] = np.nan
    with pytest.raises(ValueError, match="sample 77 of channel 2 is nan"):
        sort.sort(dataclasses.replace(made, traces=traces), mean_shift, KEY, CONFIG)
    with pytest.raises(ValueError, match="too short for the filter"):
        sort.sort(dataclasses.replace(made, traces=made.traces[:300]), mean_shift, KEY)


def test_trains_of():
    samples, labels = np.array([1, 2, 3, 4]), np.array([2, 0, 2, 2])
    trains = trains_of(samples, labels, 4)
    assert [train.tolist() for train in trains] == [[2], [], [1, 3, 4], []]


def test_what_is_no_unit_is_dropped():
    made, *_ = recording(seconds=2.0)
    fitted = preprocess.fit(made, preprocess.Config())
    traces = np.zeros(made.traces.shape, np.float32)
    work = sort._Work(traces, traces, RATE, made.positions, fitted, CONFIG)
    time = np.arange(120)[:, None]
    known = np.stack(
        [
            -np.exp(-(((time - 30) / 4) ** 2)) * size * np.eye(8)[channel]
            for channel, size in ((0, 40), (3, 9), (6, 20), (7, 15), (5, 1))
        ]
    ).astype(np.float32)
    rng = np.random.default_rng(0)
    clean = np.cumsum(150 + rng.integers(0, 900, 100))
    others = np.cumsum(150 + rng.integers(0, 900, 100))
    double = np.sort(np.concatenate([others, others + 25]))
    few = clean[:3] + 60
    own = np.sort(rng.choice(59000, 50, replace=False))
    trains = [clean, clean + 40, double, few, own]
    # In turn: a unit, its echo, two neurons as one, too few spikes, noise.
    matches = matching.Matches(
        np.concatenate(trains),
        np.repeat(np.arange(5), [len(t) for t in trains]).astype(np.int32),
        np.ones(453, np.float32),
        np.ones(453, np.float32),
        np.zeros(453, np.int32),
    )
    kept, found = sort._settled(work, known, matches)
    np.testing.assert_array_equal(kept, known[:1])
    np.testing.assert_array_equal(found.samples, clean)
