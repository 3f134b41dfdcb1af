"""A whole training beside RecBole's: speed, start, evaluation, memory, quality.

JAXREC_DATA_DIR=~/data python -m benchmarks.recbole --peer=recbole/bin/python
    [--quick] [--data ml100k] [--models GRU4Rec,SASRec]

The shipped config runs as a user would run it, on one core, in a process of its own
that finds nothing prepared: start-up includes reading the raw file and compiling. Then
RecBole trains on the same events and the same core, in an interpreter whose making
`benchmarks.peers.recbole_training` explains; without one only our figures are recorded.
Quality is the validation NDCG@10 with the history masked: ours after *all* CPU seconds
of the process, RecBole's after those of its start and training only.
"""

import argparse
import itertools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jaxrec.data
from benchmarks import command, harness
from jaxrec.data.sequences import Sequences


class Case(NamedTuple):
    """One training.

    Attributes:
        data: Argument of the config.
        length: Window.
        steps: Training steps.
        every: Steps between evaluations.
        seconds: CPU seconds that a peer trains.
    """

    data: str
    length: int
    steps: int
    every: int
    seconds: int


CASES = (
    Case("ml100k", 50, 300, 10, 150),
    Case("ml100k", 200, 200, 10, 150),
    Case("beauty", 50, 1500, 150, 150),
)
_QUICK = {"steps": 30, "every": 10, "seconds": 10}


def main(bench: harness.Benchmark) -> None:
    """Runs the cases of the data sets asked for."""
    wanted = bench.options.data.split(",") if bench.options.data else []
    for case in CASES:
        if not wanted or case.data in wanted:
            measure(bench, case._replace(**_QUICK) if bench.quick else case)


def measure(bench: harness.Benchmark, case: Case) -> None:
    """Trains ours, then every peer, and records the figures and their ratios."""
    settings = {
        "batch.length": case.length,
        "train.steps": case.steps,
        "train.eval_every": case.every,
        "train.save_every": case.steps,
        "train.log_every": case.every // 5,
        "eval.mask": "all",
        **({"eval.max_users": 50} if bench.quick else {}),
    }
    with tempfile.TemporaryDirectory() as place:
        run = command.train(case.data, Path(place), settings)
        test = run.test()
        ours = figures(run, case.every)
        bench.record(
            "training",
            model="jaxrec",
            **case._asdict(),
            **ours,
            test_ndcg10=test["lru"]["ndcg@10"],
            test_ndcg10_se=test["lru"]["ndcg@10_se"],
        )
        if not bench.options.peer:
            return
        split = jaxrec.data.load({"name": case.data, "cache": f"{place}/cache"})
        write_events(split.sequences, Path(place) / case.data)
        for model in bench.options.models.split(","):
            theirs = train_peer(bench.options.peer, model, case, Path(place))
            bench.record(
                "training", model=f"RecBole {model}", **case._asdict(), **theirs
            )
            compare(bench, case, ours, f"RecBole {model}", theirs)


def compare(
    bench: harness.Benchmark,
    case: Case,
    ours: dict[str, Any],
    peer: str,
    theirs: dict[str, Any],
) -> None:
    """Records the ratios, all of them better the larger they are."""
    facts = {"peer": peer, **case._asdict()}
    bench.target(
        "R1",
        ours["targets_per_cpu_s"] / theirs["targets_per_cpu_s"],
        **facts,
        start=theirs["start_cpu_s"] / ours["start_cpu_s"],
        evaluation=theirs["evaluation_cpu_s"] / ours["evaluation_cpu_s"],
        memory=theirs["peak_mb"] / ours["peak_mb"],
    )
    bench.target("R2", lead(ours["curve"], theirs["curve"]), **facts)


def lead(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """Returns the smallest ratio of our best quality to theirs at one time.

    Args:
        ours: Pairs of CPU seconds and quality.
        theirs: The same; only their times count, ours is 0 before the first of ours.
    """
    ratios = []
    for seconds, quality in theirs:
        best = max((value for time, value in ours if time <= seconds), default=0.0)
        ratios.append(best / quality)
    return min(ratios)


def train_peer(python: str, model: str, case: Case, place: Path) -> dict[str, Any]:
    """Returns the figures of a training in another interpreter.

    Args:
        python: The interpreter.
        model: Name of the model in RecBole.
        case: What is trained.
        place: Directory with the events, see `write_events`.
    """
    out = place / "figures.json"
    given = {
        "data": place,
        "name": case.data,
        "model": model,
        "length": case.length,
        "seconds": case.seconds,
        "every": case.seconds / 10,
        "out": out,
    }
    program = command.ROOT / "benchmarks/peers/recbole_training.py"
    arguments = [f"--{name}={value}" for name, value in given.items()]
    subprocess.run([python, program, *arguments], cwd=place, check=True)
    return json.loads(out.read_text())


def write_events(sequences: Sequences, directory: Path) -> None:
    """Writes the events as RecBole reads them, each with its place in its history."""
    users = np.repeat(np.arange(sequences.users), np.diff(sequences.offsets))
    places = np.arange(sequences.events) - sequences.offsets[users]
    directory.mkdir()
    with open(directory / f"{directory.name}.inter", "w") as file:
        file.write("user_id:token\titem_id:token\tplace:float\n")
        np.savetxt(file, np.stack([users, sequences.values, places], 1), "%d", "\t")


def figures(run: command.Run, every: int) -> dict[str, Any]:
    """Returns what a training of ours cost and reached, as the peer's program does.

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
        "peak_mb": run.peak_bytes / 1e6,
        "curve": [[row["time/cpu_seconds"], row["ndcg@10"]] for row in valid],
    }


def flags() -> argparse.ArgumentParser:
    """Returns the flags of this benchmark; one core unless asked otherwise."""
    found = harness.parser(__doc__)
    found.add_argument("--data", default="", help="names of data sets, by comma")
    found.add_argument("--peer", default="", help="Python interpreter with RecBole")
    found.add_argument("--models", default="GRU4Rec,SASRec", help="of RecBole")
    found.set_defaults(threads=1)
    return found


if __name__ == "__main__":
    harness.run(main, "recbole", __doc__, flags())
