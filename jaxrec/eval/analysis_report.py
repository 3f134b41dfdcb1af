"""Analyses as an aligned table and as a report that says what the figures mean."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from jaxrec.eval.inductive_bias import NEWEST, WIDTHS
from jaxrec.eval.low_rank import KS, SHARES

Results = Mapping[str, Mapping[str, Any]]  # by label, each from `analyse`

_TABLE_ROWS = (
    *(f"rank_{round(100 * share)}" for share in SHARES),
    "effective_rank",
    *(f"err_{k}" for k in KS),
)
_ROWS = (
    *(f"locality_{w}" for w in WIDTHS),
    "mean_distance",
    *(f"recency_{k}" for k in NEWEST),
    *("sparsity", "over_05", "distance_r2", "position_r2"),
    *_TABLE_ROWS,
)
_VIEWS = {
    "all": "all keys seen",
    "lower": "keys not after the query",
    "recurrence": "recurrence, no attention",
}

_MEANING = """\
## What was measured

Per user, block and head the n x n matrix of the positions that are no padding; figures
are means over users and heads, ± is one standard error over users. Beside the model
stand two controls under the same mask: **random**, standard normal logits, is what the
mask does by itself; **shuffled**, each row's own weights in random order among its
keys, is as peaked as the model but knows no place. A figure says something of the
model where it differs from both. A model that sees both ways is asked as in evaluation:
its mask token is the last position, and the row that answers.

- `locality_w`: mean over rows of the mass at distances |i - j| <= w; `mean_distance`:
  the same of |i - j|.
- `recency_k`: mass that the row which answers (the last) has on the k newest events.
- `sparsity`: 1 - entropy / log(number of keys), mean over rows; `over_05`: entries
  above .05, per row.
- `distance_r2`, `position_r2`: share of the variance of the logits within rows that is
  explained by the distance i - j alone, and by the pair (i, j) alone, with one function
  for all users. What is left to 1 differs between users at the same place: content.
- `rank_90`: how many singular values hold 90 % of the squared sum; `effective_rank`:
  exp(entropy) of the normalised singular values; `err_k`: relative error
  |A - A_k| / |A| of the best matrix of rank k.
- In the plots the models are solid lines, `random` is dashed, `shuffled` dotted. A
  point of a spectrum is a mean over the users who have so many positions.
"""

_LIMITS = """\
## What the figures do not mean

- **A causal softmax matrix always has full rank**: it is triangular and its diagonal is
  positive. So "AR has the higher rank" is in part the mask. Compare with `random`, and
  AR with the view "keys not after the query" of AE.
- **Early rows of a causal matrix have few keys**: they are near and peaked whatever the
  model. `locality`, `over_05` and the recency of short histories are raised by this;
  `random` shows by how much.
- Random logits have deviation 1, those of a model another: `random` is not the same
  model untrained. Peaked rows alone change ranks; `shuffled` has rows as peaked.
- Ranks, errors and distances grow with n. Means over users mix lengths; two data sets,
  or two windows, cannot be compared by them.
- The R^2 is about logits and counts every key the same, however little mass it has. It
  is not 0 without any effect of place but about the number of free places over the
  number of weights, as the controls show.
- Little mass is not little influence, and much mass is not much: values, the residual
  and later blocks decide what a key does to the answer. Nothing here was cut out or
  changed to see what happens.
- A low rank of attention does not make the model low-rank, nor does it say that a
  cheaper model of that rank would recommend as well.
- Runs differ by more than their mask: task, loss, training time, heads. One seed each.
- Tables: singular values of the matrices as they are used, not centred. The largest is
  often little more than the mean vector.
"""

_SIGNED = """\
- Weights of HSTU are SiLU of scores and no distribution: where rows are read as
  distributions (all but ranks and errors) they are |a_ij| / sum_j |a_ij|. Their R^2 is
  that of the weights themselves, and the random control is SiLU of normal logits.
"""
_RECURRENT = """\
- A recurrent model has no attention. "recurrence" is the norm of the linear response
  of each recurrence to an input d events ago, as a share of all distances in the
  window. Residuals and feed-forward parts, which pass the newest event on, are not in
  it; no user and no control has a part in it.
