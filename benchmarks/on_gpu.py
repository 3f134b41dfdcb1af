"""Everything that waits for an accelerator, most valuable first, inside a time budget.

python -m benchmarks.on_gpu --budget-seconds 1700 --out results [--quick]

Parts are processes of their own: one that fails or runs out of its share leaves the
others alone. Rows are written as they are known. The kernel parts need jax and PyTorch
only; the quality runs at the end need the whole package, and data under
JAXREC_DATA_DIR.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Part(NamedTuple):
    """One process: its name, its command, the most seconds it may take."""

    name: str
    command: list[str]
    seconds: float
    needs: tuple[str, ...] = ()


def parts(out: Path, quick: bool) -> list[Part]:
    """All parts, most valuable first."""
    flags = ["--out", str(out), *(["--quick"] if quick else [])]

    def bench(name, seconds, *more, needs=()):
        command = [sys.executable, "-m", f"benchmarks.{name}", *flags, *more]
        return Part(name, command, seconds, needs)

    def quality(name, seconds, *overrides):
        command = [
            sys.executable,
            "-m",
            "jaxrec.main",
            f"--config={ROOT / 'configs/lrurec.py'}:{name}",
            f"--workdir={out / 'runs' / name}",
            "--config.parallel.micro=1",
            *(["--config.train.steps=4"] if quick else []),
            *overrides,
        ]
        needs = ("ml_collections", "JAXREC_DATA_DIR")
        return Part(f"quality of {name}", command, seconds, needs)

    return [
        bench("scan", 200),
        bench("softmax", 200),
        bench("train_step", 240, needs=("ml_collections",)),
        bench("serving", 150, needs=("ml_collections",)),
        bench("topk", 100),
        bench("evaluation", 100, needs=("ml_collections",)),
        quality("ml1m", 600),
        quality("beauty", 300),
        quality("games", 500),
        quality("beauty_sasrec", 500),
        quality("toys", 300),
        quality("yelp", 300),
    ]


def missing(part: Part) -> str:
    """What a part needs and this machine lacks, or ""."""
    for need in part.needs:
        known = importlib.util.find_spec(need) if need.islower() else None
        if known is None and not os.environ.get(need):
            return need
    return ""


def run(part: Part, out: Path, left: float) -> str:
    """Runs a part within its time and what is left of the budget; says how it ended."""
    log = out / f"{part.name.replace(' ', '_')}.log"
    with open(log, "w") as stream:
        process = subprocess.Popen(
            part.command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT
        )
        try:
            process.wait(timeout=min(part.seconds, left))
        except subprocess.TimeoutExpired:
            process.terminate()  # A training saves its state.
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return f"stopped at its limit, see {log.name}"
    return "done" if process.returncode == 0 else f"failed, see {log.name}"


def main() -> None:
    """Runs the parts in order while there is time, and prints how each ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget-seconds", type=float, default=1700)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="names of parts, between commas")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    begin, ended = time.monotonic(), []
    for part in parts(options.out.absolute(), options.quick):
        if options.only and part.name not in options.only.split(","):
            continue
        left = options.budget_seconds - (time.monotonic() - begin)
        if left < 10:
            how = "no time left"
        elif missing(part):
            how = f"left out, {missing(part)} is missing"
        else:
            how = run(part, options.out, left)
        ended.append((part.name, how, time.monotonic() - begin))
        print(f"{ended[-1][2]:7.0f} s  {part.name:<24} {how}", flush=True)


if __name__ == "__main__":
    main()
