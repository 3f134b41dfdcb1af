"""Sizes of a nested model as a table and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxrec.core.plots import COLOURS, new_figure
from jaxrec.core.text_table import aligned
from jaxrec.nested.sizes import METRICS
from jaxrec.nested.training import NESTED, Cost

PLOT_FILE = "sizes.png"
Row = Mapping[str, Any]


def sizes_table(rows: Sequence[Row]) -> str:
    """The rows of `measure_sizes`; each figure with its standard error over users."""
    heads = ["size", *METRICS, "parameters", "kB", "state B"]
    heads += ["step µs (p99)", "top µs (p99)"]
    table = [heads]
    for row in rows:
        table.append(
            [
                str(row["size"]),
                *(f"{row[m]:.4f} ± {row[f'{m}_se']:.4f}" for m in METRICS),
                f"{row['parameters']:,}",
                f"{row['bytes'] / 1e3:,.0f}",
                f"{row['state_bytes']:,}",
                *(
                    f"{1e6 * row[f'{what}_s']:.0f} ({1e6 * row[f'{what}_p99_s']:.0f})"
                    for what in ("step", "top")
                ),
            ]
        )
    return aligned(table, left=())


def cost_table(cost: Cost) -> str:
    """What training costs: each model, and the nested one against the others."""
    table = [["model", "step ms", "compile s", "MB"]]
    for row in cost.rows:
        table.append(
            [
                row["model"],
                f"{1e3 * row['step_s']:.1f}",
                f"{row['compile_s']:.1f}",
                f"{row['bytes'] / 1e6:.0f}",
            ]
        )
    alone = [row["bytes"] for row in cost.rows if row["model"] != NESTED]
    nested = next(row["bytes"] for row in cost.rows if row["model"] == NESTED)
    lines = [
        aligned(table, left=()),
        f"time of all sizes at once: {_spread(cost.against_largest)} of the largest "
        f"alone, {_spread(cost.against_all)} of one after the other",
        f"memory of a step: {nested / alone[-1]:.2f} of the largest alone, "
        f"{nested / sum(alone):.2f} of the sum of all",
    ]
    return "\n".join(lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draws quality, memory and latency against the size."""
    figure = new_figure(10, 4)
    quality, cost = figure.subplots(1, 2)
    sizes = [row["size"] for row in rows]
    for metric, colour in zip(METRICS, COLOURS, strict=False):
        quality.errorbar(
            sizes,
            [row[metric] for row in rows],
            [row[f"{metric}_se"] for row in rows],
            color=colour,
            marker="o",
            label=metric,
        )
    quality.set_ylabel("test, ± standard error over users")
    quality.set_ylim(bottom=0)
    for what, colour in zip(("step", "top"), COLOURS[2:], strict=False):
        cost.plot(
            sizes,
            [1e6 * row[f"{what}_s"] for row in rows],
            color=colour,
            marker="o",
            label=f"{what}, one user",
        )
    cost.set_ylabel("microseconds, median")
    cost.set_ylim(bottom=0)
    memory = cost.twinx()
    memory.plot(
        sizes,
        [row["bytes"] / 1e6 for row in rows],
        color="black",
        linestyle="--",
        marker="s",
        label="memory",
    )
    memory.set_ylabel("MB (dashed)")
    memory.set_ylim(bottom=0)
    for axes in (quality, cost):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xlabel("size")
        axes.legend(loc="upper left")
    figure.savefig(path)


def _spread(spread) -> str:
    return f"{spread.median:.2f} ({spread.p10:.2f} to {spread.p90:.2f})"
