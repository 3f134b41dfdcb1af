"""From raw traces to units of the noise: band-pass, reference, scale, whitening.

Everything is worked out piece by piece with margins wide enough that the joins do not
show. What the noise is like is estimated where no spike is near.
"""

import dataclasses

import numpy as np

from jaxbio.clustering.spikes.recording import Piece, Traces, pieces

# Of the noise's greatest power: where it has less, it was filtered out.
POWER_FLOOR = 0.1
_REFERENCE = 8  # channels, of which a spike does not reach half
LAGS = 32  # samples of the noise's autocovariance
_MAD_TO_SD = 1 / 0.6745  # of a normal distribution


@dataclasses.dataclass(frozen=True)
class Config:
    """How traces are prepared.

    Attributes:
        low, high: Pass band, Hz.
        order: Of the Butterworth filter, which runs forwards and backwards.
        reference: Whether the median over the channels is taken away from each of
            them; never done with fewer than eight, as on the sites of a tetrode, of
            which a spike reaches so many that the median has a part of it.
        piece: Seconds at a time.
        margin: Seconds read on both sides of a piece.
        fitted: Pieces, evenly spaced, from which the noise is estimated.
        quiet: Samples further from zero than this many noise sd are signal.
        blank: Seconds on both sides of such a sample that count as signal too.
        radius: Micrometres; channels that are whitened together.
    """

    low: float = 300.0
    high: float = 6000.0
    order: int = 3
    reference: bool = True
    piece: float = 1.0
    margin: float = 0.02
    fitted: int = 12
    quiet: float = 3.5
    blank: float = 0.0008
    radius: float = 100.0


@dataclasses.dataclass(frozen=True, eq=False)
class Preprocessing:
    """What was estimated from a recording.

    Attributes:
        config: See `Config`.
        sections: The filter, second-order sections.
        scale: (channels,) noise sd of the filtered traces, in their unit.
        covariance: (channels, channels) of the noise of the scaled traces.
        autocovariance: (LAGS,) of the noise, mean over channels, 1 at lag 0.
        whitening: (channels, channels); scaled traces times this are white in space.
        taps: (2 * LAGS - 1,) symmetric filter; what it gives is white in time, inside
            the pass band.
    """

    config: Config
    sections: np.ndarray
    scale: np.ndarray
    covariance: np.ndarray
    autocovariance: np.ndarray
    whitening: np.ndarray
    taps: np.ndarray


def fit(recording: Traces, config: Config) -> Preprocessing:
    """Estimates scale and covariance of the noise.

    Raises:
        ValueError: The recording is shorter than the filter needs, holds NaN, or has a
            channel without noise; the pass band is none at its rate.
    """
    sections = band_pass(config.low, config.high, config.order, recording.rate)
    length = round(config.piece * recording.rate)
    every = list(pieces(recording.samples, length, _margin(recording, config)))
    chosen = [
        every[i]
        for i in np.unique(np.linspace(0, len(every) - 1, config.fitted).astype(int))
    ]
    parts = [_filtered(recording, piece, sections, config) for piece in chosen]
    # Not about the median: the filter leaves no mean.
    scale = np.median(np.abs(np.concatenate(parts)), axis=0) * _MAD_TO_SD
    if (dead := np.flatnonzero(scale <= 0)).size:
        raise ValueError(
            f"channel {dead[0]} has no noise after the filter (it is constant, or too "
            "many of its samples are); leave it out"
        )
    blank = round(config.blank * recording.rate)
    quiet = [_quiet(part / scale, config.quiet, blank) for part in parts]
    parts = [part / scale * still for part, still in zip(parts, quiet, strict=True)]
    covariance = _covariance(parts, quiet)
    autocovariance = _autocovariance(parts, quiet, LAGS)
    return Preprocessing(
        config,
        sections,
        scale.astype(np.float32),
        covariance.astype(np.float32),
        autocovariance.astype(np.float32),
        local_whitening(covariance, recording.positions, config.radius),
        whitening_taps(autocovariance),
    )


def band_pass(low: float, high: float, order: int, rate: float) -> np.ndarray:
    """Second-order sections of a Butterworth filter, Hz, samples per second.

    Raises:
        ValueError: That is no pass band at this rate.
    """
    from scipy import signal

    if not 0 < low < high < rate / 2:
        raise ValueError(
            f"a pass band of {low} to {high} Hz is none at {rate} samples per second: "
            "it must lie between 0 and half of that"
        )
    return signal.butter(order, (low, high), "bandpass", fs=rate, output="sos")


def scaled(recording: Traces, fitted: Preprocessing, piece: Piece) -> np.ndarray:
    """(stop - start, channels) float32 filtered samples of a piece, in noise sd."""
    found = _filtered(recording, piece, fitted.sections, fitted.config)
    return found / fitted.scale


def scale_all(recording: Traces, fitted: Preprocessing, out: np.ndarray) -> None:
    """Writes the whole recording, `scaled`, into `out` (an array or memory map)."""
    length = round(fitted.config.piece * recording.rate)
    margin = _margin(recording, fitted.config)
    for piece in pieces(recording.samples, length, margin):
        out[piece.start : piece.stop] = scaled(recording, fitted, piece)


