"""A study by several processes, each on its share of the cores.

A process takes the next cell that nobody has, trains it and goes on, so that the same
command given twice shares the work too. On a CPU two trainings of one core each are
faster than one of both: products of this size are too small to be divided.

    python -m jaxrec.study.workers WORKDIR NUMBER     what `run` starts
"""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxrec.core.config import CONFIG_FILE
from jaxrec.core.signals import Signals
from jaxrec.core.train import Stopped


class WorkerFailed(RuntimeError):
    """A process of the study ended with an error, which it has told."""


def run(workdir: Path, count: int) -> None:
    """Trains the cells of the study whose config.json is in `workdir`.

    Args:
      workdir: of the study.
      count: how many processes.

    Raises:
      WorkerFailed: once all have ended.
      Stopped: after SIGTERM or Ctrl-C, with everything saved.
    """
    started = []
    with Signals() as stop:
        try:
            for number, cores in enumerate(_shares(count), start=1):
                command = [sys.executable, "-m", __name__, str(workdir), str(number)]
                with _on(cores):
                    started.append(subprocess.Popen(command))
            statuses = _wait(started, stop)
        finally:
            for process in started:
                process.terminate()
                process.wait()
    if stop.received is not None:
        raise Stopped(128 + stop.received)
    for number, status in enumerate(statuses, start=1):
        if status:
            raise WorkerFailed(
                f"process {number} of {count} ended with status {status}; the same "
                "command goes on with what is missing"
            )


def _wait(started: Sequence[subprocess.Popen], stop: Signals) -> list[int]:
    told = False
    while any(process.poll() is None for process in started):
        if stop.received is not None and not told:
            # A terminal tells Ctrl-C to all of them, others only this process.
            for process in started:
                process.send_signal(signal.SIGTERM)
            told = True
        for process in started:
            try:
                process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                break
    return [process.returncode for process in started]


def _shares(count: int) -> list[list[int]]:
    """The cores of each process; none is to be chosen where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return [[]] * count
    cores = sorted(os.sched_getaffinity(0))
    ends = [len(cores) * i // count for i in range(count + 1)]
    return [cores[begin:end] or cores for begin, end in itertools.pairwise(ends)]


@contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """Processes that are started within run on these cores only."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class _Plain(io.TextIOWrapper):
    """Standard error of one of several processes, which share no live line."""

    def isatty(self) -> bool:
        return False


def main(argv: Sequence[str]) -> int:
    """Runs one process of a study; its exit status."""
    from jaxrec.core import cli
    from jaxrec.study import grid

    workdir, number = argv
    sys.stderr = _Plain(os.fdopen(os.dup(2), "wb", 0), write_through=True)
    with cli.readable_errors() as outcome:
        cli.prepare_process(debug=False, label=f"[{number}] ")
        grid.work(json.loads((Path(workdir) / CONFIG_FILE).read_text()), workdir)
    return outcome.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
