"""Pictures of analyses: spectra, mass by distance, and one user's attention.

In the first two a run and view has a colour; its model is a solid line, its random
control dashed and its shuffled one dotted.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.core.plots import COLOURS, GREY, new_figure
from jaxrec.eval import low_rank

SPECTRA = "spectra.png"
DISTANCE = "distance.png"
TABLES = "tables.png"
HEAT_RANK = 3  # of the reconstruction
_MOST = 40  # singular values drawn
_STYLES = {"model": "-", "random": "--", "shuffled": ":"}
_WIDTHS = {"model": 1.8, "random": 1.1, "shuffled": 1.3}
_VIEWS = {
    "all": "",
    "lower": ", keys not after the query",
    "recurrence": ", recurrence",
}

Results = Mapping[str, Mapping[str, Any]]


def heat_file(label: str) -> str:
    """Name of the picture of one user's attention in the run with this label."""
    return f"heat_{re.sub('[^A-Za-z0-9._-]+', '_', label).strip('_')}.png"


def draw(results: Results, directory: str | os.PathLike[str]) -> list[Path]:
    """Draws what there is to draw.

    Args:
        results: By label, each from `jaxrec.eval.analyse`.
        directory: Where the files go.

    Returns:
        The files: spectra.png, distance.png and heat_LABEL.png where there is
        attention (distance.png also of recurrences), and tables.png.
    """
    figures = {TABLES: _tables(results)}
    if any("all" in result["views"] for result in results.values()):
        figures[SPECTRA] = _spectra(results)
    if any(result["views"] for result in results.values()):
        figures[DISTANCE] = _distances(results)
    for label, result in results.items():
        if result["example"]:
            figures[heat_file(label)] = _heat(label, result)
    for name, figure in figures.items():
        figure.savefig(Path(directory) / name)
    return [Path(directory) / name for name in figures]


def _spectra(results: Results) -> Any:
    figure, panels = _panels(_blocks(results))
    for block, axes in enumerate(panels):
        for label, kind, summary, colour in _lines(results, block):
            if "singular_values" not in summary:
                continue
            sigma = np.array(_of_block(summary["singular_values"], kind, block))
            sigma = sigma[: _drawn(results)]
            axes.plot(
                np.arange(1, len(sigma) + 1),
                sigma / sigma[0],
                **_look(label, kind, colour),
            )
        axes.set_yscale("log")
        axes.set_ylim(bottom=1e-3)
        axes.set_title(f"block {block}", fontsize="medium")
        axes.set_xlabel("number of the singular value")
    panels[0].set_ylabel("singular value of attention / largest")
    return _with_legend(figure, panels[0])


def _drawn(results: Results) -> int:
    """No more singular values than positions of a typical history."""
    return max(2, min(_MOST, *(int(r["history"]["mean"]) for r in results.values())))


def _distances(results: Results) -> Any:
    figure, panels = _panels(_blocks(results))
    for block, axes in enumerate(panels):
        for label, kind, summary, colour in _lines(results, block):
            mass = np.array(_of_block(summary["mass_by_distance"], kind, block))
            axes.plot(np.arange(len(mass)), mass, **_look(label, kind, colour))
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks([0, 1, 2, 5, 10, 20, 50, 100, 200])
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.xaxis.set_minor_locator(_no_ticks())
        axes.set_xlim(0, max(1, _longest(results)))
        axes.set_yscale("log")
        axes.set_ylim(bottom=1e-4)
        axes.set_title(f"block {block}", fontsize="medium")
        axes.set_xlabel("distance in events, 0 is the query itself")
    panels[0].set_ylabel("share of the attention mass")
    return _with_legend(figure, panels[0])


