"""Everything that waits for a GPU, most valuable first, inside a budget of time.

python -m benchmarks.on_gpu [--budget-seconds 540] [--out DIR] [--quick] [--only scan]

Parts are processes of their own: one that fails or takes too long leaves the others
alone. In ``--out`` there are then, written as things become known: the rows of every
benchmark, ``on_gpu.jsonl`` with how each part ended (and the results of trainings), and
``on_gpu.log`` with all that the parts printed. The table of targets is printed last.

The benchmarks need jax, optax, etils and PyTorch only. The trainings at the end need
all that jaxrec depends on, and data under JAXREC_DATA_DIR; the same command goes on
with one that did not finish, if ``--runs`` still has it.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import report

ROOT = Path(__file__).parents[1]
_GRACE = 20  # seconds that a part gets to end when it is told to
_MODULES = ("ml_collections", "tensorflow_datasets", "array_record")


class Part(NamedTuple):
    """One process.

    Attributes:
        name: Name in the list and for ``--only``.
        command: Arguments of the process.
        seconds: Most seconds it may take.
        needs: Modules and, in capitals, environment variables that name a directory.
        workdir: Where a training leaves its results.
    """

    name: str
    command: list[str]
    seconds: float
    needs: tuple[str, ...] = ()
    workdir: Path | None = None


def parts(out: Path, runs: Path, quick: bool) -> list[Part]:
    """Returns all parts, most valuable first."""
    flags = ["--out", str(out), "--seconds", "5", *(["--quick"] if quick else [])]

    def bench(
        name: str, seconds: float, *more: str, needs: tuple[str, ...] = ()
    ) -> Part:
        command = [sys.executable, "-m", f"benchmarks.{name}", *flags, *more]
        return Part(name, command, seconds, needs)

    def training(data: str, seconds: float, config: str, *more: str) -> Part:
        name = f"{config}-{data}"
        command = [
            *(sys.executable, "-m", "jaxrec.main", f"--workdir={runs / name}"),
            f"--config={ROOT / 'configs' / config}.py:{data}",
            "--config.model.compute_dtype=bfloat16",
            *more,
        ]
        if quick:
            command += ["--config.train.steps=2", "--config.eval.max_users=64"]
            command += ["--config.train.eval_every=2", "--config.batch.size=8"]
        needs = (*_MODULES, "JAXREC_DATA_DIR")
        return Part(f"train {config} {data}", command, seconds, needs, runs / name)

    published = (
        "--config.model.sizes=(8,16,32,64,128,256,512,1024)",
        "--config.model.size_weights=()",
    )
    return [
        bench("scan", 100),
        bench("train_step", 150),
        bench("softmax", 150),
        bench("attention_step", 150),
        bench("serving", 120, "--only", "batch,window"),
        bench("study_group", 90),
        bench("topk", 90),
        bench("clustering", 120, "--only", "speed", needs=("numba",)),
        bench("funnel", 120),
        bench("nested", 90),
        training("ml1m", 200, "lrurec"),
        training("beauty", 200, "fmrlrec", *published),
        training("beauty", 200, "lrurec"),
        bench("evaluation", 90),
    ]


def missing(part: Part) -> str:
    """Returns what a part needs and this machine lacks, or ""."""
    for need in part.needs:
        if need.isupper():
            if not os.path.isdir(os.environ.get(need, "")):
                return need
        elif importlib.util.find_spec(need) is None:
            return need
    return ""


def run(part: Part, log: Path, seconds: float) -> dict[str, Any]:
    """Runs a part and says how it ended.

    Args:
        part: What to run.
        log: File that its output is appended to.
        seconds: Most seconds it may take, `_GRACE` to end among them.

    Returns:
        ``ended`` ("done", "failed", "stopped at its limit"), ``seconds``, and the end
        of the output if it failed.
    """
    begin = time.monotonic()
    with log.open("ab") as stream:
        stream.write(f"\n== {part.name}: {' '.join(part.command)}\n".encode())
        stream.flush()
        first = stream.tell()
        process = subprocess.Popen(
            part.command,
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its helpers can be ended with it
        )
        try:
            process.wait(timeout=max(min(part.seconds, seconds) - _GRACE, 1))
            ended = "failed" if process.returncode else "done"
        except subprocess.TimeoutExpired:
            ended = "stopped at its limit"
            _end(process)
    found = {"ended": ended, "seconds": round(time.monotonic() - begin, 1)}
    if ended == "failed":
        with log.open("rb") as stream:
            stream.seek(first)
            found["output"] = stream.read().decode(errors="replace")[-2000:]
    return found


def results(workdir: Path) -> dict[str, Any]:
    """Returns the last figures of a training, and those of its test if it ended."""
    found = {}
    metrics, test = workdir / "metrics.jsonl", workdir / "test.json"
    if metrics.exists():
        for line in metrics.read_text().splitlines():
            row = json.loads(line)
            found[row["kind"]] = row
    if test.exists():
        found["test"] = json.loads(test.read_text())
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the parts in order while there is time."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--budget-seconds", type=float, default=540)
    flags.add_argument("--out", type=Path, default=report.RESULTS)
    flags.add_argument("--runs", type=Path, default=ROOT / "runs" / "on_gpu")
    flags.add_argument("--only", default="", help="names of parts, by comma")
    flags.add_argument("--quick", action="store_true", help="small shapes: a look")
    options = flags.parse_args(argv)
    out, begin = options.out.absolute(), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    todo = parts(out, options.runs.absolute(), options.quick)
    if options.only:
        wanted = options.only.split(",")
        if unknown := set(wanted) - {part.name for part in todo}:
            names = [part.name for part in todo]
            flags.error(f"--only names {sorted(unknown)}; parts are {names}")
        todo = [part for part in todo if part.name in wanted]
    for part in todo:
        left = options.budget_seconds - (time.monotonic() - begin)
        if lacking := missing(part):
            row = {"ended": f"left out: {lacking} is missing"}
        elif left < 2 * _GRACE:
            row = {"ended": "left out: no time left"}
        else:
            row = run(part, out / "on_gpu.log", left)
            if part.workdir is not None:
                row |= results(part.workdir)
        with (out / "on_gpu.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"part": part.name, **row}) + "\n")
        seconds = time.monotonic() - begin
        print(f"{seconds:6.0f} s  {part.name:<14} {row['ended']}", flush=True)
        if "output" in row:
            print(row["output"], flush=True)
        for kind, figures in _short(row).items():
            print(f"          {kind}: {figures}", flush=True)
    print(report.table(report.rows(out, options.quick)))


def _short(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Returns the figures of a training that people look at first."""
    some = {"valid": row.get("valid", {}), **row.get("test", {})}
    keys = ("step", "recall@10", "ndcg@10")
    return {
        kind: {key: figures[key] for key in keys if key in figures}
        for kind, figures in some.items()
        if figures
    }


def _end(process: subprocess.Popen) -> None:
    """Ends a process and its helpers; a training saves its state when it is told to."""
    process.terminate()
    try:
        process.wait(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


if __name__ == "__main__":
    main()
