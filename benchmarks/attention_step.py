"""A training step of SASRec and of HSTU: ours against SASRec in PyTorch.

python -m benchmarks.attention_step [--quick] [--shape beauty-12k] [--threads 1]

SASRec is the same model on both sides, `jaxrec.models.sar`: the same parameters, users
and targets, full cross-entropy and, without dropout, the same loss before the first
step. Ours trains packed rows, PyTorch right padded ones, as its users do, with and
without torch.compile. HSTU stands beside them on the same targets; it is another model
with its own loss, 128 uniform negatives, and so has no peer to agree with. On a GPU
both sides also run in bfloat16. Target A1 is told against the fastest PyTorch.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import harness
from benchmarks.attempts import attempt_all
from benchmarks.shapes import SHAPES, Shape, histories, padded, right_padded
from benchmarks.training import (
    Trainer,
    make_split,
    one_window_each,
    task_with_targets,
)
from jaxrec.core import timing
from jaxrec.interop import sar_to_torch
from jaxrec.tasks.next_item import NextItem

DROPOUT = 0.2
MODELS = "sasrec", "hstu"
DEFAULT_SHAPES = "ml1m", "beauty-12k"
# As shipped, but that HSTU too takes the few rows of short users in one part.
MICRO = {"beauty-12k": 1}


class Problem:
    """One batch of users in both layouts, with parameters of SASRec to begin with."""

    def __init__(self, shape: Shape):
        self.shape = shape
        data = histories(shape)
        self.rows = right_padded(padded(data, shape.length))
        self._split = make_split(one_window_each(data, shape.length), shape.items)
        tasks = {name: self.task(name) for name in MODELS}
        key = jax.random.key(0)
        self._params = {name: jax.jit(task.init)(key) for name, task in tasks.items()}
        self._released = sar_to_torch(tasks["sasrec"].cfg, self._params["sasrec"])

    def task(self, name: str, **changes: Any) -> NextItem:
        """Returns the task of a model, on the very targets of the padded rows."""
        changes = {"micro": MICRO.get(self.shape.name, 0), **changes}
        labels = self.rows.labels
        return task_with_targets(self._split, labels, self.shape, name, **changes)

    def ours(self, name: str, **changes: Any) -> Trainer:
        """Returns our step of a model."""
        return Trainer(self.task(name, **changes), self._params[name])

    def loss(self, name: str) -> float:
        """Returns our loss before training, without dropout."""
        task = self.task(name, dropout=0.0)
        key = jax.random.key(0)  # of nothing
        sums = jax.jit(task.loss)(self._params[name], task.batch(0), key)
        value, weight = sums["loss"]
        return float(value / weight)

    def torch(self, threads: int, device: str, **options: Any):
        """Returns PyTorch's step, and its loss before training, without dropout."""
        from benchmarks.peers import sar_torch

        torch, shape = sar_torch.torch, self.shape
        model = sar_torch.SAR(
            shape.items, shape.length, shape.dim, shape.blocks, dropout=DROPOUT
        )
        model = sar_torch.load(model, self._released).to(device)
        ids = [torch.tensor(value).long().to(device) for value in self.rows]
        torch.set_num_threads(threads)
        with torch.no_grad():
            loss = model.eval().loss(*ids).item()
        step = sar_torch.train_step(model, threads, **options)
        return lambda: step(*ids), loss


def main(bench: harness.Benchmark) -> None:
    """Measures long users and short ones, or the shape of ``--shape``."""
    names = [bench.options.shape] if bench.options.shape else DEFAULT_SHAPES
    if bench.quick and not bench.options.shape:
        names = ("ml1m-s",)
    for name in names:
        compare(bench, Problem(SHAPES[name]), compiled=not bench.quick)


def compare(bench: harness.Benchmark, problem: Problem, compiled: bool) -> None:
    """Compares training steps with dropout (target A1).

    Args:
        bench: Where to.
        problem: Users and parameters.
        compiled: Whether PyTorch is also tried under torch.compile.
    """
    shape, gpu = problem.shape, jax.default_backend() == "gpu"
    losses = {"jaxrec": problem.loss("sasrec")}
    makers: dict[str, Callable[[], Any]] = {}

    def torch_step(title, **options):
        device = "cuda" if gpu else "cpu"
        step, losses[title] = problem.torch(bench.threads, device, **options)
        return step

    widths = {"": False, " bf16": True} if gpu else {"": False}
    for suffix, narrow in widths.items():
        options: dict[str, Any] = {"bfloat16": narrow}
        for title, more in (("torch", {}), ("torch compiled", {"compiled": True})):
            if compiled or not more:
                title = title + suffix
                makers[title] = functools.partial(torch_step, title, **options, **more)
        dtype = "bfloat16" if narrow else "float32"
        for name in MODELS:
            makers[f"jaxrec {name}{suffix}"] = functools.partial(
                problem.ours, name, dropout=DROPOUT, compute_dtype=dtype
            )
    candidates = attempt_all(bench, makers)
    bench.agree(f"loss before step 1, {shape.name}", losses)
    ours = [name for name in candidates if name.startswith("jaxrec")]
    peers = [name for name in candidates if name not in ours]
    rows = problem.rows
    result = bench.compare(
        "attention train step",
        candidates,
        baseline=peers[0],
        twin=ours[0],
        calls=10 if gpu and not bench.quick else 1,
        work={"valid_tokens": rows.targets},
        facts={name: _facts(candidates[name]) for name in ours},
        shape=shape.name,
        dropout=DROPOUT,
        valid=round(np.count_nonzero(rows.tokens) / rows.tokens.size, 3),
        loss=round(losses["jaxrec"], 6),
    )
    peer = min(peers, key=result.seconds)
    for name in MODELS:
        best = f"jaxrec {name}" + (" bf16" if gpu else "")
        bench.target(
            "A1",
            result.wall[peer] / result.wall[best],
            model=name,
            shape=shape.name,
            peer=peer,
            cpu_ratio=float(np.median(result.cpu[peer] / result.cpu[best])),
        )
    bench.record("device memory", peak_bytes=timing.peak_bytes())


def _facts(trainer: Trainer) -> dict[str, Any]:
    return {
        "rows": trainer.batch["tokens"].shape[0],
        "compile_s": trainer.compile_s,
        **timing.memory_plan(trainer.program),
    }


if __name__ == "__main__":
    flags = harness.parser(__doc__)
    flags.add_argument("--shape", choices=SHAPES, help="instead of all")
    harness.run(main, "attention_step", flags=flags)
