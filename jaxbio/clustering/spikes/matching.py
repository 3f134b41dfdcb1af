"""Matching pursuit: which templates, when and how large, add up to the traces.

In traces whose noise is white a spike of template v at amplitude a lowers the squared
residual by 2 a <x, v> - a^2 |v|^2; with a normal prior of mean 1 on the amplitude the
best amplitude and the gain have closed forms. The largest gain of all is taken, its
template subtracted, and so on until no gain reaches the threshold, so that of spikes
that overlap the larger goes first; then each is fitted again to what the others leave.
Correlations are made once by Fourier transform and then updated with the correlations
between templates.
"""

import dataclasses

import numpy as np

from jaxbio.clustering.spikes.extract import shifts

_BLOCK = 1024  # samples of a Fourier transform


@dataclasses.dataclass(frozen=True)
class Config:
    """When a spike is accepted.

    Attributes:
        gain: Least drop of the squared residual, in squared noise sd: twice the log of
            how much rarer a spike of one unit is than none, and some for safety.
        spread: Prior sd of a spike's amplitude about its template's.
        smallest, largest: Amplitudes beyond these are cut.
        steps: Sub-sample shifts of a template that are told apart; odd.
        mismatch: How wrong a template may be for a spike, as a share of itself; gains
            that this much of a subtracted template could bring about do not count.
        sweeps: Times that all spikes are fitted again.
        dead: Seconds in which a unit does not fire twice.
    """

    gain: float = 24.0
    spread: float = 0.1
    smallest: float = 0.7
    largest: float = 1.4
    steps: int = 5
    mismatch: float = 0.03
    sweeps: int = 2
    dead: float = 0.0005


@dataclasses.dataclass(frozen=True, eq=False)
class Dictionary:
    """Templates, and what is known of them beforehand.

    Attributes:
        variants: (units, steps, time, channels) float32, moved by fractions of a
            sample.
        norms: (units, steps) squared lengths.
        cross: (units * steps, 2 * time - 1, units): how a spike of a variant changes
            the correlations with the unmoved templates, from time - 1 samples before
            it.
        before: Samples of a template before its spike.
    """

    variants: np.ndarray
    norms: np.ndarray
    cross: np.ndarray
    before: int


@dataclasses.dataclass(frozen=True, eq=False)
class Matches:
    """Spikes, in the order of time.

    Attributes:
        samples: (spikes,) int64.
        units: (spikes,) int32.
        amplitudes: (spikes,) float32, 1 for the template's.
        gains: (spikes,) float32 drop of the squared residual.
        steps: (spikes,) int32 which of the sub-sample shifts.
    """

    samples: np.ndarray
    units: np.ndarray
    amplitudes: np.ndarray
    gains: np.ndarray
    steps: np.ndarray


def chosen(matches: Matches, which: np.ndarray) -> Matches:
    """Some of the spikes, by a mask or by indices."""
    return Matches(
        **{
            field.name: getattr(matches, field.name)[which]
            for field in dataclasses.fields(Matches)
        }
    )


def none() -> Matches:
    """No spikes."""
    return _matches([])


def dictionary(templates: np.ndarray, before: int, steps: int) -> Dictionary:
    """Prepares (units, time, channels) white templates."""
    from scipy import fft

    units, length, channels = templates.shape
    moved = np.einsum("sut,ktc->ksuc", shifts(length, steps), templates)
    size = fft.next_fast_len(2 * length, real=True)
    plain = fft.rfft(templates, size, axis=1)
    variants = fft.rfft(moved.reshape(-1, length, channels), size, axis=1)
    # Per frequency a product of matrices.
    cross = np.matmul(variants.transpose(1, 0, 2), plain.conj().transpose(1, 2, 0))
    cross = fft.irfft(cross, size, axis=0)
    lags = np.arange(-length + 1, length)
    return Dictionary(
        np.ascontiguousarray(moved, np.float32),
        (moved.astype(np.float64) ** 2).sum(axis=(2, 3)).astype(np.float32),
        np.ascontiguousarray(cross[lags].transpose(1, 0, 2), np.float32),
        before,
    )


