"""Everything that waits for a GPU, most valuable first, inside a budget of time.

python -m benchmarks.on_gpu [--budget-seconds 540] [--out DIR] [--quick] [--only scan]
    [--together 8]

Parts are processes of their own: one that fails or takes too long leaves the others
alone. In ``--out`` there are then, written as things become known: the rows of every
benchmark, ``on_gpu.jsonl`` with how each part ended (and the results of trainings), and
in ``on_gpu/`` what each part printed. The table of targets is printed last.

Benchmarks have the machine to themselves, and need jax, optax, etils and PyTorch only.
The trainings after them share it, ``--together`` at a time, since each alone leaves
most of a GPU idle. They need all that jaxrec depends on, and most of them data under
JAXREC_DATA_DIR; the same command goes on with those that did not finish, if ``--runs``
still has them.
"""

import argparse
import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import report

ROOT = Path(__file__).parents[1]
_GRACE = 20  # seconds that a part gets to end when it is told to
# Tuning products of several programs at once took two minutes before the first step.
_COMPILE_FAST = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
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


def parts(out: Path, runs: Path, quick: bool, each: float = 5.0) -> list[Part]:
    """Returns all parts, most valuable first; a comparison takes `each` seconds."""
    flags = ["--out", str(out), f"--seconds={each}", *(["--quick"] if quick else [])]

    def bench(
        name: str, seconds: float, *more: str, needs: tuple[str, ...] = ()
    ) -> Part:
        command = [sys.executable, "-m", f"benchmarks.{name}", *flags, *more]
        return Part(name, command, seconds, needs)

    def training(
        name: str,
        seconds: float,
        config: str,
        *more: str,
        package: str = "jaxrec",
        needs: tuple[str, ...] = ("JAXREC_DATA_DIR",),
    ) -> Part:
        file, _, argument = config.partition(":")
        command = [
            *(sys.executable, "-m", f"{package}.main", f"--workdir={runs / name}"),
            f"--config={ROOT / 'configs' / file}.py:{argument}".rstrip(":"),
            *more,
        ]
        return Part(name, command, seconds, (*_MODULES, *needs), runs / name)

    def process(name: str, config: str, steps: int) -> Part:
        """A clustering process, on more sets a step than a CPU would take."""
        return training(
            name,
            1500,
            config,
            f"--config.batch.sets={4 if quick else 64}",
            f"--config.train.steps={2 if quick else steps}",
            *(["--config.eval.sets=2"] if quick else []),
            package="jaxbio",
            needs=(),
        )

    def study(data: str, arm: str, mode: str) -> Part:
        """A cell of the study; cells can be put into one directory later."""
        return training(
            f"{data}-{arm}-{mode}",
            1500,
            f"ae_ar:{data}",
            f"--config.study.arms=('{arm}',)",
            f"--config.study.modes=('{mode}',)",
            "--config.run.model.compute_dtype=bfloat16",
            *(_quick_steps(f"modes.{mode}.", "run.") if quick else []),
        )

    def recommender(name: str, config: str, seed: int, *more: str) -> Part:
        return training(
            f"{name}-{seed}",
            600,
            config,
            f"--config.seed={seed}",
            "--config.model.compute_dtype=bfloat16",
            *more,
            *(_quick_steps("", "") if quick else []),
        )

    def against_ids(data: str, seed: int) -> list[Part]:
        """fMRLRec at its published sizes, and LRURec of the largest."""
        protocol = ("--config.eval.mask=none", "--config.train.monitor=ndcg@10")
        return [
            recommender(f"fmrlrec-{data}", f"fmrlrec:{data}", seed, *_SIZES),
            recommender(f"ids-{data}", f"lrurec:{data}", seed, *_WIDE, *protocol),
        ]

    every_item = ("--config.loss.name=softmax", "--config.loss.samples=0")
    cells = [("ml1m", "ce"), *itertools.product(("games", "beauty"), _ARMS)]
    return [
        bench("attention_step", 150),
        bench("study_group", 90),
        bench("topk", 90),
        bench("nested", 90),
        bench("funnel", 120),
        bench("serving", 120, "--only", "batch,window"),
        bench("clustering", 120, "--only", "speed", needs=("numba",)),
        bench("scan", 100),
        bench("train_step", 150),
        bench("softmax", 150),
        bench("evaluation", 90),
        *(study(*cell, mode) for mode in ("ar", "ae") for cell in cells),
        *(
            part
            for seed in (42, 43, 44)
            for data in ("beauty", "toys", "games2018", "yelp")
            for part in against_ids(data, seed)
        ),
        *(
            recommender(f"lrurec-{data}", f"lrurec:{data}", seed, *every_item)
            for data in ("beauty_sasrec", "games")
            for seed in (42, 43)
        ),
        process("spikes", "acp_spikes", 20_000),
        process("social", "acp_graphs:social", 10_000),
        process("symmetric", "acp_graphs:symmetric", 10_000),
        recommender("lrurec-ml1m", "lrurec:ml1m", 42),
    ]


