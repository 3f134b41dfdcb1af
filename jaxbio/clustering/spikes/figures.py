"""Pictures of a sorting: templates, rasters, auto-correlograms, quality."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxbio.clustering.spikes.result import Sorting
from jaxrec.core.plots import COLOURS, GREY, new_figure

_CHANNELS = 7  # of a template that are drawn
_COLUMNS = 5


def save(sorting: Sorting, folder: str | os.PathLike[str]) -> list[Path]:
    """Draws everything into PNG files in a folder, which is made.

    Raises:
        ValueError: There is no unit.
    """
    _check(sorting)
    Path(folder).mkdir(parents=True, exist_ok=True)
    figures = {
        "templates": templates(sorting),
        "raster": raster(sorting),
        "correlograms": correlograms(sorting),
        "quality": quality(sorting),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(Path(folder) / f"{name}.png")
        figure.savefig(paths[-1])
    return paths


def templates(sorting: Sorting) -> Any:
    """Each unit's waveform on its deepest channels, one above another."""
    _check(sorting)
    figure, axes = _grid(len(sorting.templates), 2.2)
    time = (np.arange(sorting.templates.shape[1]) - sorting.before) / sorting.rate
    for unit, axis in enumerate(axes):
        waveform = sorting.templates[unit]
        channels = np.argsort(waveform.min(axis=0))[:_CHANNELS]
        step = np.ptp(waveform) / 2
        for row, channel in enumerate(np.sort(channels)):
            colour = COLOURS[0] if channel == sorting.channels[unit] else GREY
            axis.plot(1000 * time, waveform[:, channel] - row * step, color=colour)
        axis.set_title(_title(sorting, unit), fontsize="small")
        axis.set_yticks([])
    figure.supxlabel("milliseconds from the trough")
    figure.supylabel("electrodes, noise sd")
    return figure


def raster(sorting: Sorting) -> Any:
    """All spikes: time against unit."""
    _check(sorting)
    units = len(sorting.templates)
    figure = new_figure(9, 1.5 + 0.2 * units)
    axis = figure.add_subplot()
    for unit, train in enumerate(sorting.trains):
        colour = COLOURS[unit % len(COLOURS)]
        axis.plot(train / sorting.rate, np.full(len(train), unit), "|", color=colour)
    axis.set(xlabel="seconds", ylabel="unit", ylim=(-0.5, units - 0.5))
    axis.set_xlim(0, sorting.length / sorting.rate)
    return figure


def correlograms(sorting: Sorting, reach: float = 0.05, bins: int = 50) -> Any:
    """Each unit's spikes around its own: a dip at zero is a refractory period.

    Args:
        sorting: What to draw.
        reach: Seconds to both sides.
        bins: To each side.
    """
    _check(sorting)
    figure, axes = _grid(len(sorting.templates), 1.8)
    edges = np.linspace(-reach, reach, 2 * bins + 1)
    for unit, (axis, train) in enumerate(zip(axes, sorting.trains, strict=True)):
        counts = autocorrelogram(train, sorting.rate, reach, bins)
        axis.stairs(counts, 1000 * edges, fill=True, color=COLOURS[0])
        axis.set_title(_title(sorting, unit), fontsize="small")
    figure.supxlabel("milliseconds")
    figure.supylabel("pairs of spikes")
    return figure


def quality(sorting: Sorting) -> Any:
    """Units by how large they are and how clean."""
    _check(sorting)
    figure = new_figure(9, 3.6)
    measures = (
        ("norm", "distance from silence\n(noise sd)"),
        ("nearest", "distance to the nearest\nunit (noise sd)"),
        ("refractory", "intervals under 1.5 ms\n(share)"),
        ("presence", "tenths of the recording\nwith spikes (share)"),
    )
    units = np.arange(len(sorting.templates))
    for place, (name, label) in enumerate(measures, 1):
        axis = figure.add_subplot(1, len(measures), place)
        values = getattr(sorting.quality, name)
        known = np.isfinite(values)
        axis.barh(units[known], values[known], color=COLOURS[0])
        axis.set_xlabel(label, fontsize="small")
        axis.set_ylim(units[-1] + 0.5, -0.5)
        if place == 1:
            axis.set_ylabel("unit")
    return figure


def autocorrelogram(
    train: np.ndarray, rate: float, reach: float, bins: int
) -> np.ndarray:
    """Counts of pairs of different spikes by their distance in time.

    Args:
        train: (spikes,) samples, ascending.
        rate: Samples per second.
        reach: Seconds to both sides.
        bins: To each side.

    Returns:
        (2 * bins,) int64, symmetric.
    """
    edges = np.linspace(0, reach, bins + 1) * rate
    counts = np.zeros(bins, np.int64)
    for lag in range(1, len(train)):
        apart = train[lag:] - train[:-lag]
        near = apart[apart < edges[-1]]
        if len(near) == 0:
            break
        counts += np.histogram(near, edges)[0]
    return np.concatenate([counts[::-1], counts])


def _grid(count: int, height: float) -> tuple[Any, list[Any]]:
    rows = -(-count // _COLUMNS)
    figure = new_figure(2.2 * _COLUMNS, 0.8 + height * rows)
    return figure, [figure.add_subplot(rows, _COLUMNS, n + 1) for n in range(count)]


def _title(sorting: Sorting, unit: int) -> str:
    rate = sorting.quality.rate[unit]
    return f"unit {unit}, electrode {sorting.channels[unit]}, {rate:.1f} Hz"


def _check(sorting: Sorting) -> None:
    if len(sorting.templates) == 0:
        raise ValueError("the sorting has no unit: there is nothing to draw")
