"""Windows around peaks: the deepest channel first, then those around it.

Windows that reach beyond the recording, and channels that a border of the probe lacks,
are zeros.
"""

from typing import Any, Literal

import numpy as np

Order = Literal["distance", "angle"]
REACH = 10  # samples that an interpolation looks to either side


def neighbours(
    positions: np.ndarray,
    count: int,
    order: Order = "distance",
    radius: float = np.inf,
) -> np.ndarray:
    """Each channel and its nearest ones, in the order that a clusterer sees them.

    Args:
        positions: (channels, 2), micrometres.
        count: Channels in a window.
        order: "distance", ties by index; or "angle", counter-clockwise from the right,
            for arrays on which all neighbours are equally far.
        radius: Micrometres; further ones are left out.

    Returns:
        (channels, count) int32, the channel itself first, -1 where there is none.
    """
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    distance = np.round(distance, 6)  # ties of a regular grid are ties
    found = np.full((len(positions), count), -1, np.int32)
    for channel, row in enumerate(distance):
        nearest = np.argsort(row, kind="stable")
        nearest = nearest[(nearest != channel) & (row[nearest] <= radius)]
        nearest = nearest[: count - 1]
        if order == "angle":
            away = positions[nearest] - positions[channel]
            turn = np.arctan2(away[:, 1], away[:, 0]) % (2 * np.pi)
            nearest = nearest[np.argsort(np.round(turn, 6), kind="stable")]
        found[channel, 0] = channel
        found[channel, 1 : 1 + len(nearest)] = nearest
    return found


def windows(
    traces: np.ndarray,
    samples: np.ndarray,
    channels: np.ndarray | None,
    before: int,
    length: int,
) -> np.ndarray:
    """Cuts windows.

    Args:
        traces: (time, channels); may be a memory map.
        samples: (spikes,) which come at index `before` of their window.
        channels: (spikes, count), -1 where there is none; None for all channels.
        before: Samples before.
        length: Samples in a window.

    Returns:
        (spikes, length, count or channels) float32.
    """
    times = samples[:, None] - before + np.arange(length)
    inside = (times >= 0) & (times < len(traces))
    times = np.clip(times, 0, len(traces) - 1)
    if channels is None:
        return np.where(inside[..., None], traces[times], 0).astype(np.float32)
    found = traces[times[:, :, None], np.maximum(channels, 0)[:, None]]
    keep = inside[:, :, None] & (channels >= 0)[:, None]
    return np.where(keep, found, 0).astype(np.float32)


def shifts(length: int, steps: int) -> np.ndarray:
    """Matrices that move a band-limited signal by fractions of a sample.

    Args:
        length: Samples.
        steps: Fractions in a sample; odd.

    Returns:
        (steps, length, length) float32: matrix s times x is x at times later by
        (s - steps // 2) / steps samples, see `interpolation`.
    """
    fractions = (np.arange(steps) - steps // 2) / steps
    samples = np.arange(length)
    return np.stack([interpolation(samples + by, samples) for by in fractions])


def interpolation(times: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """From the values of a band-limited signal at samples to those at times.

    Windowed sinc interpolation, which looks `REACH` samples to either side.

    Args:
        times: (t,) in samples.
        samples: (s,) consecutive numbers; the signal is zero beyond.

    Returns:
        (t, s) float32.
    """
    apart = times[:, None] - samples
    taper = np.cos(np.pi * np.clip(apart / (2 * REACH), -0.5, 0.5)) ** 2
    return (np.sinc(apart) * taper).astype(np.float32)


def align(snippets: Any, before: int, steps: int = 5) -> Any:
    """Moves snippets by less than a sample, so that their troughs fall on one.

    Args:
        snippets: (spikes, time, channels) of NumPy or JAX; the trough of the first
            channel is nearest to sample `before`.
        before: The trough's sample.
        steps: Places in a sample that are told apart; odd.

    Returns:
        The same shape and kind.
    """
    xp = snippets.__array_namespace__()
    matrices = xp.asarray(shifts(snippets.shape[1], steps))
    troughs = xp.einsum("st,nt->ns", matrices[:, before], snippets[..., 0])
    best = xp.argmin(troughs, axis=1)
    moved = xp.zeros_like(snippets)
    for step in range(steps):
        here = (best == step)[:, None, None]
        moved = xp.where(
            here, xp.einsum("ut,ntc->nuc", matrices[step], snippets), moved
        )
    return moved