def white(traces: np.ndarray, fitted: Preprocessing) -> np.ndarray:
    """Whitens scaled traces, or templates, in space and time.

    Args:
        traces: (..., time, channels), noise sd; zeros are taken to lie beyond.
        fitted: See `fit`.

    Returns:
        The same shape, float32.
    """
    from scipy import signal

    if traces.size == 0:
        return traces  # oaconvolve would forget their shape
    taps = fitted.taps.reshape((1,) * (traces.ndim - 2) + (-1, 1))
    found = signal.oaconvolve(traces @ fitted.whitening, taps, "same", axes=-2)
    return found.astype(np.float32, copy=False)


def whitening_taps(autocovariance: np.ndarray) -> np.ndarray:
    """The filter over the root of the noise's spectrum.

    Args:
        autocovariance: (lags,), 1 at lag 0.

    Returns:
        (2 * lags - 1,) float32, symmetric. Frequencies with less than a tenth of the
        greatest power, outside the pass band, are amplified like those with a tenth.
    """
    lags = len(autocovariance)
    # Let down to zero gently, or the spectrum would ring below zero.
    fading = autocovariance * np.cos(np.pi / 2 * np.arange(lags) / lags) ** 2
    around = np.concatenate([fading, [0.0], fading[:0:-1]])
    power = np.fft.rfft(around).real
    power = np.maximum(power, POWER_FLOOR * power.max())
    taps = np.fft.irfft(power**-0.5, len(around))
    return np.roll(taps, lags - 1)[: 2 * lags - 1].astype(np.float32)


def inverse_root(covariance: np.ndarray, floor: float) -> np.ndarray:
    """The symmetric inverse square root.

    Args:
        covariance: (n, n) symmetric.
        floor: Eigenvalues below this share of the largest count as this share.
    """
    values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    values = np.maximum(values, floor * values[-1])
    return ((vectors / np.sqrt(values)) @ vectors.T).astype(np.float32)


def local_whitening(
    covariance: np.ndarray, positions: np.ndarray, radius: float
) -> np.ndarray:
    """Whitening in which each channel looks only at those within `radius`.

    Args:
        covariance: (channels, channels) of the noise.
        positions: (channels, 2), micrometres.
        radius: Micrometres.

    Returns:
        (channels, channels) float32; column c makes channel c.
    """
    whitening = np.zeros(covariance.shape, np.float32)
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    for channel in range(len(covariance)):
        (near,) = np.nonzero(distance[channel] <= radius)
        root = inverse_root(covariance[np.ix_(near, near)], floor=1e-3)
        whitening[near, channel] = root[:, near == channel][:, 0]
    return whitening


def _margin(recording: Traces, config: Config) -> int:
    return round(config.margin * recording.rate)


def _filtered(
    recording: Traces, piece: Piece, sections: np.ndarray, config: Config
) -> np.ndarray:
    from scipy import signal

    traces = recording.get_traces(piece.low, piece.high)
    traces = np.asarray(traces, np.float32)
    if not np.isfinite(traces).all():
        sample, channel = np.argwhere(~np.isfinite(traces))[0]
        raise ValueError(
            f"sample {piece.low + sample} of channel {channel} is "
            f"{traces[sample, channel]}; a recording must be finite"
        )
    shortest = _margin(recording, config)
    if len(traces) <= shortest:
        raise ValueError(
            f"a recording of {recording.samples} samples is too short for the filter; "
            f"it needs more than {shortest} ({config.margin} s)"
        )
    # In time order in memory: the filter runs along it.
    found = np.ascontiguousarray(traces.T)
    found = signal.sosfiltfilt(sections, found, padlen=shortest)
    found = found[:, piece.start - piece.low : len(traces) - (piece.high - piece.stop)]
    if config.reference and len(found) >= _REFERENCE:
        found = found - np.median(found, axis=0)
    return np.ascontiguousarray(found.T, np.float32)


def _quiet(traces: np.ndarray, threshold: float, blank: int) -> np.ndarray:
    """(samples, channels) bool: not near a sample beyond the threshold."""
    from scipy import ndimage

    loud = np.abs(traces) > threshold
    return ~ndimage.maximum_filter1d(loud, 2 * blank + 1, axis=0)


def _covariance(parts: list[np.ndarray], quiet: list[np.ndarray]) -> np.ndarray:
    """(channels, channels) over the samples at which both channels are quiet."""
    total = sum(part.T.astype(np.float64) @ part for part in parts)
    count = sum(still.T.astype(np.float32) @ still for still in quiet)
    return total / np.maximum(count, 1)


def _autocovariance(
    parts: list[np.ndarray], quiet: list[np.ndarray], lags: int
) -> np.ndarray:
    """(lags,) over the pairs of samples that are both quiet, 1 at lag 0."""
    found = np.zeros(lags)
    for lag in range(lags):
        total = count = 0.0
        for part, still in zip(parts, quiet, strict=True):
            head, tail = slice(0, len(part) - lag), slice(lag, None)
            total += np.vdot(part[head], part[tail])
            count += np.count_nonzero(still[head] & still[tail])
        found[lag] = total / max(count, 1)
    return found / found[0]
