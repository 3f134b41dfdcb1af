"""A whole training beside RecBole's: speed, start, evaluation, memory, quality.

JAXREC_DATA_DIR=~/data python -m benchmarks.recbole [--quick] [--data ml100k]

The shipped config runs as a user would run it, on one core as RecBole did, in a process
of its own that finds nothing prepared: start-up includes reading the raw file and
compiling. RecBole's figures are constants, see `benchmarks.peers.recbole`; they come
from another day and process, so they are no interleaved ratio. Our quality is told with
*all* CPU seconds of the process behind it, RecBole's with its training seconds only.
"""

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import command, harness
from benchmarks.peers.recbole import PEERS


class Case(NamedTuple):
    """One training.

    Attributes:
        data: Argument of the config.
        length: Window.
        steps: Training steps.
        every: Steps between evaluations.
    """

    data: str
    length: int
    steps: int
    every: int


# Short ones show what little time gives; the longest take less than RecBole's runs.
CASES = (
    Case("ml100k", 50, 300, 50),
    Case("ml100k", 200, 60, 20),
    Case("ml100k", 200, 300, 50),
    Case("beauty", 50, 1500, 500),
)


def main(bench: harness.Benchmark) -> None:
    """Runs the cases of the data sets asked for."""
    wanted = bench.options.data.split(",") if bench.options.data else []
    for case in CASES:
        if not wanted or case.data in wanted:
            measure(bench, case._replace(steps=30, every=15) if bench.quick else case)


def measure(bench: harness.Benchmark, case: Case) -> None:
    """Trains, and records our figures with those of every peer on the same data."""
    log_every = max(case.every // 5, 1)
    settings = {
        "batch.length": case.length,
        "train.steps": case.steps,
        "train.eval_every": case.every,
        "train.save_every": case.steps,
        "train.log_every": log_every,
        "eval.mask": "all",
        **({"eval.max_users": 50} if bench.quick else {}),
    }
    with tempfile.TemporaryDirectory() as place:
        run = command.train(case.data, Path(place), settings)
        test = run.test()
    ours = figures(run, case.every)
    spent = run.usage.ru_utime + run.usage.ru_stime
    bench.record(
        "training",
        **case._asdict(),
        **ours,
        peak_mb=run.peak_bytes / 1e6,
        cpu_s=spent,
        recall10=test["lru"]["recall@10"],
        ndcg10=test["lru"]["ndcg@10"],
        ndcg10_se=test["lru"]["ndcg@10_se"],
    )
    for peer in PEERS:
        if (peer.data, peer.length) != (case.data, case.length):
            continue
        rate = ours["targets_per_cpu_s"] / peer.targets_per_cpu_s
        bench.record(
            "target R1",
            target="R1",
            peer=f"RecBole {peer.model}",
            **case._asdict(),
            reached=rate,
            start=peer.start_cpu_s / ours["start_cpu_s"],
            evaluation=peer.evaluation_cpu_s / ours["evaluation_cpu_s"],
            memory=peer.peak_mb * 1e6 / run.peak_bytes,
        )
    for peer in PEERS:
        if peer.data == case.data and peer.ndcg10 is not None:
            bench.record(
                "target R2",
                target="R2",
                peer=f"RecBole {peer.model}",
                **case._asdict(),
                reached=test["lru"]["ndcg@10"] / peer.ndcg10,
                cpu_s_share=spent / peer.ndcg10_cpu_s,
            )


def figures(run: command.Run, every: int) -> dict[str, float]:
    """Returns start-up, rate of training and cost of one evaluation, in CPU seconds.

    Args:
        run: A training.
        every: Steps between its evaluations, a multiple of those between its log rows.
    """
    train, valid = run.of_kind("train"), run.of_kind("valid")
    seconds = {row["step"]: row["time/cpu_seconds"] for row in train}
    # An evaluation comes after the row of its step.
    steps = [
        (seconds[row["step"]] - seconds[before["step"]])
        / (row["step"] - before["step"])
        for before, row in itertools.pairwise(train)
        if before["step"] % every
    ]
    last = train[-1]
    targets = last["time/examples_per_second"] / last["time/steps_per_second"]
    evaluations = [row["time/cpu_seconds"] - seconds[row["step"]] for row in valid]
    first = train[0]
    return {
        "start_cpu_s": first["time/cpu_seconds"]
        - first["step"] * float(np.median(steps)),
        "targets_per_cpu_s": targets / float(np.median(steps)),
        # The first compiles.
        "evaluation_cpu_s": float(np.median(evaluations[1:])),
        "first_evaluation_cpu_s": evaluations[0],
    }


def flags() -> argparse.ArgumentParser:
    """Returns the flags of this benchmark; one core unless asked otherwise."""
    found = harness.parser(__doc__)
    found.add_argument("--data", default="", help="names of data sets, by comma")
    found.set_defaults(threads=1)
    return found


if __name__ == "__main__":
    harness.run(main, "recbole", __doc__, flags())
