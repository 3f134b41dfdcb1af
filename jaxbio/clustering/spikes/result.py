"""What sorting a recording gives."""

import dataclasses

import numpy as np

from jaxbio.clustering.spikes.quality import Quality


@dataclasses.dataclass(frozen=True, eq=False)
class Sorting:
    """The result.

    Attributes:
        samples: (spikes,) int64, ascending.
        labels: (spikes,) int32 units, 0 to units - 1.
        amplitudes: (spikes,) float32, 1 for the template's.
        templates: (units, time, channels) float32 mean waveforms, in sd of the filtered
            traces' noise.
        before: Samples of a template before its spike.
        channels: (units,) int32 where each template is deepest.
        quality: One entry per unit.
        rate: Samples per second.
        positions: (channels, 2) of the electrodes, micrometres.
        length: Samples of the recording.
    """

    samples: np.ndarray
    labels: np.ndarray
    amplitudes: np.ndarray
    templates: np.ndarray
    before: int
    channels: np.ndarray
    quality: Quality
    rate: float
    positions: np.ndarray
    length: int

    @property
    def trains(self) -> list[np.ndarray]:
        """The samples of each unit's spikes."""
        return trains_of(self.samples, self.labels, len(self.templates))


def trains_of(samples: np.ndarray, labels: np.ndarray, units: int) -> list[np.ndarray]:
    """Splits samples by their labels."""
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(1, units))
    return np.split(samples[order], ends) if units else []
