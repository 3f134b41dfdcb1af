"""What every benchmark shares: flags, rows on disk, a table on the screen.

    def main(bench: Benchmark) -> None:
        shape = SHAPES["ml1m-s" if bench.quick else "ml1m"]
        ...
        bench.agree("step", {"published": loss_a, "jaxrec": loss_b}, rtol=1e-5)
        bench.compare(
            "step",
            {"published": published_step, "jaxrec": our_step},
            work={"valid_tokens": batch.targets},
            facts={"jaxrec": {"compile_s": seconds, **memory_plan(compiled)}},
            shape=shape.name,
        )

    if __name__ == "__main__":
        run(main, "train_step", __doc__)

`python -m benchmarks.train_step` then works on a CPU and on a GPU alike. Rows are
appended to ``benchmarks/results/train_step.jsonl`` as soon as they are known, one JSON
object per line, each with date, device, versions, command and git commit.

Both sides of a comparison run on the same cores: ``--threads`` restricts the process,
and so the thread pools of XLA and of PyTorch, before either exists. They also share the
C library's allocator, which is left as PyTorch's users have it unless
``--keep_freed_memory`` asks for what `jaxrec.main` sets (`jaxrec.core.allocator`).
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.core import timing
from jaxrec.core.allocator import keep_freed_memory

RESULTS = Path(__file__).parent / "results"

_ROUNDS, _LATENCY_ROUNDS, _WARMUP = 15, 200, 3
_ROUNDED = 1e-3  # relative, of sums of products of factors with ten bits
_QUICK_ROUNDS, _QUICK_LATENCY_ROUNDS, _QUICK_WARMUP = 3, 50, 1


class Benchmark:
    """One run of one benchmark.

    Args:
        name: Name of the benchmark and of its file of results.
        options: Flags, as `parser` reads them.

    Attributes:
        name: As given.
        quick: Whether to measure little: small shapes and few rounds.
        threads: Number of CPU cores that both sides may use.
        options: All flags, also those that the benchmark added.
        path: File that rows are appended to.
    """

    def __init__(self, name: str, options: argparse.Namespace):
        self.name = name
        self.options = options
        self.quick = options.quick
        self.path = Path(options.out) / f"{name}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.threads = _restrict_threads(options.threads)
        self._keeps = options.keep_freed_memory and keep_freed_memory()
        self._commit = git_commit(Path(__file__).parent)

    def rounds(self, latency: bool = False) -> int:
        """Returns how many rounds to measure: more for the percentiles of a latency."""
        if self.options.rounds is not None:
            return self.options.rounds
        if self.quick:
            return _QUICK_LATENCY_ROUNDS if latency else _QUICK_ROUNDS
        return _LATENCY_ROUNDS if latency else _ROUNDS

    def agree(self, case: str, values: Mapping[str, float], rtol: float = 1e-5) -> None:
        """Checks before timing that all sides compute the same number.

        On an accelerator, where float32 products are of rounded factors, to `_ROUNDED`
        at best.

        Raises:
            ValueError: If a value differs from the first one by more than `rtol`.
        """
        if jax.default_backend() != "cpu":
            rtol = max(rtol, _ROUNDED)
        (first, expected), *others = values.items()
        for name, value in others:
            if not abs(float(value) - float(expected)) <= rtol * abs(float(expected)):
                raise ValueError(
                    f"{self.name}, {case}: {name} gives {float(value)!r}, but {first} "
                    f"gives {float(expected)!r} (tolerance {rtol:g} relative): "
                    "they do not compute the same thing"
                )

    def compare(
        self,
        case: str,
        candidates: Mapping[str, Callable[[], Any]],
        *,
        baseline: str | None = None,
        twin: str | None = None,
        calls: int = 1,
        latency: bool = False,
        work: Mapping[str, float] | None = None,
        floor_s: float | None = None,
        facts: Mapping[str, Mapping[str, Any]] | None = None,
        **shared: Any,
    ) -> timing.Comparison:
        """Compares candidates, writes a row for each and prints them as a table.

        Args:
            case: What is compared, a short title.
            candidates: Functions without arguments by name, compiled beforehand.
            baseline: The peer; the first candidate if not given.
            twin: Candidate that is timed twice; the baseline if not given.
            calls: Calls per measurement, see `jaxrec.core.timing.compare`.
            latency: Whether percentiles matter: more rounds, microseconds.
            work: What one call gets done, such as ``{"valid_tokens": 13746}``; rows
                tell it per second.
            floor_s: Seconds that no program can be faster than; rows tell which
                fraction of it was reached.
            facts: What else is known of single candidates, by name.
            **shared: What else is known of all of them (shape, dtype).

        Returns:
            The times of all rounds.
        """
        result = timing.compare(
            candidates,
            rounds=self.rounds(latency),
            warmup=_QUICK_WARMUP if self.quick else _WARMUP,
            seed=self.options.seed,
            baseline=baseline,
            twin=twin,
            calls=calls,
            seconds=self.options.seconds,
            finish=finish,
        )
        report = self._report()
        rows = []
        for row in result.rows():
            name = row["candidate"]
            known = dict((facts or {}).get(name, {}))
            for unit, amount in (work or {}).items():
                known[f"{unit}_per_s"] = amount / row["wall_s"]
                known[f"{unit}_per_cpu_s"] = amount / row["cpu_s"]
            if floor_s is not None:
                known |= {"floor_s": floor_s, "of_floor": floor_s / row["wall_s"]}
            row = {"case": case, **row, **shared, **known}
            self._write({**row, **report})
            rows.append({**row, "facts": known})
        noise = result.noise()
        print(
            f"\n{self.name}: {case}  "
            + "  ".join(f"{key}={value}" for key, value in shared.items())
            + f"\n{result.rounds} rounds on {report['device']} ({report['cpu']}, "
            f"{self.threads} cores), load {result.load[0]:.1f} to "
            f"{result.load[1]:.1f}, twins within {noise.p10:.2f} to {noise.p90:.2f}"
        )
        print(_table(rows, latency), flush=True)
        return result

    def record(self, case: str, **facts: Any) -> None:
        """Writes and prints one row that is no comparison (a rate, a size)."""
        self._write({"case": case, **facts, **self._report()})
        print(
            f"\n{self.name}: {case}  "
            + "  ".join(f"{key}={value}" for key, value in facts.items()),
            flush=True,
        )

    def target(
        self, name: str, reached: float | np.ndarray | timing.Spread, **facts: Any
    ) -> None:
        """Records what was reached of a target of `benchmarks.report`.

        Args:
            name: The target.
            reached: A number; or one per round or their spread, of which the median is
                told with the 10th and 90th percentile.
            **facts: What it was reached with.
        """
        if isinstance(reached, np.ndarray):
            reached = timing.Spread(*map(float, np.percentile(reached, (50, 10, 90))))
        if isinstance(reached, timing.Spread):
            facts = {"p10": reached.p10, "p90": reached.p90, **facts}
            reached = reached.median
        self.record(f"target {name}", target=name, reached=reached, **facts)

    def _report(self) -> dict[str, Any]:
        settings = {
            "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
            "keep_freed_memory": self._keeps,
        }
        return {**timing.device_report(), **settings, "commit": self._commit}

    def _write(self, row: Mapping[str, Any]) -> None:
        line = json.dumps({"benchmark": self.name, "quick": self.quick, **row})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def parser(description: str | None = None) -> argparse.ArgumentParser:
    """Returns the flags that every benchmark has; a benchmark may add its own."""
    summary = (description or "").strip().partition("\n")[0]
    flags = argparse.ArgumentParser(description=summary)
    flags.add_argument("--rounds", type=int, help="rounds of every comparison")
    flags.add_argument(
        "--seconds", type=float, help="begin no new round of a comparison after these"
    )
    flags.add_argument("--out", default=str(RESULTS), help="directory for results")
    flags.add_argument(
        "--quick", action="store_true", help="small shapes and few rounds: a look"
    )
    flags.add_argument("--threads", type=int, help="CPU cores to use (default: all)")
    flags.add_argument("--seed", type=int, default=0, help="of the order in rounds")
    flags.add_argument(
        "--keep_freed_memory",
        action="store_true",
        help="as jaxrec.main does, for both sides (default: the system's way)",
    )
    return flags


def run(
    main: Callable[[Benchmark], None],
    name: str,
    description: str | None = None,
    flags: argparse.ArgumentParser | None = None,
    argv: Sequence[str] | None = None,
) -> None:
    """Runs a benchmark from the command line.

    Args:
        main: Measures.
        name: Name of the benchmark and of its file of results.
        description: Its first line is shown by ``--help``.
        flags: What `parser` gave, with flags added; plain `parser` if not given.
        argv: Arguments; those of the process if not given.
    """
    flags = parser(description) if flags is None else flags
    main(Benchmark(name, flags.parse_args(argv)))


def finish(outputs: Any) -> None:
    """Waits for the outputs of a candidate, be they of JAX or of PyTorch."""
    jax.block_until_ready(outputs)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _table(rows: Sequence[Mapping[str, Any]], latency: bool = False) -> str:
    """Formats the rows of one comparison, a candidate per line.

    Args:
        rows: As `jaxrec.core.timing.Comparison.rows`, each with ``facts``, a mapping of
            further columns.
        latency: Whether to show microseconds with the 99th percentile instead of
            milliseconds.
    """
    facts = list(dict.fromkeys(key for row in rows for key in row["facts"]))
    times = ["p50 us", "p99 us", "min us"] if latency else ["wall ms", "CPU ms"]
    header = ["", *times, "speed-up (p10 to p90)", "in CPU time (p10 to p90)", *facts]
    lines = [header]
    for row in rows:
        if latency:
            keys = "wall_s", "wall_p99_s", "wall_min_s"
            durations = [1e6 * row[key] for key in keys]
        else:
            durations = [1e3 * row["wall_s"], 1e3 * row["cpu_s"]]
        line = [row["candidate"], *map(_number, durations)]
        line += [_spread(row, "speedup"), _spread(row, "cpu_speedup")]
        line += [_number(row["facts"].get(fact, "")) for fact in facts]
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _number(value: Any) -> str:
    """Formats a number with four digits at least, thousands apart; text as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if abs(value) >= 1000 or isinstance(value, int):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _spread(row: Mapping[str, Any], key: str) -> str:
    low, high = row[f"{key}_p10"], row[f"{key}_p90"]
    return f"{row[key]:.2f} ({low:.2f} to {high:.2f})"


