"""The newest figure of every target, beside what it must and should reach.

python -m benchmarks.report [--results benchmarks/results] [--quick]

A figure is a median over rounds, with the 10th and 90th percentile; whether it reaches
a target is told by the median. Targets hold for one case on one kind of device; other
cases stand beside them without a verdict.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import RESULTS

Row = Mapping[str, Any]


class Target(NamedTuple):
    """What is measured and what it must and should reach.

    Attributes:
        what: In words.
        must: Least value, or greatest if `aim` is below it; None if there is none.
        aim: A good value.
        case: What a row must say for the target to hold for it.
    """

    what: str
    must: float | None = None
    aim: float | None = None
    case: Mapping[str, Any] = {}

    def verdict(self, row: Row) -> str:
        """Returns "aim", "must" or "missed", or "" where the target does not hold."""
        if self.must is None or any(row.get(k) != v for k, v in self.case.items()):
            return ""
        sign = -1 if self.aim is not None and self.aim < self.must else 1
        for word, value in (("aim", self.aim), ("must", self.must)):
            if value is not None and sign * row["reached"] >= sign * value:
                return word
        return "missed"


_CPU, _GPU = {"platform": "cpu"}, {"platform": "gpu"}
_ML1M = {"shape": "ml1m"}
_SCAN = {"batch": 128, "length": 200}
_TOP = {"items": 1_000_000, "batch": 1}

TARGETS = {
    "P1": Target("train step / published PyTorch", 4, 6, _CPU | _ML1M),
    "P1m": Target(
        "its scratch memory, share of published JAX", 0.1, 0.02, _CPU | _ML1M
    ),
    "P1b": Target("train step, share of the CPU's floor", 0.35, 0.5, _CPU | _ML1M),
    "P2": Target("scan with gradient / recursive doubling", 5, 8, _CPU | _SCAN),
    "P3": Target("softmax loss with gradient / plain form", 1.5, 2, _CPU),
    "P4": Target(
        "one event, top 10 / transformer encoding again", 5, 10, _CPU | {"items": 3416}
    ),
    "P4b": Target("state after one event, times a no-op", 5, 3, _CPU),
    "P5": Target("top 100 / PyTorch", 1.2, None, _CPU | _TOP),
    "P5b": Target("top 100, share of the speed of reading", 0.7, 0.9, _CPU | _TOP),
    "P6": Target("epoch of packed rows / padded rows", 4, 6, _CPU),
    "E1": Target("full ranking / as released in PyTorch"),
    "I1": Target("step with its batches, times the longer", 1.05, 1.0),
    "S1": Target("event after 10,000, times event after 10"),
    "S2": Target("peak memory at the size of XLong, GiB", 24, 12),
    "A1": Target("attention train step / fastest PyTorch SASRec", 2, 4, _CPU),
    "A2": Target("step of a study's members together / one by one"),
    "A3": Target("event that fills the window, one step / anew"),
    "N1": Target("top k as a funnel / by all coordinates"),
    "N2": Target("nested linear with gradients / dense and masked"),
    "N3": Target("loss at every width with gradients / a loss per width"),
    "N3b": Target("loss at every width, times the widest alone"),
    "R1": Target("training targets per CPU second / RecBole's", 10, None, _CPU),
    "R2": Target("NDCG@10 / RecBole's at any CPU second", 1, None, _CPU),
    "G1": Target("train step bf16 / fastest PyTorch", 2, 4, _GPU | _ML1M),
    "G1b": Target(
        "train step bf16, share of the GPU's floor", 0.15, 0.35, _GPU | _ML1M
    ),
    "G2": Target("scan with gradient / associative_scan", 3, None, _GPU),
    "G2b": Target(
        "scan with gradient, share of a copy's speed",
        0.4,
        0.75,
        _GPU | {"batch": 512, "length": 1000},
    ),
    "G3": Target("softmax loss bf16 / blocks in XLA", 1.5, 3, _GPU),
    "G3b": Target("softmax loss bf16 / fastest PyTorch", 1.0, None, _GPU),
    "C1": Target("sets clustered per second / one core's Gibbs", 100, None, _GPU),
    "G4": Target("event and top 100 of many / PyTorch", 1.5, 3, _GPU | {"batch": 4096}),
}
_CASE = (
    *("model", "shape", "items", "positions", "dim", "length", "batch"),
    *("k", "funnel", "data", "steps", "sets", "peer", "keep_freed_memory"),
)


def rows(folder: Path, quick: bool = False) -> list[Row]:
    """Returns the newest row of every target, case and device, in order of `TARGETS`.

    Args:
        folder: Holds files of JSON lines.
        quick: Whether to take rows of quick runs too, which are no results.
    """
    newest: dict[tuple, Row] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row.get("target") not in TARGETS or (row["quick"] and not quick):
                continue
            keys = ("target", *_CASE, "device", "cpu", "cores", "quick")
            case = tuple(row.get(key) or None for key in keys)  # False: not said
            if case not in newest or newest[case]["date"] <= row["date"]:
                newest[case] = row
    order = list(TARGETS)
    return sorted(newest.values(), key=lambda row: order.index(row["target"]))


def table(found: Sequence[Row]) -> str:
    """Returns rows as a Markdown table."""
    lines = [
        "| target | what | case | must | aim | reached (p10 to p90) | | more | where "
        "| when |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        target = TARGETS[row["target"]]
        cells = [
            row["target"],
            target.what,
            ", ".join(f"{key} {row[key]}" for key in _CASE if row.get(key)),
            "" if target.must is None else f"{target.must:g}",
            "" if target.aim is None else f"{target.aim:g}",
            _figure(row),
            target.verdict(row),
            _more(row),
            _where(row),
            row["date"][:10] + (", quick" if row["quick"] else ""),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(row: Row) -> str:
    text = f"{row['reached']:.3g}"
    if "p10" in row:
        text += f" ({row['p10']:.3g} to {row['p90']:.3g})"
    return text


def _more(row: Row) -> str:
    facts = []
    if "cpu_ratio" in row and row["platform"] == "cpu":
        facts.append(f"{row['cpu_ratio']:.3g} in CPU time")
    if "compile_ratio" in row:
        facts.append(f"{row['compile_ratio']:.2g} times less compilation")
    if "recall" in row:
        facts.append(f"{100 * row['recall']:.3g} % of the true top k")
    if "scratch" in row:
        facts.append(f"{100 * row['scratch']:.2g} % of the scratch memory")
    if "p50_us" in row:
        facts.append(f"p50 {row['p50_us']:.0f} us, p99 {row['p99_us']:.0f} us")
    if "cpu_s_share" in row:
        facts.append(f"{row['cpu_s_share']:.2g} of its CPU time")
    if "evaluation" in row:
        times = (f"{key} {row[key]:.2g}" for key in ("start", "evaluation", "memory"))
        facts.append("times less: " + ", ".join(times))
    if "steps_per_second" in row:
        facts.append(f"{row['steps_per_second']:.2g} steps/s")
    return ", ".join(facts)


def _where(row: Row) -> str:
    if row["platform"] == "cpu":
        return f"{row['cpu']}, {row['cores']} cores"
    return row["device"]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--results", type=Path, default=RESULTS)
    flags.add_argument("--quick", action="store_true", help="also rows of quick runs")
    options = flags.parse_args(argv)
    print(table(rows(options.results, options.quick)))


if __name__ == "__main__":
    main()
