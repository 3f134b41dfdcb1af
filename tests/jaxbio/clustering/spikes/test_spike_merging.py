import numpy as np
import pytest

from jaxbio.clustering.spikes import merging
from jaxbio.clustering.spikes.linking import link
from jaxbio.clustering.spikes.quality import early_share, quality
from jaxbio.clustering.spikes.templates import (
    mean_waveforms,
    similarity,
    without_noise,
)

RATE, LENGTH = 30000.0, 30000 * 60
CONFIG = merging.Config()


def train(seed, rate=20.0):
    """A train with a refractory period of 4 ms."""
    gaps = 0.004 + np.random.default_rng(seed).exponential(1 / rate, 5000)
    times = (np.cumsum(gaps) * RATE).astype(int)
    return times[times < LENGTH]


def bumps(*places, size=20.0, channels=3):
    """Templates with a trough at each place."""
    time = np.arange(60)[:, None]
    sizes = size * np.arange(1, channels + 1) / channels
    return np.stack([-np.exp(-(((time - p) / 4) ** 2)) * sizes for p in places])


def grouped(templates, trains, config=CONFIG):
    into, moved = merging.groups(templates, trains, LENGTH, RATE, config)
    return into.tolist(), moved.tolist()


def test_close_pairs():
    one, other = np.array([0, 100, 200]), np.array([5, 103, 140, 195])
    assert merging.close_pairs(one, other, 4, 60) == 4
    assert merging.close_pairs(one, other, 0, 4) == 1


def test_halves_of_a_train_are_one_unit_and_two_trains_are_not():
    whole = train(0)
    templates = bumps(20, 20) * np.array([1, 0.8])[:, None, None]
    halves = [whole[::3], np.delete(whole, slice(None, None, 3))]
    assert grouped(templates, halves) == ([1, 1], [0, 0])
    assert grouped(templates, [train(1), train(2)]) == ([0, 1], [0, 0])


def test_a_shift_is_taken_along():
    """The later template's spikes are early by as much."""
    whole = train(3)
    halves = [whole[::2], whole[1::2] - 6]
    into, moved = grouped(bumps(20, 26), halves)
    assert (into, moved) == ([0, 0], [0, 6])
    assert grouped(bumps(26, 20), halves[::-1])[1] in ([0, -6], [6, 0])


def test_shifts_add_up_along_a_chain():
    whole = train(4)
    trains = [whole[::2] - 4, whole[1::4] - 8, whole[3::4]]
    into, moved = grouped(bumps(24, 28, 20), trains)
    merged = [t + m for t, m in zip(trains, moved, strict=True)]
    assert into == [0, 0, 0]
    np.testing.assert_array_equal(np.sort(np.concatenate(merged)), whole - 4)


def test_few_spikes_do_not_tell():
    few = [train(5)[::60], train(5)[30::60]]
    alike = bumps(20, 20) * np.array([1, 0.75])[:, None, None]
    assert grouped(alike, few)[0] == [0, 0] or grouped(alike, few)[0] == [1, 1]
    strict = merging.Config(certain=np.inf)
    assert grouped(alike, few, strict)[0] == [0, 1]
    near = bumps(20, 20) * np.array([1, 0.95])[:, None, None]
    assert len(set(grouped(near, few, strict)[0])) == 1


def test_other_sizes_are_other_units():
    whole = train(6)
    templates = bumps(20, 20) * np.array([1, 0.5])[:, None, None]
    assert grouped(templates, [whole[::2], whole[1::2]])[0] == [0, 1]


def test_echoes():
    whole = train(7)
    late = np.sort(np.concatenate([whole[::2] + 40, train(8, rate=3.0)]))
    norms = np.array([50.0, 9.0, 8.0])
    found = merging.echoes(norms, [whole, late, train(9)], 90, LENGTH)
    assert found.tolist() == [False, True, False]
    assert not merging.echoes(norms[::-1], [whole, late, whole[:0]], 90, LENGTH).any()


