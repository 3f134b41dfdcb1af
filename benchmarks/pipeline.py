"""Batches alone, steps alone, both together: does training ever wait for its data?

python -m benchmarks.pipeline [--quick] [--threads 1]

"Both" takes batches from the thread that `jaxrec.core.train.fit` takes them from. Steps
go on through the shuffled epochs of a whole generated data set, so that planning an
epoch is part of the time.
"""

import dataclasses
import itertools

import numpy as np

from benchmarks import harness
from benchmarks.peers import reference
from benchmarks.shapes import SHAPES, Shape, histories
from benchmarks.training import Trainer, make_config, make_split, make_task
from jaxrec.core import parallel
from jaxrec.core.train import prefetched
from jaxrec.interop import lrurec_from_torch


def main(bench: harness.Benchmark) -> None:
    """Measures long users, and short users, whose batches hold many more of them."""
    if bench.quick:
        shape = dataclasses.replace(SHAPES["beauty"], batch=32, items=2_000)
        compare(bench, shape, users=400, steps=4)
        return
    compare(bench, SHAPES["ml1m"], users=6_040, steps=4)
    compare(bench, SHAPES["beauty"], users=20_000, steps=12)


def compare(bench: harness.Benchmark, shape: Shape, users: int, steps: int) -> None:
    """Compares so many steps per call; "both" over the longer is target I1."""
    split = make_split(histories(shape, users), shape.items)
    task, alone = (make_task(split, make_config(shape)) for _ in range(2))
    published = reference.published_parameters(shape.items, shape.dim, shape.blocks)
    trainer = Trainer(task, lrurec_from_torch(published)[1])
    numbers = itertools.count()

    def batches():
        for _ in range(steps):
            batch = parallel.put_batch(alone.batch(next(numbers)), task.mesh)
        return batch

    def train():
        for _ in range(steps):
            loss = trainer()
        return loss

    begin = itertools.count(0, steps)

    def both():
        first = next(begin)
        for batch, _ in prefetched(task, task.mesh, first, first + steps):
            loss = trainer(batch)
        return loss

    result = bench.compare(
        "input pipeline",
        {"step alone": train, "batches alone": batches, "both": both},
        work={"steps": steps},
        shape=shape.name,
        users=users,
        fill=round(task.batches.fill, 3),
        rows=task.batches.rows,
    )
    longer = np.maximum(result.wall["step alone"], result.wall["batches alone"])
    bench.target("I1", result.wall["both"] / longer, shape=shape.name)


if __name__ == "__main__":
    harness.run(main, "pipeline", __doc__)
