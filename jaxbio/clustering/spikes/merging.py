"""Which templates are one unit's: alike, and never firing when one neuron could not."""

import dataclasses

import numpy as np

from jaxbio.clustering.spikes.templates import similarity

_ECHO = 0.5  # share of the spikes that are not another unit's by chance


@dataclasses.dataclass(frozen=True)
class Config:
    """When two units are one.

    Attributes:
        cosine: Least cosine at the best shift.
        apart: Noise sd between templates; two that are closer are one unit's whatever
            their trains say, as their spikes could not be told apart.
        certain: Cosine that is enough where there are too few spikes to tell.
        size: Least ratio of the smaller template's norm to the larger one's.
        shift: Most seconds of shift.
        refractory: Seconds after a spike in which a neuron does not fire; those within
            `shift` are left out, as there overlapping spikes are not told apart.
        chance: Probability, under independence, of as few spikes so close together as
            there are, below which they are taken for one neuron's.
    """

    cosine: float = 0.8
    apart: float = 6.0
    certain: float = 0.9
    size: float = 0.7
    shift: float = 0.0005
    refractory: float = 0.002
    chance: float = 0.01


def close_pairs(one: np.ndarray, other: np.ndarray, low: int, high: int) -> int:
    """Pairs of spikes that lie more than `low` and at most `high` samples apart."""

    def up_to(reach: int) -> int:
        after = np.searchsorted(other, one + reach, side="right")
        return int((after - np.searchsorted(other, one - reach, side="left")).sum())

    return up_to(high) - up_to(low)


def as_one(
    trains: tuple[np.ndarray, np.ndarray],
    cosine: float,
    length: int,
    rate: float,
    config: Config,
) -> bool:
    """Whether two alike units are one, by their trains.

    Args:
        trains: Two sorted arrays of samples.
        cosine: Of their templates.
        length: Samples of the recording.
        rate: Samples per second.
        config: See `Config`.
    """
    from scipy import stats

    low, high = round(config.shift * rate), round(config.refractory * rate)
    expected = 2 * (high - low) * len(trains[0]) * len(trains[1]) / length
    pairs = close_pairs(*trains, low, high)
    if pairs > expected / 3:
        return False
    if stats.poisson.cdf(0, expected) > config.chance:
        return cosine >= config.certain
    return bool(stats.poisson.cdf(pairs, expected) < config.chance)


def groups(
    templates: np.ndarray,
    trains: list[np.ndarray],
    length: int,
    rate: float,
    config: Config,
) -> tuple[np.ndarray, np.ndarray]:
    """Merges, the most alike first.

    Args:
        templates: (units, time, channels) white templates.
        trains: Their sorted spike times, samples.
        length: Samples of the recording.
        rate: Samples per second.
        config: See `Config`.

    Returns:
        (units,) int, the unit that each one goes into (itself, if into none), which is
        the one of most spikes; and (units,) int samples to add to its spikes there.
    """
    cosines, shifts = similarity(templates, templates, round(config.shift * rate))
    norms = np.linalg.norm(templates, axis=(1, 2))
    into = np.arange(len(templates))
    moved = np.zeros(len(templates), int)
    trains = list(trains)
    first, second = np.nonzero(np.triu(cosines >= config.cosine, 1))
    order = np.argsort(-cosines[first, second], kind="stable")
    for a, b in zip(first[order], second[order], strict=True):
        keep, go = (a, b) if len(trains[a]) >= len(trains[b]) else (b, a)
        if into[a] != a or into[b] != b:
            continue
        if min(norms[a], norms[b]) < config.size * max(norms[a], norms[b]):
            continue
        dot = cosines[a, b] * norms[a] * norms[b]
        apart = np.sqrt(max(norms[a] ** 2 + norms[b] ** 2 - 2 * dot, 0))
        if apart > config.apart and not as_one(
            (trains[a], trains[b]), cosines[a, b], length, rate, config
        ):
            continue
        # What follows `go`'s spikes by the shift follows `keep`'s at once.
        shift = int(shifts[keep, go])
        into[go], moved[go] = keep, shift
        earlier = (into == go) & (np.arange(len(into)) != go)
        into[earlier], moved[earlier] = keep, moved[earlier] + shift
        trains[keep] = np.sort(np.concatenate([trains[keep], trains[go] + shift]))
    return into, moved


def echoes(
    norms: np.ndarray, trains: list[np.ndarray], reach: int, length: int
) -> np.ndarray:
    """Units that are what is left of another one's spikes.

    Args:
        norms: (units,) of the white templates.
        trains: Their sorted spike times, samples.
        reach: Samples around a spike in which an echo lies.
        length: Samples of the recording.

    Returns:
        (units,) bool: more than half of the spikes come with those of one unit with a
        larger template, beyond what chance makes of it.
    """
    found = np.zeros(len(norms), bool)
    for unit, train in enumerate(trains):
        for larger in np.flatnonzero(norms > norms[unit]):
            other = trains[larger]
            after = np.searchsorted(other, train + reach, side="right")
            with_it = after > np.searchsorted(other, train - reach, side="left")
            chance = min((2 * reach + 1) * len(other) / length, 1)
            share = np.mean(with_it) if len(train) else 0.0
            found[unit] |= share - chance > _ECHO * (1 - chance)
    return found
