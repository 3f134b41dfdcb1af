"""``learning_curve.png``: training loss and validation metrics by step."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from jaxrec.core.metrics import METRICS_FILE, read_metrics

PLOT_FILE = "learning_curve.png"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
GREY = "#555555"


def plot_learning_curve(
    workdir: str | os.PathLike[str],
    metrics: Sequence[str],
    loss_label: str,
) -> Path | None:
    """Draws a run's ``metrics.jsonl`` into ``learning_curve.png`` beside it.

    Training loss against the left axis; validation metrics against the right one, the
    best step of the first of them marked.

    Args:
        workdir: Directory of the run.
        metrics: Validation metrics to draw; those that were not measured are left
            out. If none of them was, the first few that were are drawn.
        loss_label: Name and unit of the loss.

    Returns:
        The file, or None if nothing was measured yet or it cannot be written (a
        picture is not worth stopping a run).
    """
    if not (Path(workdir) / METRICS_FILE).exists():
        return None
    rows = read_metrics(workdir)
    train = [row for row in rows if row["kind"] == "train" and "loss" in row]
    valid = [row for row in rows if row["kind"] == "valid"]
    if not train and not valid:
        return None
    path = Path(workdir) / PLOT_FILE
    partial = path.with_suffix(".partial.png")
    try:
        _figure(train, valid, metrics, loss_label).savefig(partial)
        partial.replace(path)
    except OSError as error:
        logging.warning("Could not write %s: %s", path, error)
        return None
    return path


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches, for files: it has no window."""
    # The object interface: pyplot would keep every figure, and a backend, globally.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure(
    train: list[dict[str, Any]],
    valid: list[dict[str, Any]],
    metrics: Sequence[str],
    loss_label: str,
) -> Any:
    from matplotlib.ticker import EngFormatter

    figure = new_figure(8, 4.5)
    left = figure.add_subplot()
    left.set_xlabel("training step")
    left.set_ylabel(loss_label, color=GREY)
    left.xaxis.set_major_formatter(EngFormatter(sep=""))
    left.spines["top"].set_visible(False)
    left.grid(axis="x", alpha=0.3)
    if train:
        steps = [row["step"] for row in train]
        losses = [row["loss"] for row in train]
        left.plot(steps, losses, color=GREY, linewidth=1.2, label="training loss")
    names = _measured(valid, metrics)
    if names:
        right = left.twinx()
        right.set_ylabel("validation metric (0 to 1)")
        right.spines["top"].set_visible(False)
        for name, colour in zip(names, COLOURS, strict=False):
            points = [(row["step"], row[name]) for row in valid if name in row]
            right.plot(
                *zip(*points, strict=True),
                color=colour,
                marker=".",
                label=f"validation {name}",
            )
        _mark_best(right, valid, names[0])
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize="small")
    return figure


def _measured(valid: list[dict[str, Any]], metrics: Sequence[str]) -> list[str]:
    """Returns the metrics to draw."""
    known = [name for row in valid for name, value in row.items() if _is_number(value)]
    known = [name for name in dict.fromkeys(known) if name != "step"]
    known = [name for name in known if not name.startswith("time/")]
    return [name for name in metrics if name in known] or known[: len(metrics)]


def _mark_best(axes: Any, valid: list[dict[str, Any]], name: str) -> None:
    # NaN is no best: it differs from itself.
    points = [(r[name], r["step"]) for r in valid if name in r and r[name] == r[name]]
    if not points:
        return
    value, step = max(points, key=lambda point: (point[0], -point[1]))
    axes.axvline(step, color=COLOURS[0], linestyle=":", linewidth=1)
    axes.plot(
        step,
        value,
        marker="*",
        markersize=13,
        color=COLOURS[0],
        linestyle="none",
        label=f"best {name}: {value:.4f} at step {step:,}",
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
