import dataclasses

import numpy as np
import pytest
from scipy import signal

from jaxbio.clustering.spikes import preprocess
from jaxbio.clustering.spikes.probes import linear
from jaxbio.clustering.spikes.recording import Piece, Recording

RATE = 30000.0
CONFIG = preprocess.Config(piece=0.2)


def noise(seconds=2.0, channels=8, seed=0):
    """Noise whose channels have different sizes and share a part."""
    rng = np.random.default_rng(seed)
    traces = rng.standard_normal((int(seconds * RATE), channels))
    traces += 0.7 * traces[:, ::-1]
    return traces * np.linspace(1, 20, channels) + 500


def recorded(traces):
    return Recording(traces, RATE, linear(traces.shape[1] // 2, 20.0))


def scaled(recording, fitted):
    out = np.empty(recording.traces.shape, np.float32)
    preprocess.scale_all(recording, fitted, out)
    return out


def test_pieces_are_the_whole_away_from_its_ends():
    recording = recorded(noise())
    fitted = preprocess.fit(recording, CONFIG)
    found = scaled(recording, fitted)
    sections = signal.butter(3, (300, 6000), "bandpass", fs=RATE, output="sos")
    whole = signal.sosfiltfilt(sections, recording.traces, axis=0)
    whole -= np.median(whole, axis=1, keepdims=True)
    whole /= fitted.scale
    inside = slice(600, -600)
    np.testing.assert_allclose(found[inside], whole[inside], atol=5e-3)


def test_scale_is_that_of_the_noise_and_not_of_spikes():
    # The median of few channels is not normal, and a MAD would not be its sd.
    config = dataclasses.replace(CONFIG, reference=False)
    traces = noise() - 500
    quiet = preprocess.fit(recorded(traces), config)
    spiky = traces.copy()
    spiky[::3000] -= 1000
    loud = preprocess.fit(recorded(spiky), config)
    np.testing.assert_allclose(loud.scale, quiet.scale, rtol=0.1)
    np.testing.assert_allclose(loud.covariance, quiet.covariance, atol=0.15)
    assert scaled(recorded(traces), quiet).std(0) == pytest.approx(1, abs=0.05)


def test_white_traces_are_white():
    recording = recorded(noise(4.0))
    fitted = preprocess.fit(
        recording, dataclasses.replace(CONFIG, quiet=10.0, reference=False)
    )
    white = preprocess.white(scaled(recording, fitted), fitted)
    covariance = np.cov(white.T)
    covariance /= covariance[0, 0]
    np.testing.assert_allclose(covariance, np.eye(8), atol=0.05)
    spectrum = signal.welch(white[:, 0], RATE, nperseg=512)
    inside = spectrum[1][(spectrum[0] > 600) & (spectrum[0] < 5000)]
    # White with power 1 per sample, so 2 / rate per Hz of the positive ones.
    np.testing.assert_allclose(inside * RATE / 2, 1, atol=0.3)


def test_whitening_of_templates_is_that_of_traces():
    recording = recorded(noise())
    fitted = preprocess.fit(recording, CONFIG)
    template = np.zeros((2, 100, 8), np.float32)
    template[:, 40:60] = np.random.default_rng(1).standard_normal((2, 20, 8))
    whole = preprocess.white(np.concatenate(list(template)), fitted)
    found = preprocess.white(template, fitted)
    np.testing.assert_allclose(found.reshape(200, 8), whole, atol=1e-4)


def test_local_whitening_looks_only_nearby():
    positions = linear(6, 20.0)
    covariance = np.exp(-np.linalg.norm(positions[:, None] - positions, axis=-1) / 50)
    found = preprocess.local_whitening(covariance, positions, 30.0)
    far = np.linalg.norm(positions[:, None] - positions, axis=-1) > 30
    assert not found[far].any()
    everywhere = preprocess.local_whitening(covariance, positions, 1e3)
    np.testing.assert_allclose(
        everywhere @ covariance @ everywhere, np.eye(12), atol=1e-4
    )


def test_inverse_root_has_a_floor():
    root = preprocess.inverse_root(np.diag([4.0, 1e-9]), floor=0.25)
    np.testing.assert_allclose(root, np.diag([0.5, 1.0]), atol=1e-6)


def test_one_channel_is_enough():
    recording = Recording(noise(channels=1), RATE, np.zeros((1, 2)))
    fitted = preprocess.fit(recording, CONFIG)
    assert scaled(recording, fitted).std() == pytest.approx(1, abs=0.05)
    assert fitted.whitening.shape == (1, 1)


@pytest.mark.parametrize(("channels", "referenced"), [(4, False), (8, True)])
def test_what_all_sites_of_a_tetrode_see_is_not_taken_away(channels, referenced):
    """Every channel has the same signal: the median is all of it."""
    traces = np.repeat(noise(channels=1), channels, axis=1)
    traces += 0.01 * np.random.default_rng(1).standard_normal(traces.shape)
    fitted = preprocess.fit(recorded(traces), CONFIG)
    alike = np.corrcoef(scaled(recorded(traces), fitted).T)
    assert (alike[0, 1] < 0.5) == referenced


def test_nan_is_named():
    traces = noise()
    traces[9000, 3] = np.nan
    with pytest.raises(ValueError, match="sample 9000 of channel 3 is nan"):
        preprocess.fit(recorded(traces), CONFIG)


def test_too_short_for_the_filter():
    recording = recorded(noise()[:600])
    with pytest.raises(ValueError, match="600 samples is too short for the filter"):
        preprocess.fit(recording, CONFIG)


def test_a_constant_channel():
    traces = noise()
    traces[:, 5] = 7
    config = dataclasses.replace(CONFIG, reference=False)
    with pytest.raises(ValueError, match="channel 5 has no noise"):
        preprocess.fit(recorded(traces), config)


@pytest.mark.parametrize("band", [(0.0, 6000.0), (500.0, 400.0), (300.0, 15000.0)])
def test_a_band_that_is_none(band):
    config = dataclasses.replace(CONFIG, low=band[0], high=band[1])
    with pytest.raises(ValueError, match="a pass band of"):
        preprocess.fit(recorded(noise(0.5)), config)


def test_a_piece_alone():
    recording = recorded(noise())
    fitted = preprocess.fit(recording, CONFIG)
    piece = Piece(6000, 9000, 5400, 9600)
    found = preprocess.scaled(recording, fitted, piece)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scaled(recording, fitted)[6000:9000], atol=5e-3)
