"""How far each unit of a sorting can be trusted."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Quality:
    """One entry per unit.

    Attributes:
        spikes: Count.
        rate: Spikes per second.
        depth: Trough of the template on its channel, noise sd, positive.
        norm: Length of the white template: its distance from silence in noise sd, on
            which errors of detection depend.
        nearest: Distance of the white template to the most alike other one, noise sd;
            infinite if there is no other.
        refractory: Share of the intervals between spikes that are under 1.5 ms.
        spread: sd of the spikes' amplitudes, 1 being the template's.
        presence: Share of ten equal stretches of the recording in which it fires.
    """

    spikes: np.ndarray
    rate: np.ndarray
    depth: np.ndarray
    norm: np.ndarray
    nearest: np.ndarray
    refractory: np.ndarray
    spread: np.ndarray
    presence: np.ndarray


_STRETCHES = 10
_REFRACTORY = 0.0015  # seconds


def early_share(train: np.ndarray, rate: float) -> float:
    """Share of the intervals of a sorted train, in samples, that are under 1.5 ms."""
    return (
        float(np.mean(np.diff(train) < _REFRACTORY * rate)) if len(train) > 1 else 0.0
    )


def quality(
    trains: list[np.ndarray],
    amplitudes: list[np.ndarray],
    templates: np.ndarray,
    white: np.ndarray,
    length: int,
    rate: float,
) -> Quality:
    """Measures every unit.

    Args:
        trains: Sorted spike times of each unit, samples.
        amplitudes: Of the same spikes.
        templates: (units, time, channels), noise sd.
        white: (units, time, channels), whitened.
        length: Samples of the recording.
        rate: Samples per second.
    """
    counts = np.array([len(train) for train in trains], np.int64)
    apart = np.linalg.norm((white[:, None] - white[None]), axis=(2, 3))
    apart[np.diag_indices(len(apart))] = np.inf
    stretches = [len(np.unique(train * _STRETCHES // length)) for train in trains]
    return Quality(
        spikes=counts,
        rate=counts * rate / length,
        depth=-templates.min(axis=(1, 2), initial=0),
        norm=np.linalg.norm(white, axis=(1, 2)),
        nearest=apart.min(axis=1, initial=np.inf),
        refractory=np.array([early_share(train, rate) for train in trains]),
        spread=np.array([np.std(a) if len(a) else 0.0 for a in amplitudes], float),
        presence=np.array(stretches, float) / _STRETCHES,
    )