def _tables(results: Results) -> Any:
    figure, panels = _panels(2)
    names = {"items": "item table", "users": "outputs behind the histories"}
    for (name, title), axes in zip(names.items(), panels, strict=True):
        for (label, result), colour in zip(results.items(), COLOURS, strict=False):
            for kind, summary in result["tables"][name].items():
                sigma = np.array(summary["singular_values"])
                axes.plot(
                    np.arange(1, len(sigma) + 1),
                    sigma / sigma[0],
                    **_look(label, "Gaussian" if kind == "random" else kind, colour),
                )
        axes.set_yscale("log")
        axes.set_ylim(bottom=1e-3)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("number of the singular value")
    panels[0].set_ylabel("singular value / largest")
    return _with_legend(figure, panels[0])


def _heat(label: str, result: Mapping[str, Any]) -> Any:
    from matplotlib.ticker import MaxNLocator

    weights = np.array(result["example"]["weights"])  # (blocks, h, n, n)
    blocks, heads, n, _ = weights.shape
    columns = [(block, head) for block in range(blocks) for head in range(heads)]
    figure = new_figure(2.6 * len(columns) + 1.2, 6.2)
    grid = figure.subplots(2, len(columns), squeeze=False, sharex=True, sharey=True)
    for column, (block, head) in enumerate(columns):
        whole = weights[block, head]
        nearest = low_rank.truncated(whole, HEAT_RANK)
        error = np.linalg.norm(whole - nearest) / np.linalg.norm(whole)
        # One row of one key would leave the rest dark.
        top = np.quantile(np.abs(whole[whole != 0]), 0.98)
        signed = whole.min() < 0
        titles = (
            f"block {block}, head {head}",
            f"rank {HEAT_RANK}, error {error:.2f}",
        )
        for axes, matrix, title in zip(
            grid[:, column], (whole, nearest), titles, strict=True
        ):
            image = axes.imshow(
                matrix,
                cmap="RdBu_r" if signed else "viridis",
                vmin=-top if signed else 0,
                vmax=top,
            )
            axes.set_title(title, fontsize="medium")
        figure.colorbar(
            image,
            ax=grid[:, column].tolist(),
            orientation="horizontal",
            extend="both" if signed else "max",
            ticks=MaxNLocator(3),
        )
        grid[1, column].set_xlabel("key")
    for axes in grid[:, 0]:
        axes.set_ylabel("query")
    user = result["example"]["user"]
    title = f"{label}: attention of user {user}, {n} positions, oldest first"
    figure.suptitle(title, fontsize="medium")
    return figure


def _lines(results: Results, block: int) -> Iterator[tuple[str, str, Any, str]]:
    """Label, kind, summary and colour of all that has such a block."""
    colours = iter(COLOURS * len(results))
    for label, result in results.items():
        for view, kinds in result["views"].items():
            colour = next(colours)
            for kind, summary in kinds.items():
                if block < result["blocks"]:
                    yield label + _VIEWS[view], kind, summary, colour


def _of_block(curves: Sequence[Any], kind: str, block: int) -> Any:
    return curves[0 if kind == "random" else block]


def _blocks(results: Results) -> int:
    return max(result["blocks"] for result in results.values())


def _longest(results: Results) -> int:
    return max(result["history"]["most"] for result in results.values())


def _look(label: str, kind: str, colour: str) -> dict[str, Any]:
    style = "random" if kind == "Gaussian" else kind
    return {
        "label": label if kind == "model" else f"{label}: {kind}",
        "linestyle": _STYLES[style],
        "linewidth": _WIDTHS[style],
        "color": colour,
    }


def _panels(count: int) -> tuple[Any, list[Any]]:
    figure = new_figure(4.6 * count, 4.6)
    panels = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=GREY)
    return figure, list(panels)


def _with_legend(figure: Any, axes: Any) -> Any:
    handles, names = axes.get_legend_handles_labels()
    models = sum(handle.get_linestyle() == "-" for handle in handles)
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=models if models > 1 else len(names),
        frameon=False,
        fontsize="small",
    )
    return figure


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
