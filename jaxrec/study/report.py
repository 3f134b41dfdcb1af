"""The report of a study: report.md, results.json and plots.

A figure is a mean over seeds and users. Behind ± stands its standard error over the
seeds, in brackets the one over the users: the first says what another training would
change, the second what other users would.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.splits import Split
from jaxrec.eval.paired import Difference, Figure, difference, figure, holm
from jaxrec.study import plots
from jaxrec.study.results import CellResult

METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
_TESTED = ("recall@10", "ndcg@10")

_MEANING = """\
## How to read this

- Every cell has the same data, windows, evaluation, seeds and, but for what its arm
  names, the same encoder and optimiser. A cell is tested where its own validation was
  best. AE sees one event less of the history, since the mask token takes a place.
- A difference is taken user by user over the same test targets. Its interval covers
  other users and other seeds; it does not cover other data, other windows or
  hyper-parameters that were not tried. Holm's p is adjusted for the number of arms.
- Training one masked item costs as much as a whole window of next items, so equal steps
  are not equal targets: the time plot shows what was reached when, evaluations left
  out. Seconds are those of this machine, with several runs trained together.
- Published figures are from the study's own preparation of the data and its own search
  per cell; being near them is a check, not a replication.
"""


def write_report(
    workdir: Path,
    config: Mapping[str, Any],
    split: Split,
    floors: Mapping[str, Mapping[str, float]],
    cells: Sequence[CellResult],
) -> dict[str, float]:
    """Writes the report over the cells that are done.

    Args:
      workdir: of the study.
      config: of the study.
      split: its data.
      floors: rows to stand beside, from `jaxrec.eval.report.baselines` on test.
      cells: that are done, at least one.

    Returns:
      "<cell>/recall@10" and "<cell>/ndcg@10", each also with "_se", over seeds.
    """
    published = config["published"]
    found = {
        cell.name: {key: figure(cell.values[key]) for key in cell.values}
        for cell in cells
    }
    pairs = _pairs(cells)
    text = [
        f"# AE against AR on {split.sequences.name}",
        "",
        _setting(config, split, cells),
        "",
        *_table(cells, found, floors, published),
        "",
        *_difference_tables(pairs, found, published),
        _claim(pairs),
        "",
        "![Recall and NDCG by arm](bars.png)",
        "![Validation by training step](curves.png)",
        "![Validation by training time](time.png)",
        "",
        _MEANING,
    ]
    plots.bars(workdir, cells, found, floors, published)
    plots.curves(workdir, cells)
    _write(workdir / "report.md", "\n".join(text))
    _write(workdir / "results.json", _json(cells, found, floors, pairs))
    result = {}
    for cell in cells:
        for key in _TESTED:
            one = found[cell.name][key]
            result[f"{cell.name}/{key}"] = one.mean
            if one.seeds > 1:
                result[f"{cell.name}/{key}_se"] = one.se_seeds
    return result


def _pairs(cells) -> dict[str, dict[str, Difference]]:
    """AR - AE by arm and metric, of arms that have both."""
    by_name = {cell.name: cell for cell in cells}
    return {
        arm: {
            key: difference(
                by_name[f"{arm}-ae"].values[key], by_name[f"{arm}-ar"].values[key]
            )
            for key in METRICS
        }
        for arm in dict.fromkeys(cell.arm for cell in cells)
        if f"{arm}-ae" in by_name and f"{arm}-ar" in by_name
    }


def _setting(config, split, cells):
    data, options = split.sequences, config["run"]["eval"]
    seeds = len(cells[0].histories)
    return (
        f"{data.users} users, {data.items} items, {data.events} events; "
        f"{len(split.test)} test targets, full ranking, masked: {options['mask']}, "
        f"ties {options['ties']}; seeds per cell: {seeds}. Figures are "
        "mean ± standard error over seeds (over users)."
    )


def _table(cells, found, floors, published):
    lines = [
        "| cell | " + " | ".join(METRICS) + " | best step | s per run | published "
        "R@10, N@10 (apart, in s.e.) |",
        "|---|" + "---|" * (len(METRICS) + 3),
    ]
    for cell in cells:
        figures = found[cell.name]
        row = [cell.name, *(_cell(figures[key]) for key in METRICS)]
        row += [f"{np.median(cell.best_steps):.0f}", f"{cell.seconds:.0f}"]
        row.append(_published(figures, published.get(cell.name)))
        lines.append(f"| {' | '.join(row)} |")
    for name, row in floors.items():
        values = [f"{row[key]:.4f}" for key in METRICS]
        lines.append(f"| {name} | {' | '.join(values)} | | | |")
    return lines


def _cell(one: Figure):
    seeds = f" ± {one.se_seeds:.4f}" if one.seeds > 1 else ""
    return f"{one.mean:.4f}{seeds} ({one.se_users:.4f})"


def _published(figures, row):
    if not row:
        return ""
    return ", ".join(
        f"{row[key]:.4f} ({(figures[key].mean - row[key]) / figures[key].se:+.1f})"
        for key in _TESTED
    )


def _difference_tables(pairs, found, published):
    if not pairs:
        return []
    lines = ["## AR - AE", ""]
    for key in _TESTED:
        adjusted = holm([pairs[arm][key].p for arm in pairs])
        lines += [
            f"| arm | {key} | 95 % interval | relative | p | Holm's p | published |",
            "|---|---|---|---|---|---|---|",
        ]
        for arm, p in zip(pairs, adjusted, strict=True):
            one, ae = pairs[arm][key], found[f"{arm}-ae"][key].mean
            low, high = one.interval
            relative = f"{one.mean / ae:+.1%}" if ae else "-"
            lines.append(
                f"| {arm} | {one.mean:+.4f} ± {one.se:.4f} | {low:+.4f} to {high:+.4f} "
                f"| {relative} | {one.p:.2g} | {p:.2g} | {_gain(arm, key, published)} |"
            )
        lines.append("")
    return lines


def _gain(arm, key, published):
    rows = [published.get(f"{arm}-{mode}") for mode in ("ae", "ar")]
    if None in rows:
        return ""
    ae, ar = (row[key] for row in rows)
    return f"{ar - ae:+.4f} ({ar / ae - 1:+.1%})"


def _claim(pairs):
    """Whether AR is better than AE, as the study says, in one sentence."""
    if not pairs:
        return ""
    key = "ndcg@10"
    adjusted = holm([one[key].p for one in pairs.values()])
    clear = [
        np.sign(one[key].mean) if p < 0.05 else 0
        for one, p in zip(pairs.values(), adjusted, strict=True)
    ]
    higher, lower = clear.count(1), clear.count(-1)
    return (
        f"The study's claim, that AR recommends better than AE: by {key} AR is clearly "
        f"better (Holm's p < .05) in {higher} of {len(pairs)} arms, clearly worse in "
        f"{lower}, and in {len(pairs) - higher - lower} the difference may be chance."
    )


def _json(cells, found, floors, pairs):
    return json.dumps(
        {
            "cells": {
                cell.name: {
                    "figures": {
                        key: one._asdict() for key, one in found[cell.name].items()
                    },
                    "best_steps": cell.best_steps,
                    "seconds": cell.seconds,
                    "parameters": cell.parameters,
                    "candidates": cell.candidates,
                    "config": cell.config,
                }
                for cell in cells
            },
            "floors": floors,
            "ar_minus_ae": {
                arm: {key: one._asdict() for key, one in row.items()}
                for arm, row in pairs.items()
            },
        },
        indent=1,
    )


def _write(path: Path, text: str):
    partial = path.with_suffix(".tmp")
    partial.write_text(text + "\n")
    partial.replace(path)
