import dataclasses

import numpy as np
import pytest

from jaxbio.clustering.spikes import matching
from jaxbio.clustering.spikes.extract import shifts

BEFORE, LENGTH = 20, 60
CONFIG = matching.Config()


def templates(seed=0, units=3, channels=4):
    """Different smooth templates."""
    rng = np.random.default_rng(seed)
    time = np.arange(LENGTH)
    trough = -np.exp(-(((time - BEFORE) / 4) ** 2))
    hill = np.exp(-(((time - BEFORE - 14) / 7) ** 2))
    sizes = rng.uniform(2, 12, (units, channels))
    after = rng.uniform(0.1, 0.6, (units, channels))
    waves = trough[:, None] + after[:, None] * hill[:, None]
    return (waves * sizes[:, None]).astype(np.float32)


def traces_of(known, spikes, length=3000, noise=0.0):
    """Templates added up: (sample, unit, amplitude) each."""
    traces = np.random.default_rng(9).standard_normal((length + 200, known.shape[2]))
    traces *= noise
    for sample, unit, amplitude in spikes:
        start = sample - BEFORE + 100
        traces[start : start + LENGTH] += amplitude * known[unit]
    return traces[100:-100].astype(np.float32)


def matched(traces, known, config=CONFIG):
    return matching.match(
        traces, matching.dictionary(known, BEFORE, config.steps), 15, config
    )


@pytest.mark.parametrize("length", [40, 1500])
def test_correlations_are_dot_products_of_windows(length):
    known = templates()
    traces = np.random.default_rng(1).standard_normal((length, 4)).astype(np.float32)
    found = matching.correlate(traces, known, BEFORE)
    padded = np.pad(traces.astype(np.float64), ((BEFORE, LENGTH), (0, 0)))
    wanted = [
        [(padded[t : t + LENGTH] * template).sum() for template in known]
        for t in range(length)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_cross_correlations_are_what_a_spike_changes():
    known = templates()
    dictionary = matching.dictionary(known, BEFORE, 5)
    unit, step = 1, 3
    variant = shifts(LENGTH, 5)[step] @ known[unit]
    np.testing.assert_allclose(dictionary.variants[unit, step], variant, atol=1e-5)
    assert dictionary.norms[unit, step] == pytest.approx((variant**2).sum(), rel=1e-4)
    traces = np.zeros((400, 4), np.float32)
    traces[200 - BEFORE : 200 - BEFORE + LENGTH] = variant
    wanted = matching.correlate(traces, known, BEFORE)[141:260]
    np.testing.assert_allclose(
        dictionary.cross[unit * 5 + step], wanted, rtol=1e-3, atol=1e-2
    )


def test_spikes_that_overlap_are_told_apart():
    spikes = [
        (13, 0, 1.0),  # its window begins before the recording
        (500, 0, 1.1),
        (512, 1, 0.95),
        (530, 2, 1.0),
        (1500, 2, 1.0),
        (2985, 1, 1.0),  # and its, ends after it
    ]
    found = matched(traces_of(templates(), spikes, noise=1.0), templates())
    assert found.units.tolist() == [unit for _, unit, _ in spikes]
    np.testing.assert_allclose(found.samples, [s[0] for s in spikes], atol=1)
    np.testing.assert_allclose(found.amplitudes, [s[2] for s in spikes], atol=0.12)
    assert (found.gains > CONFIG.gain).all()


def test_a_gain_is_how_much_smaller_the_residual_gets():
    known = templates(units=1)
    traces = traces_of(known, [(500, 0, 1.0)])
    found = matched(traces, known)
    (amplitude,) = found.amplitudes
    assert amplitude == pytest.approx(1, abs=1e-3)
    assert found.gains[0] == pytest.approx((known**2).sum(), rel=1e-3)


def test_a_shifted_spike_is_matched_by_its_shift():
    known = templates(units=1)
    moved = shifts(LENGTH, 5)[4] @ known[0]
    found = matched(traces_of(moved[None], [(500, 0, 1.0)]), known)
    assert (found.samples.tolist(), found.steps.tolist()) == ([500], [4])


def test_a_large_template_does_not_explain_a_small_spike():
    known = templates(units=1)
    assert len(matched(traces_of(known, [(500, 0, 0.3)]), known).samples) == 0


def test_what_a_wrong_template_leaves_is_no_spike():
    """A large spike, 1.5 percent unlike its template, and a template like the rest."""
    bump = np.exp(-(((np.arange(LENGTH) - BEFORE) / 4) ** 2))
    bump /= np.linalg.norm(bump)
    small = np.zeros((LENGTH, 2))
    small[:, 0] = -20 * bump
    large = -2000 * bump[:, None] * [0.6, 0.8]
    known = np.stack([large, small]).astype(np.float32)
    traces = traces_of((large + 1.5 * small)[None], [(500, 0, 1.0)])
    assert matched(traces, known).units.tolist() == [0]
    sure = dataclasses.replace(CONFIG, mismatch=0.0)
    assert sorted(matched(traces, known, sure).units) == [0, 1]


def test_noise_is_no_spike():
    found = matched(traces_of(templates(), [], length=60000, noise=1.0), templates())
    assert len(found.samples) == 0
    assert matching.none().samples.dtype == np.int64