_SIZES = ("--config.model.sizes=(8,16,32,64,128,256,512,1024)",)
_SIZES += ("--config.model.size_weights=()",)
_WIDE = ("--config.model.dim=1024",)
_ARMS = ("ce", "local", "bpr")


def _quick_steps(where: str, run: str) -> list[str]:
    """Flags of a training of two steps, of a section with train and one with batch."""
    few = {f"{where}train.steps": 2, f"{run}train.eval_every": 2, f"{run}batch.size": 8}
    return [f"--config.{key}={value}" for key, value in few.items()]


def missing(part: Part) -> str:
    """Returns what a part needs and this machine lacks, or ""."""
    for need in part.needs:
        if need.isupper():
            if not os.path.isdir(os.environ.get(need, "")):
                return need
        elif importlib.util.find_spec(need) is None:
            return need
    return ""


def run(part: Part, log: Path, seconds: float, share: float = 1.0) -> dict[str, Any]:
    """Runs a part and says how it ended.

    Args:
        part: What to run.
        log: File that its output is appended to.
        seconds: Most seconds it may take, `_GRACE` to end among them.
        share: Of the accelerator's memory.

    Returns:
        ``ended`` ("done", "failed", "stopped at its limit"), ``seconds``, and the end
        of the output if it failed.
    """
    begin = time.monotonic()
    environment = dict(os.environ)
    if share < 1:
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * share:.3f}"
        flags = os.environ.get("XLA_FLAGS", "")
        environment["XLA_FLAGS"] = f"{flags} {_COMPILE_FAST}".strip()
    with log.open("ab") as stream:
        stream.write(f"\n== {part.name}: {' '.join(part.command)}\n".encode())
        stream.flush()
        first = stream.tell()
        process = subprocess.Popen(
            part.command,
            cwd=ROOT,
            env=environment,
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
        figures = json.loads(test.read_text())
        nested = all(isinstance(value, dict) for value in figures.values())
        found["test"] = figures if nested else {"test": figures}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the parts in order while there is time."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--budget-seconds", type=float, default=540)
    flags.add_argument("--seconds", type=float, default=5, help="of a comparison")
    flags.add_argument("--out", type=Path, default=report.RESULTS)
    flags.add_argument("--runs", type=Path, default=ROOT / "runs" / "on_gpu")
    flags.add_argument("--only", default="", help="names of parts, by comma")
    flags.add_argument("--together", type=int, default=8, help="trainings at a time")
    flags.add_argument("--quick", action="store_true", help="small shapes: a look")
    options = flags.parse_args(argv)
    out, begin = options.out.absolute(), time.monotonic()
    (out / "on_gpu").mkdir(parents=True, exist_ok=True)
    todo = parts(out, options.runs.absolute(), options.quick, options.seconds)
    if options.only:
        wanted = options.only.split(",")
        if unknown := set(wanted) - {part.name for part in todo}:
            names = [part.name for part in todo]
            flags.error(f"--only names {sorted(unknown)}; parts are {names}")
        todo = [part for part in todo if part.name in wanted]
    writing = threading.Lock()

    def one(part: Part, share: float = 1.0) -> None:
        left = options.budget_seconds - (time.monotonic() - begin)
        if lacking := missing(part):
            row = {"ended": f"left out: {lacking} is missing"}
        elif left < 2 * _GRACE:
            row = {"ended": "left out: no time left"}
        else:
            row = run(part, out / "on_gpu" / f"{part.name}.log", left, share)
            if part.workdir is not None:
                row |= results(part.workdir)
        with writing:
            with (out / "on_gpu.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"part": part.name, **row}) + "\n")
            _tell(part, row, time.monotonic() - begin)

    trainings = [part for part in todo if part.workdir is not None]
    for part in todo:
        if part not in trainings:
            one(part)
    many = max(1, min(options.together, len(trainings)))
    _in_order(lambda part: one(part, 1 / many), trainings, many)
    print(report.table(report.rows(out, options.quick)))


def _in_order(work: Callable[[Part], None], todo: Sequence[Part], many: int) -> None:
    """Begins parts in their order, with so many under way."""
    with ThreadPoolExecutor(many) as pool:
        for waiting in [pool.submit(work, part) for part in todo]:
            waiting.result()


def _tell(part: Part, row: dict[str, Any], seconds: float) -> None:
    print(f"{seconds:6.0f} s  {part.name:<14} {row['ended']}", flush=True)
    if "output" in row:
        print(row["output"], flush=True)
    for kind, figures in _short(row).items():
        print(f"          {kind}: {figures}", flush=True)


def _short(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Returns the figures of a training that people look at first."""
    some = {"valid": row.get("valid", {}), **row.get("test", {})}
    keys = ("step", "recall@10", "ndcg@10", "elbo", "ami", "best_ami")
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
