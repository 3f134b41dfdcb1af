"""Templates: a unit's mean waveform on all channels, and how alike two of them are."""

import numpy as np

from jaxbio.clustering.spikes.extract import windows

_AVERAGED = 500  # spikes: the mean of more is hardly better


def mean_waveforms(
    traces: np.ndarray,
    samples: list[np.ndarray],
    before: int,
    length: int,
    *,
    robust: bool = False,
) -> np.ndarray:
    """Means over up to 500 spikes of each unit, evenly chosen.

    Args:
        traces: (time, channels); may be a memory map.
        samples: One array of spike times per unit.
        before: Samples before the spike.
        length: Samples.
        robust: The median instead, for trains that are not known well yet.

    Returns:
        (units, length, channels) float32.
    """
    found = np.zeros((len(samples), length, traces.shape[1]), np.float32)
    for unit, train in enumerate(samples):
        if len(train) == 0:
            continue
        chosen = np.linspace(0, len(train) - 1, min(len(train), _AVERAGED)).astype(int)
        cut = windows(traces, train[chosen], None, before, length)
        found[unit] = np.median(cut, axis=0) if robust else cut.mean(axis=0)
    return found


def without_noise(templates: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sets to zero the channels on which nothing rises above what averaging left.

    Args:
        templates: (units, time, channels), noise sd.
        counts: (units,) spikes that were averaged.
    """
    left = 5 / np.sqrt(np.clip(counts, 1, _AVERAGED))
    rises = np.abs(templates).max(axis=1, keepdims=True) > left[:, None, None]
    return np.where(rises, templates, 0).astype(np.float32)


def similarity(
    one: np.ndarray, other: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines at the best shift in time.

    Args:
        one: (units, time, channels).
        other: (others, time, channels).
        most: Samples of shift to either side.

    Returns:
        (units, others) float32 cosines, 0 for a template of zeros; and the (units,
        others) int shifts, by which `other` is later than `one`.
    """
    length = one.shape[1]
    norms = np.linalg.norm(one, axis=(1, 2))[:, None] * np.linalg.norm(
        other, axis=(1, 2)
    )
    best = np.full((len(one), len(other)), -np.inf, np.float32)
    where = np.zeros((len(one), len(other)), int)
    for shift in range(-most, most + 1):
        early = one[:, max(-shift, 0) : length - max(shift, 0)]
        late = other[:, max(shift, 0) : length - max(-shift, 0)]
        dots = np.tensordot(early, late, axes=((1, 2), (1, 2)))
        better = dots > best
        best, where = np.where(better, dots, best), np.where(better, shift, where)
    return (best / np.where(norms, norms, np.inf)).astype(np.float32), where
