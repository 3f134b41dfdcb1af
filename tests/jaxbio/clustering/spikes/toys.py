"""A small recording whose spikes are known, and a simple clusterer."""

import numpy as np

from jaxbio.clustering.spikes import snippets
from jaxbio.clustering.spikes.probes import linear
from jaxbio.clustering.spikes.recording import Recording

RATE = 30000.0


def waveform(width, after):
    """(60,) of which sample 20 is the trough, depth 1."""
    time = np.arange(-20, 40)
    wave = -np.exp(-((time / width) ** 2)) + after * np.exp(-(((time - 14) / 9) ** 2))
    return wave / -wave.min()


def recording(seconds=8.0, seed=0, rows=4, units=3, rate=12.0, drift=0.0):
    """Two columns of `rows` electrodes, units at different places, white noise of sd 1.

    Returns:
        The recording, and the (spikes,) samples and units of the truth. With `drift`
        the depths fall by that share over the recording.
    """
    rng = np.random.default_rng(seed)
    positions = linear(rows, 20.0)
    length = int(seconds * RATE)
    traces = rng.standard_normal((length, len(positions)))
    samples, labels = [], []
    for unit in range(units):
        place = np.array([[10.0, 5.0], [2.0, 38.0], [16.0, 52.0]][unit])
        away = np.linalg.norm(positions - place, axis=1)
        shape = waveform([4.0, 6.0, 5.0][unit], [0.3, 0.5, 0.1][unit])
        template = shape[:, None] * [34.0, 40.0, 28.0][unit] * np.exp(-away / 30)
        gaps = 0.004 + rng.exponential(1 / rate, int(2 * seconds * rate))
        times = (np.cumsum(gaps) * RATE).astype(int)
        times = times[(times > 100) & (times < length - 100)]
        for time in times:
            size = 1 + 0.03 * rng.standard_normal() - drift * time / length
            traces[time - 20 : time + 40] += size * template
        samples.append(times)
        labels.append(np.full(len(times), unit))
    samples, labels = np.concatenate(samples), np.concatenate(labels)
    order = np.argsort(samples, kind="stable")
    return (
        Recording(traces.astype(np.float32), RATE, positions),
        samples[order],
        labels[order],
    )


def mean_shift(prepared, key):
    """Labels by mean shift with a flat kernel on the first three features."""
    del key  # there is nothing random in it
    points = snippets.features(prepared, np.ones(len(prepared), bool), 3)
    modes = points.copy()
    for _ in range(15):
        near = ((modes[:, None] - points) ** 2).sum(-1) < 6.0**2
        modes = near @ points / near.sum(1, keepdims=True)
    labels = np.full(len(points), -1)
    for label, mode in enumerate(modes):
        alike = ((modes - mode) ** 2).sum(-1) < 3.0**2
        labels[alike & (labels < 0)] = label
    return labels


def accuracy(found, true, tolerance=12):
    """Hits over hits, misses and false spikes of two sorted trains."""
    at = np.searchsorted(true, found - tolerance)
    inside = at < len(true)
    hits = true[at[inside]] <= found[inside] + tolerance
    matched = len(np.unique(at[inside][hits]))
    return matched / (len(true) + len(found) - matched)


def best_accuracies(sorting, samples, labels):
    """For every true unit the accuracy of the found one that fits it best."""
    return [
        max(
            (accuracy(train, samples[labels == unit]) for train in sorting.trains),
            default=0.0,
        )
        for unit in np.unique(labels)
    ]