def _restrict_threads(threads: int | None) -> int:
    """Restricts the process to some of its cores; returns how many it may use.

    Raises:
        ValueError: If there are not so many, or the system cannot do it.
    """
    # PyTorch and JAX share a GPU: neither may take all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if threads is not None:
        if not hasattr(os, "sched_setaffinity"):
            raise ValueError(f"--threads needs Linux, this is {sys.platform}")
        cores = sorted(os.sched_getaffinity(0))
        if not 1 <= threads <= len(cores):
            raise ValueError(f"--threads must be 1 to {len(cores)}, not {threads}")
        os.sched_setaffinity(0, cores[-threads:])
    threads = timing.usable_cores()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    return threads


def git_commit(folder: Path) -> str | None:
    """Returns the commit of a folder, with "+" if more than results differs from it."""
    git = ["git", "-C", str(folder)]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        # Under a git hook these variables would point git at another repository.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        ask = {"check": True, "capture_output": True, "text": True, "env": environment}
        commit = subprocess.run([*git, "rev-parse", "HEAD"], **ask).stdout.strip()
        others = [":(top)", ":(top,exclude)benchmarks/results"]
        status = [*git, "status", "--porcelain", "--", *others]
        changes = subprocess.run(status, **ask).stdout
        return commit + ("+" if changes.strip() else "")
    return None
