"""Plots of a study: bars by arm, learning curves, and validation against time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.core.plots import COLOURS, GREY, new_figure
from jaxrec.eval.paired import Figure
from jaxrec.study.results import CellResult

_MODES = {"ae": COLOURS[0], "ar": COLOURS[1]}
_BARS = ("recall@10", "ndcg@10")


def bars(
    workdir: Path,
    cells: Sequence[CellResult],
    found: Mapping[str, Mapping[str, Figure]],
    floors: Mapping[str, Mapping[str, float]],
    published: Mapping[str, Mapping[str, float]],
) -> None:
    """bars.png: test figures by arm and mode, floors as lines, published as marks.

    Error bars are 1.96 standard errors, of seeds and users together.
    """
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    figure, axes = _figure(len(_BARS), width=max(8, 1.1 * len(arms) + 4))
    for axis, key in zip(axes, _BARS, strict=True):
        for cell in cells:
            shift = -0.2 if cell.mode == "ae" else 0.2
            place, one = arms.index(cell.arm) + shift, found[cell.name][key]
            axis.bar(place, one.mean, 0.38, color=_MODES[cell.mode], alpha=0.85)
            axis.errorbar(place, one.mean, 1.96 * one.se, color="black", capsize=3)
            if cell.name in published:
                axis.plot(
                    [place - 0.19, place + 0.19],
                    [published[cell.name][key]] * 2,
                    color="black",
                    linewidth=2,
                    linestyle=":",
                )
        for (name, row), style in zip(floors.items(), ("--", "-.", ":"), strict=False):
            axis.axhline(row[key], color=GREY, linestyle=style, linewidth=1, label=name)
        for mode, colour in _MODES.items():
            axis.bar(0, 0, color=colour, label=mode.upper())
        if any(cell.name in published for cell in cells):
            axis.plot([], [], color="black", linestyle=":", label="published")
        axis.set_xticks(range(len(arms)), arms, rotation=30, ha="right")
        axis.set_ylabel(f"test {key}")
        axis.spines[["top", "right"]].set_visible(False)
    _legend(figure, axes[0])
    _save(figure, workdir / "bars.png")


def curves(workdir: Path, cells: Sequence[CellResult]) -> None:
    """curves.png and time.png: the monitored validation metric by step and by second.

    One panel per arm; a line is the mean over the seeds, the band their range.
    """
    for name, horizontal, label in (
        ("curves.png", "step", "training step"),
        ("time.png", "seconds", "training seconds per run"),
    ):
        arms = list(dict.fromkeys(cell.arm for cell in cells))
        figure, axes = _figure(len(arms), width=8)
        for cell in cells:
            axis = axes[arms.index(cell.arm)]
            monitor = cell.config["train"]["monitor"]
            _curve(axis, cell, horizontal, monitor)
            axis.set_title(cell.arm, fontsize="medium")
            axis.set_ylabel(f"validation {monitor}", fontsize="small")
            axis.set_xlabel(label, fontsize="small")
            axis.spines[["top", "right"]].set_visible(False)
        top = max(axis.get_ylim()[1] for axis in axes)
        for axis in axes:
            axis.set_ylim(0, top)
        _legend(figure, *axes)
        _save(figure, workdir / name)


def _curve(axis: Any, cell: CellResult, horizontal: str, monitor: str) -> None:
    rows = list(zip(*cell.histories, strict=True))
    x = [np.mean([row[horizontal] for row in each]) for each in rows]
    y = np.array([[row[monitor] for row in each] for each in rows])
    colour = _MODES[cell.mode]
    axis.plot(x, y.mean(1), color=colour, label=cell.mode.upper())
    axis.fill_between(x, y.min(1), y.max(1), color=colour, alpha=0.2, linewidth=0)


def _figure(panels: int, width: float):
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = new_figure(width, 3 * rows + 0.6)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[panels:]:
        axis.remove()
    return figure, axes[:panels]


def _legend(figure: Any, *axes: Any) -> None:
    entries = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside upper center",
        ncols=6,
        frameon=False,
        fontsize="small",
    )


def _save(figure: Any, path: Path) -> None:
    partial = path.with_suffix(".partial.png")
    figure.savefig(partial)
    partial.replace(path)
