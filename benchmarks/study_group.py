"""Members of a study trained as one program against runs one after the other.

python -m benchmarks.study_group [--quick] [--threads 1]

Four members that differ in their seed, each with batches, parameters and masks of its
own, as `jaxrec.study.group.Group` trains them: one step of all of them against four
calls of one compiled step and against four steps compiled one by one.
Losses of the first step agree, dropout included. Compilation is told beside the times,
of all that a side compiles; the study's encoder, SASRec, on one device.
"""

import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import harness
from benchmarks.attention_step import MICRO
from benchmarks.shapes import SHAPES, Shape, histories
from benchmarks.training import Trainer, make_config, make_split, make_task
from jaxrec.core import parallel, timing
from jaxrec.study.group import Group
from jaxrec.tasks.next_item import NextItem

MEMBERS = 4


class Together:
    """A group's compiled step with its state: each call trains all members by one step.

    Attributes:
        program: The compiled step.
        compile_s: Seconds that compilation took.
    """

    def __init__(self, tasks: list[NextItem]):
        with tempfile.TemporaryDirectory() as workdir:
            group = Group(tasks, Path(workdir), "benchmark")
            batch = parallel.put_batch(group.batch(0), group.mesh)
            self._state, *self._rest = arguments = group.arguments(batch)
            self.program, self.compile_s = timing.compile_timed(
                group.program, *arguments
            )
            group.close()

    def __call__(self) -> jax.Array:
        self._state, losses = self.program(self._state, *self._rest)
        return losses


def main(bench: harness.Benchmark) -> None:
    """Measures long users and short ones."""
    for name in ("ml1m-s",) if bench.quick else ("ml1m-s", "beauty-12k"):
        compare(bench, SHAPES[name])


def compare(bench: harness.Benchmark, shape: Shape, members: int = MEMBERS) -> None:
    """Compares a step of all members (target A2)."""
    split = make_split(histories(shape, members * shape.batch), shape.items)
    micro = MICRO.get(shape.name, 0)
    tasks = [
        make_task(split, make_config(shape, "sasrec", seed, micro=micro))
        for seed in range(members)
    ]
    together = Together(tasks)
    begin = [(task, _params(task)) for task in tasks]
    several = [Trainer(task, params) for task, params in begin]
    once = [Trainer(task, params, several[0].program) for task, params in begin]
    first = {"one after the other": sum(float(trainer()) for trainer in once)}
    first["together"] = float(np.sum(together()))
    bench.agree(f"losses of step 1, {shape.name}", first)

    compiled = {
        "one program": several[0].compile_s,
        "programs of their own": sum(trainer.compile_s for trainer in several),
        "together": together.compile_s,
    }
    plans: dict[str, Any] = {
        "one program": timing.memory_plan(several[0].program),
        "together": timing.memory_plan(together.program),
    }
    result = bench.compare(
        f"one step of {members} members",
        {
            "one program": lambda: [trainer() for trainer in once],
            "programs of their own": lambda: [trainer() for trainer in several],
            "together": together,
        },
        twin="together",
        work={"valid_tokens": sum(trainer.targets for trainer in once)},
        facts={
            name: {"compile_s": seconds, **plans.get(name, {})}
            for name, seconds in compiled.items()
        },
        shape=shape.name,
        members=members,
    )
    bench.target(
        "A2",
        result.speedup("together"),
        shape=shape.name,
        cpu_ratio=result.speedup("together", "cpu").median,
        compile_ratio=compiled["programs of their own"] / compiled["together"],
    )


def _params(task):
    """What a run of the task begins with."""
    key = jax.random.fold_in(jax.random.key(task.config["seed"]), 0)
    return task.init(key)


if __name__ == "__main__":
    harness.run(main, "study_group", __doc__)