def test_similarity_against_a_loop():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 30, 3)), rng.standard_normal((3, 30, 3))
    other[1] = np.roll(one[0], 4, axis=0)
    cosines, shifts = similarity(one, other, 6)
    for a in range(2):
        for b in range(3):
            dots = [
                sum(one[a, t] @ other[b, t + s] for t in range(30) if 0 <= t + s < 30)
                for s in range(-6, 7)
            ]
            wanted = max(dots) / np.linalg.norm(one[a]) / np.linalg.norm(other[b])
            assert cosines[a, b] == pytest.approx(wanted, abs=1e-5)
            assert shifts[a, b] == np.argmax(dots) - 6
    assert shifts[0, 1] == 4
    assert similarity(one, np.zeros((1, 30, 3)), 2)[0].tolist() == [[0], [0]]


def test_mean_waveforms_and_their_noise():
    traces = np.random.default_rng(1).standard_normal((60000, 4)).astype(np.float32)
    times = np.arange(100, 59000, 100)
    for time in times:
        traces[time - 5 : time + 10, 1] -= 6
    found = mean_waveforms(traces, [times, times[:0]], 20, 50)
    assert not found[1].any()
    np.testing.assert_allclose(found[0, 15:30, 1], -6, atol=0.25)
    clean = without_noise(found, np.array([len(times), 0]))
    assert np.flatnonzero(clean[0].any(0)).tolist() == [1]
    # The median does not mind a third of other waveforms.
    wrong = np.concatenate([times[:200], times[:100] + 50])
    robust = mean_waveforms(traces, [wrong], 20, 50, robust=True)
    plain = mean_waveforms(traces, [wrong], 20, 50)
    assert robust[0, 20, 1] < plain[0, 20, 1] - 0.5


def test_units_are_linked_through_slow_drift():
    place = np.linspace(20, 40, 6)
    parts = [
        np.concatenate([bumps(p), bumps(10, channels=1).repeat(3, 2)]) for p in place
    ]
    parts[2] = parts[2][::-1]
    parts[3] = parts[3][:1]
    names = [name.tolist() for name in link(parts, 0.8, 3)]
    assert names == [[0, 1], [0, 1], [1, 0], [0], [0, 1], [0, 1]]


def test_new_units_get_new_names():
    parts = [bumps(20), np.zeros((0, 60, 3)), np.concatenate([bumps(45), bumps(20)])]
    assert [name.tolist() for name in link(parts, 0.9, 3)] == [[0], [], [1, 0]]


def test_quality():
    whole = train(10)
    templates = bumps(20, 20) * np.array([1, 0.5])[:, None, None]
    doubled = np.sort(np.concatenate([whole[:200], whole[:200] + 20]))
    trains = [whole, doubled]
    sizes = [np.full(len(whole), 1.0), np.tile([0.9, 1.1], 200)]
    found = quality(trains, sizes, templates, templates, LENGTH, RATE)
    assert found.spikes.tolist() == [len(whole), 400]
    np.testing.assert_allclose(found.rate, found.spikes / 60)
    np.testing.assert_allclose(found.depth, [20, 10])
    np.testing.assert_allclose(found.nearest, np.linalg.norm(templates[1]), rtol=1e-5)
    assert found.refractory[0] == 0 and found.refractory[1] > 0.49
    np.testing.assert_allclose(found.spread, [0, 0.1])
    assert found.presence[0] == 1 and found.presence[1] < 0.5
    assert early_share(np.array([5]), RATE) == 0


def test_quality_of_a_single_unit_and_of_none():
    found = quality([train(0)], [np.ones(9)], bumps(20), bumps(20), LENGTH, RATE)
    assert np.isinf(found.nearest).all()
    empty = np.zeros((0, 60, 3))
    assert quality([], [], empty, empty, LENGTH, RATE).spikes.shape == (0,)
