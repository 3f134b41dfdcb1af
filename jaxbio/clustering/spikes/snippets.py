"""What a clusterer sees of a snippet, the same in training and in use.

`prepare` aligns and whitens; `features` reduces to a few numbers. All of it is of NumPy
or JAX, whichever the snippets are of.
"""

import math
from typing import Any

import numpy as np

from jaxbio.clustering.spikes.extract import REACH, align, interpolation
from jaxbio.clustering.spikes.preprocess import LAGS, POWER_FLOOR, inverse_root

RATE = 30000.0  # samples per second
LENGTH = LAGS  # samples in a snippet: those over which noise can be whitened
BEFORE = 12  # of them before the trough
CHANNELS = 7
FUNCTIONS = 5  # of time, per channel
_CENTRE = 13.0  # samples
_WIDTH = 3.0  # samples


def resampling(rate: float, wanted: float = RATE) -> tuple[int, np.ndarray]:
    """How to cut snippets of a recording of any rate.

    By windowed sinc interpolation, of traces that were band-passed below half of both
    rates.

    Args:
        rate: Of the recording, samples per second.
        wanted: Of the snippets.

    Returns:
        Samples before a spike, and the matrix (LENGTH, length), float32, that makes a
        snippet of a window of so many samples.
    """
    if rate == wanted:
        return BEFORE, np.eye(LENGTH, dtype=np.float32)
    times = (np.arange(LENGTH) - BEFORE) * (rate / wanted)
    before = math.ceil(-times[0]) + REACH
    after = math.ceil(times[-1]) + REACH
    return before, interpolation(times, np.arange(-before, after + 1))


def resampled_autocovariance(
    autocovariance: np.ndarray, rate: float, wanted: float = RATE
) -> np.ndarray:
    """(lags,) at the wanted rate, of (lags,) at the rate of a recording."""
    if rate == wanted:
        return np.asarray(autocovariance)
    lags = np.arange(len(autocovariance))
    both = np.concatenate([-lags[:0:-1], lags])
    values = np.asarray(autocovariance)[np.abs(both)]
    return interpolation(lags * (rate / wanted), both) @ values


def temporal_whitening(autocovariance: np.ndarray) -> np.ndarray:
    """(lags, lags) float32, for noise of this (lags,) autocovariance."""
    lags = np.arange(len(autocovariance))
    apart = np.abs(lags[:, None] - lags)
    return inverse_root(np.asarray(autocovariance)[apart], POWER_FLOOR)


def spatial_whitening(covariance: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Whitening of the channels of one window.

    Args:
        covariance: (all channels, all channels) of the noise.
        channels: (count,) of the window, -1 where there is none.

    Returns:
        (count, count) float32; a missing channel stays as it is.
    """
    found = np.eye(len(channels), dtype=np.float32)
    (there,) = np.nonzero(channels >= 0)
    known = channels[there]
    root = inverse_root(covariance[np.ix_(known, known)], floor=1e-3)
    found[np.ix_(there, there)] = root
    return found


def noise_statistics(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the noise is like, from windows without spikes.

    Args:
        windows: (windows, time, channels), noise sd.

    Returns:
        (time,) autocovariance, 1 at lag 0, and (channels, channels) covariance.
    """
    windows = np.asarray(windows, np.float64)
    covariance = np.einsum("ntc,ntd->cd", windows, windows) / windows[..., 0].size
    length = windows.shape[1]
    lagged = np.array(
        [
            np.mean(windows[:, lag:] * windows[:, : length - lag])
            for lag in range(length)
        ]
    )
    return lagged / lagged[0], covariance


def prepare(snippets: Any, temporal: Any, spatial: Any) -> Any:
    """Aligns and whitens snippets.

    Args:
        snippets: (spikes, LENGTH, channels), noise sd, troughs at `BEFORE` on the first
            channel.
        temporal: (LENGTH, LENGTH), see `temporal_whitening`.
        spatial: (channels, channels), see `spatial_whitening`.

    Returns:
        The same shape and kind.
    """
    xp = snippets.__array_namespace__()
    aligned = align(snippets, BEFORE)
    return xp.einsum("st,ntc,cd->nsd", temporal, aligned, spatial)


def time_basis(length: int = LENGTH) -> np.ndarray:
    """(length, functions) float32 orthonormal: a bell around the trough, times powers.

    What comes long before or after the trough is mostly another neuron's, and leaving
    it out separates clusters better than keeping it.
    """
    away = (np.arange(length) - _CENTRE) / _WIDTH
    bells = np.exp(-(away**2) / 2)[:, None] * away[:, None] ** np.arange(FUNCTIONS)
    return np.linalg.qr(bells)[0].astype(np.float32)


def features(prepared: Any, valid: Any, count: int) -> Any:
    """The directions that the snippets of one problem lie along most.

    Projections on `time_basis`, then on the principal axes about the origin, not about
    the mean: amplitudes stay what they are. Axes have their largest loading positive.

    Args:
        prepared: (spikes, LENGTH, channels), see `prepare`.
        valid: (spikes,) bool; the others count for nothing and become zeros.
        count: Features, at most 5 times the channels.

    Returns:
        (spikes, count) float32, noise sd; the longest axis first.
    """
    xp = prepared.__array_namespace__()
    basis = xp.asarray(time_basis(prepared.shape[1]))
    found = xp.einsum("ntc,tk->nkc", prepared, basis)
    found = found.reshape(len(found), -1)
    if not 1 <= count <= found.shape[1]:
        raise ValueError(
            f"{prepared.shape[2]} channels give 1 to {found.shape[1]} features, "
            f"not {count}"
        )
    found = xp.where(valid[:, None], found, 0)
    total = xp.maximum(valid.sum(), 1)
    axes = xp.linalg.eigh(found.T @ found / total)[1][:, ::-1][:, :count]
    largest = xp.argmax(xp.abs(axes), axis=0)[None]
    axes = axes * xp.sign(xp.take_along_axis(axes, largest, axis=0))
    return found @ axes
