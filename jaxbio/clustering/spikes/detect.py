"""Where something fired: negative peaks that no nearby channel exceeds."""

import dataclasses

import numpy as np

from jaxbio.clustering.spikes.recording import pieces


@dataclasses.dataclass(frozen=True)
class Config:
    """What counts as a peak.

    Attributes:
        threshold: Noise sd below zero.
        dead: Seconds on both sides of a peak in which it is the deepest sample.
        radius: Micrometres within which it is.
    """

    threshold: float = 5.0
    dead: float = 0.0005
    radius: float = 100.0


@dataclasses.dataclass(frozen=True, eq=False)
class Peaks:
    """Detected peaks, in the order of time.

    Attributes:
        samples: (peaks,) int64.
        channels: (peaks,) int32, where each is deepest.
        depths: (peaks,) float32, positive, noise sd.
    """

    samples: np.ndarray
    channels: np.ndarray
    depths: np.ndarray


def near_channels(positions: np.ndarray, radius: float) -> np.ndarray:
    """(channels, most) int32 channels within `radius`, itself first, padded with it."""
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    order = np.argsort(distance, axis=1, kind="stable")
    order = order[:, : (distance <= radius).sum(axis=1).max()]
    inside = np.take_along_axis(distance, order, axis=1) <= radius
    return np.where(inside, order, np.arange(len(positions))[:, None]).astype(np.int32)


def peaks_of(
    traces: np.ndarray, near: np.ndarray, threshold: float, dead: int
) -> Peaks:
    """Peaks of a stretch of traces.

    Of several equally deep samples in a row the first is the peak; of several equally
    deep channels the one of lowest index.

    Args:
        traces: (samples, channels), noise sd.
        near: As `near_channels`.
        threshold: Noise sd below zero.
        dead: Samples on both sides in which a peak is the deepest.
    """
    from scipy import ndimage

    deepest = ndimage.minimum_filter1d(traces, 2 * dead + 1, axis=0)
    candidate = (traces == deepest) & (traces < -threshold)
    candidate[1:] &= traces[1:] < traces[:-1]
    samples, channels = np.nonzero(candidate)
    around = deepest[samples[:, None], near[channels]]
    own = deepest[samples, channels]
    earlier = near[channels] < channels[:, None]
    beaten = (around < own[:, None]) | ((around == own[:, None]) & earlier)
    keep = ~beaten.any(axis=1)
    samples, channels = samples[keep], channels[keep]
    return Peaks(
        samples.astype(np.int64),
        channels.astype(np.int32),
        -traces[samples, channels].astype(np.float32),
    )


def joined(parts: list[Peaks]) -> Peaks:
    """Peaks of successive stretches as one record."""
    return Peaks(
        np.concatenate([part.samples for part in parts]),
        np.concatenate([part.channels for part in parts]),
        np.concatenate([part.depths for part in parts]),
    )


def within(found: Peaks, start: int, stop: int, offset: int) -> Peaks:
    """The peaks of samples `start` to `stop` when sample 0 of theirs is `offset`."""
    samples = found.samples + offset
    keep = (samples >= start) & (samples < stop)
    return Peaks(samples[keep], found.channels[keep], found.depths[keep])


def detect(
    traces: np.ndarray, rate: float, positions: np.ndarray, config: Config
) -> Peaks:
    """Peaks of a whole recording, read one second at a time.

    Args:
        traces: (samples, channels), noise sd; may be a memory map.
        rate: Samples per second.
        positions: (channels, 2), micrometres.
        config: See `Config`.
    """
    near = near_channels(positions, config.radius)
    dead = round(config.dead * rate)
    parts = []
    for piece in pieces(len(traces), round(rate), 2 * dead + 1):
        found = peaks_of(traces[piece.low : piece.high], near, config.threshold, dead)
        parts.append(within(found, piece.start, piece.stop, piece.low))
    return joined(parts)