"""


def labels(workdirs: Sequence[str]) -> list[str]:
    """Short names of runs: their directories', or their paths where those are equal."""
    names = [str(path).rstrip("/").rpartition("/")[2] or str(path) for path in workdirs]
    return names if len(set(names)) == len(names) else [str(path) for path in workdirs]


def describe(result: Mapping[str, Any]) -> str:
    """One run in a line."""
    seen, history = "both ways", result["history"]
    if result["causal"]:
        seen = "causal"
    if "recurrence" in result["views"]:
        seen = "recurrent"
    return (
        f"{result['backbone']}, {seen}, {result['blocks']} blocks, on "
        f"{result['data']}: {result['users']} users of {result['part']}, "
        f"seed {result['seed']}, {history['least']} to {history['most']} events seen, "
        f"{history['mean']:.1f} on average"
    )


def format_tables(results: Results) -> str:
    """All figures as aligned text, runs, views and controls side by side."""
    parts = []
    for block in range(max(result["blocks"] for result in results.values())):
        columns = [
            (f"{label}: {_VIEWS[view]}", kind, _cells(kind, summary, block))
            for label, result in results.items()
            for view, kinds in result["views"].items()
            for kind, summary in kinds.items()
        ]
        if columns:
            parts.append(_aligned(f"block {block}", columns, _ROWS))
    columns = [
        (
            f"{label}: {kinds['model']['rows']} {name}",
            kind,
            {key: _number(value) for key, value in summary["figures"].items()},
        )
        for name in ("items", "users")
        for label, result in results.items()
        for kinds in (result["tables"][name],)
        for kind, summary in kinds.items()
    ]
    parts.append(_aligned("tables", columns, _TABLE_ROWS))
    return "\n\n".join(parts)


def report(results: Results, command: str, plots: Sequence[str]) -> str:
    """The whole report, Markdown.

    Args:
        results: By label, each from `jaxrec.eval.analyse`.
        command: What it was made with.
        plots: Names of pictures beside it.
    """
    lines = ["# Attention, low rank and inductive bias", "", f"`{command}`", ""]
    lines += [f"- **{label}**: {describe(r)}" for label, r in results.items()]
    lines += [f"- {note}" for note in notes(results)]
    limits = _LIMITS
    if any(result["pointwise"] for result in results.values()):
        limits += _SIGNED
    if any("recurrence" in result["views"] for result in results.values()):
        limits += _RECURRENT
    lines += ["", "```", format_tables(results), "```", "", _MEANING]
    lines += [limits, *(f"![{name}]({name})\n" for name in plots)]
    return "\n".join(lines)


def notes(results: Results) -> list[str]:
    """What a reader of a comparison, or of a run without attention, must be told."""
    found = []
    for label, result in results.items():
        if "all" not in result["views"]:
            found.append(f"{label}: {result['backbone']} has no attention to measure")
    if len({result["data"] for result in results.values()}) > 1:
        found.append("the runs are on different data: users and lengths differ")
    return found


def _cells(kind: str, summary: Mapping[str, Any], block: int) -> dict[str, str]:
    """Texts of the figures of a block; the random control has one block for all."""
    cells = {}
    for name, found in summary["figures"].items():
        place = 0 if kind == "random" else block
        if place >= len(found["mean"]):
            continue
        cells[name] = _number(found["mean"][place])
        if kind == "model" and "se" in found:
            cells[name] += f" ± {_number(found['se'][place])}"
    return cells


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _aligned(
    title: str,
    columns: Sequence[tuple[str, str, Mapping[str, str]]],
    rows: Sequence[str],
) -> str:
    """A table of columns (head, name, texts by row); neighbours may share a head."""
    shown = [row for row in rows if any(row in cells for _, _, cells in columns)]
    width = max(map(len, [title, *shown]))
    parts = [[text.ljust(width) for text in (title, "", *shown)]]
    for head, group in itertools.groupby(columns, key=lambda column: column[0]):
        texts = [[name, *(c.get(row, "-") for row in shown)] for _, name, c in group]
        widths = [max(map(len, column)) for column in texts]
        lines = [
            "  ".join(text.rjust(w) for text, w in zip(line, widths, strict=True))
            for line in zip(*texts, strict=True)
        ]
        width = max(len(head), len(lines[0]))
        parts.append([head.ljust(width), *(line.rjust(width) for line in lines)])
    return "\n".join(" | ".join(line).rstrip() for line in zip(*parts, strict=True))