def correlate(traces: np.ndarray, templates: np.ndarray, before: int) -> np.ndarray:
    """Correlations of traces with templates.

    Args:
        traces: (samples, channels); zeros are taken to lie beyond.
        templates: (units, time, channels).
        before: Samples of a template before its spike.

    Returns:
        (samples, units) float32: entry t of a unit is the dot product of its template
        and the window that a spike at t would have.
    """
    from scipy import fft

    length = templates.shape[1]
    size = max(_BLOCK, fft.next_fast_len(2 * length, real=True))
    step = size - length + 1
    blocks = -(-len(traces) // step)
    padded = np.zeros((blocks * step + length - 1, traces.shape[1]), np.float32)
    padded[before : before + len(traces)] = traces
    cut = np.lib.stride_tricks.sliding_window_view(padded, size, axis=0)[::step]
    spectra = fft.rfft(cut, axis=2).transpose(2, 0, 1)
    kernels = fft.rfft(templates, size, axis=1).conj().transpose(1, 2, 0)
    found = fft.irfft(np.matmul(spectra, kernels), size, axis=0)[:step]
    found = found.transpose(1, 0, 2).reshape(blocks * step, len(templates))
    return found[: len(traces)]


def match(traces: np.ndarray, known: Dictionary, dead: int, config: Config) -> Matches:
    """Explains a stretch of white traces by spikes.

    Args:
        traces: (samples, channels) float32, noise of sd 1 and white in time and space.
        known: See `dictionary`.
        dead: Samples in which a unit does not fire twice.
        config: See `Config`.

    Returns:
        The spikes, in the order of time.
    """
    from scipy import ndimage

    units, steps, length, _ = known.variants.shape
    middle = steps // 2
    norms = known.norms[:, middle]
    correlation = correlate(traces, known.variants[:, middle], known.before)
    padded = np.pad(traces, ((known.before, length), (0, 0)))
    doubt = np.zeros_like(correlation)
    gain = _gain(correlation, norms, config)
    best = gain.max(axis=1, initial=-np.inf)
    found = []
    while True:
        peak = ndimage.maximum_filter1d(best, length)
        (times,) = np.nonzero((best == peak) & (best > config.gain))
        if len(times) == 0:
            break
        for time in times:
            unit = gain[time].argmax()
            window = padded[time : time + length]
            dots = known.variants[unit].reshape(steps, -1) @ window.reshape(-1)
            gains = _gain(dots, known.norms[unit], config)
            step = gains.argmax()
            amplitude = _amplitude(dots[step], known.norms[unit, step], config)
            window -= amplitude * known.variants[unit, step]
            low, high = max(time - length + 1, 0), min(time + length, len(traces))
            first = low - (time - length + 1)
            change = known.cross[unit * steps + step, first : first + high - low]
            correlation[low:high] -= amplitude * change
            doubt[low:high] += config.mismatch * amplitude * np.abs(change)
            # Not again: what its amplitude or shift left over is no second spike.
            correlation[max(time - dead, 0) : time + dead + 1, unit] = -np.inf
            certain = correlation[low:high] - doubt[low:high]
            gain[low:high] = _gain(certain, norms, config)
            best[low:high] = gain[low:high].max(axis=1)
            found.append((time, unit, amplitude, gains[step], step))
    for _ in range(config.sweeps):
        found = _refitted(found, padded, known, config)
    return _matches(found)


def _refitted(
    found: list[tuple], padded: np.ndarray, known: Dictionary, config: Config
) -> list[tuple]:
    """Fits each spike again to what all the others leave; drops what was none.

    The first spikes of an overlap were fitted to the sum. `padded`, the residual from
    `known.before` samples before its first one, is changed accordingly.
    """
    _, steps, length, _ = known.variants.shape
    samples = len(padded) - known.before - length
    kept = []
    for time, unit, amplitude, _, step in sorted(found):
        variants, norms = known.variants[unit], known.norms[unit]
        padded[time : time + length] += amplitude * variants[step]
        options = []
        for moved in range(max(time - 1, 0), min(time + 2, samples)):
            window = padded[moved : moved + length].reshape(-1)
            dots = variants.reshape(steps, -1) @ window
            gains = _gain(dots, norms, config)
            best = gains.argmax()
            options.append((gains[best], moved, best, dots[best]))
        gain, moved, step, dot = max(options)
        if gain > config.gain:
            amplitude = _amplitude(dot, norms[step], config)
            padded[moved : moved + length] -= amplitude * variants[step]
            kept.append((moved, unit, amplitude, gain, step))
    return kept


def _gain(correlation: np.ndarray, norms: np.ndarray, config: Config) -> np.ndarray:
    """Drop of the squared residual, less what the amplitude costs under its prior."""
    amplitude = _amplitude(correlation, norms, config)
    cost = amplitude**2 * norms + ((amplitude - 1) / config.spread) ** 2
    return 2 * amplitude * correlation - cost


def _amplitude(correlation, norms, config: Config):
    """The best amplitude, given the correlation with a template and its norm."""
    precision = 1 / config.spread**2
    best = (correlation + precision) / (norms + precision)
    return np.clip(best, config.smallest, config.largest)


def _matches(found: list[tuple]) -> Matches:
    order = sorted(found)
    columns = zip(*order, strict=True) if order else [()] * 5
    samples, units, amplitudes, gains, steps = columns
    return Matches(
        np.array(samples, np.int64),
        np.array(units, np.int32),
        np.array(amplitudes, np.float32),
        np.array(gains, np.float32),
        np.array(steps, np.int32),
    )
