"""Training at the size of XLong: 69,691 users, 66.8 million events, 2.1 million items.

python -m benchmarks.scale [--quick]

The shipped config `configs/lrurec.py:xlong` runs as a user would run it, in a process
of its own: sampled softmax, memory-mapped arrays, full-ranking evaluation of a few
users and a checkpoint of the whole state. Recorded: peak memory of that process in GiB
(target S2), steps per second, GiB of the checkpoint.
"""

import tempfile
from pathlib import Path

from benchmarks import command, harness

QUICK = {"data.num_users": 500, "data.num_items": 20_000, "data.num_events": 200}


def main(bench: harness.Benchmark) -> None:
    """Runs the config for a few steps."""
    steps = 4 if bench.quick else 10
    settings = {
        "train.steps": steps,
        "train.log_every": steps // 2,
        "train.eval_every": steps,
        "train.save_every": steps,
        "eval.max_users": 64,
        **(QUICK if bench.quick else {}),
    }
    with tempfile.TemporaryDirectory() as place:
        run = command.train("xlong", Path(place), settings)
        checkpoint = sum(
            path.stat().st_size
            for path in (run.workdir / "checkpoints/last").rglob("*")
            if path.is_file()
        )
    last = run.of_kind("train")[-1]
    bench.target(
        "S2",
        run.peak_bytes / 2**30,
        shape="xlong",
        steps=steps,
        cpu_seconds_in_all=run.usage.ru_utime + run.usage.ru_stime,
        steps_per_second=last["time/steps_per_second"],
        targets_per_second=last["time/examples_per_second"],
        loss=last["loss"],
        checkpoint_gib=checkpoint / 2**30,
    )


if __name__ == "__main__":
    harness.run(main, "scale", __doc__)
