"""The newest figure of every target, beside what it must and should reach.

python -m benchmarks.report [--results benchmarks/results]
"""

import argparse
import json
from pathlib import Path

from benchmarks.harness import RESULTS

# What is measured, what it must reach, what it should reach.
TARGETS = {
    "P1": ("train step, tokens/s against the published form in PyTorch", 4, 6),
    "P1m": ("train step, scratch memory against the published form (share)", 0.1, 0.02),
    "P1b": ("train step without dropout, share of the processor's floor", 0.35, 0.5),
    "P2": ("scan forward and backward against recursive doubling", 5, 8),
    "P3": ("softmax loss and gradients against the plain form", 1.5, 2),
    "P4": ("one event and top 10 against a transformer's re-encoding, p50", 5, 10),
    "P4b": ("one event, state only, times a call that does nothing, p50", 5, 3),
    "P5": ("top 100 of 10^6 items against PyTorch", 1.2, None),
    "P5b": ("the same, share of the speed of reading the table", 0.7, 0.9),
    "P6": ("packed against padded, targets/s", 4, 6),
    "E1": ("full-ranking evaluation against the released way", None, None),
    "I1": ("training with its input pipeline against the step alone", 0.95, None),
}


def rows(folder: Path) -> list[dict]:
    """The newest row of every target and case, in the order of TARGETS."""
    newest = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if "target" in row and not row.get("quick"):
                case = tuple(
                    str(row.get(key, ""))
                    for key in ("target", "shape", "items", "batch", "device")
                )
                if case not in newest or newest[case]["date"] <= row["date"]:
                    newest[case] = row
    order = list(TARGETS)
    known = [row for row in newest.values() if row["target"] in TARGETS]
    other = [row for row in newest.values() if row["target"] not in TARGETS]
    return sorted(known, key=lambda row: order.index(row["target"])) + other


def table(found: list[dict]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| target | what | must | aim | reached (p10 to p90) | case | device | date |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        what, must, aim = TARGETS.get(row["target"], (row["case"], None, None))
        spread = f"{row['reached']:.3g}"
        if "p10" in row:
            spread += f" ({row['p10']:.3g} to {row['p90']:.3g})"
        keys = ("shape", "items", "positions", "length", "batch")
        case = ", ".join(f"{key} {row[key]}" for key in keys if key in row)
        device = row.get("cpu") if row["platform"] == "cpu" else row["device"]
        cells = [row["target"], what, must or "", aim or "", spread, case, device]
        lines.append("| " + " | ".join(map(str, [*cells, row["date"][:10]])) + " |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    print(table(rows(parser.parse_args().results)))


if __name__ == "__main__":
    main()
