"""Packed rows against padded rows: the same users, the same targets, our own step.

python -m benchmarks.packing [--quick] [--threads 1]

A call trains on a small epoch, batch by batch, in the layout that it is named after.
Users of Beauty have five events where rows have fifty; padding is 89 % of the work.
"""

import dataclasses

import numpy as np

from benchmarks import harness
from benchmarks.peers import reference
from benchmarks.shapes import SHAPES, Shape, histories
from benchmarks.training import (
    Trainer,
    make_config,
    make_split,
    make_task,
    one_window_each,
)
from jaxrec.core import parallel, timing
from jaxrec.interop import lrurec_from_torch

DROPOUT = 0.5


class Epoch:
    """Trains on all batches of a small epoch; a call is one epoch.

    Args:
        shape: What is trained on.
        layout: "packed" or "padded".
        users: Number of users of the epoch.
    """

    def __init__(self, shape: Shape, layout: str, users: int):
        data = one_window_each(histories(shape, users), shape.length)
        config = make_config(shape, layout=layout, dropout=DROPOUT)
        task = make_task(make_split(data, shape.items), config)
        published = reference.published_parameters(shape.items, shape.dim, shape.blocks)
        self.trainer = Trainer(task, lrurec_from_torch(published)[1])
        batches = [task.batch(step) for step in range(task.batches.steps_per_epoch)]
        self.rows = sum(len(batch["row"]) for batch in batches)
        labels = np.concatenate([batch["labels"].ravel() for batch in batches])
        self.labels = np.sort(labels[labels > 0])
        self._batches = [parallel.put_batch(batch, task.mesh) for batch in batches]

    def __call__(self):
        for batch in self._batches:
            loss = self.trainer(batch)
        return loss


def main(bench: harness.Benchmark) -> None:
    """Measures the shapes of short users."""
    shapes = [SHAPES["beauty"], SHAPES["games"]]
    if bench.quick:
        shapes = [dataclasses.replace(shapes[0], items=2_000, batch=32)]
    for shape in shapes:
        compare(bench, shape)


def compare(bench: harness.Benchmark, shape: Shape, batches: int = 2) -> None:
    """Compares one epoch in both layouts (target P6)."""
    epochs = {
        layout: Epoch(shape, layout, shape.batch * batches)
        for layout in ("padded", "packed")
    }
    labels = {layout: epoch.labels for layout, epoch in epochs.items()}
    if not np.array_equal(labels["padded"], labels["packed"]):
        raise ValueError(f"{shape.name}: the layouts do not hold the same targets")
    result = bench.compare(
        "epoch",
        epochs,
        twin="packed",
        work={"valid_tokens": len(labels["packed"])},
        facts={
            layout: {
                "rows": epoch.rows,
                "compile_s": epoch.trainer.compile_s,
                **timing.memory_plan(epoch.trainer.program),
            }
            for layout, epoch in epochs.items()
        },
        shape=shape.name,
        batches=batches,
        dropout=DROPOUT,
    )
    wall, cpu = result.speedup("packed"), result.speedup("packed", "cpu")
    bench.target("P6", wall, shape=shape.name, cpu_ratio=cpu.median)


if __name__ == "__main__":
    harness.run(main, "packing", __doc__)
