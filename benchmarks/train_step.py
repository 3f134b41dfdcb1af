"""A training step of LRURec: ours against the published form, and the processor.

python -m benchmarks.train_step [--quick] [--sweep] [--shape ml1m] [--threads 1]

All sides train on the same users, predict the same targets and have the same loss
before the first step (checked without dropout). Ours is what training runs: packed
rows, micro-batches, the blocked softmax loss. On a GPU ours is in bfloat16, beside
PyTorch under torch.compile, and ``calls`` steps are timed as one chain.

XLA's own count of operations is given beside ours where it can be compared: it counts
the body of a loop once, however often it runs, and so is far below for both JAX sides.
"""

import itertools
from collections.abc import Mapping
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import floors, harness
from benchmarks.peers import lrurec_jax_published, reference
from benchmarks.shapes import SHAPES, Padded, Shape, histories, padded
from benchmarks.training import (
    Trainer,
    make_config,
    make_split,
    make_task,
    one_window_each,
)
from jaxrec.core import scan, timing

DROPOUT = 0.2
GPU_FLOOR_S = 0.25e-3  # of the ml1m step on an H200, derived from its rates
Arrays = Mapping[str, np.ndarray]


class Problem:
    """One batch of users, in both layouts, with parameters to begin with."""

    def __init__(self, shape: Shape):
        self.shape = shape
        data = histories(shape)
        self.rows: Padded = padded(data, shape.length)
        self.split = make_split(one_window_each(data, shape.length), shape.items)
        self.published: Arrays = reference.published_parameters(
            shape.items, shape.dim, shape.blocks
        )

    def ours(self, **changes: Any) -> Trainer:
        """Returns our step, trained on the very targets of the padded rows.

        Raises:
            ValueError: If the targets are not the same.
        """
        task = make_task(self.split, make_config(self.shape, **changes))
        trainer = Trainer(task, self.published)
        theirs = np.sort(self.rows.labels[self.rows.labels > 0])
        labels = np.asarray(trainer.batch["labels"])
        if not np.array_equal(np.sort(labels[labels > 0]), theirs):
            raise ValueError(
                f"our batch has {trainer.targets} targets, the padded rows have "
                f"{self.rows.targets}, or they are others"
            )
        return trainer


def main(bench: harness.Benchmark) -> None:
    """Measures what the flags and the device ask for."""
    name = bench.options.shape or ("ml1m-s" if bench.quick else "ml1m")
    problem = Problem(SHAPES[name])
    if jax.default_backend() == "gpu":
        on_gpu(bench, problem)
    elif bench.options.sweep:
        settings(bench, problem)
    else:
        against_published(bench, problem)
        against_floor(bench, problem)


def against_published(bench: harness.Benchmark, problem: Problem) -> None:
    """Compares the step with dropout on all sides (targets P1 and P1m)."""
    shape = problem.shape
    torch_step, torch_loss = _torch_step(problem, bench.threads, "cpu")
    jax_step, jax_loss, jax_facts = _jax_step(problem)
    plain = problem.ours(dropout=0.0)
    bench.agree(
        f"loss before step 1, {shape.name}",
        {"torch": torch_loss, "jax": jax_loss, "jaxrec": plain.loss()},
    )
    ours = problem.ours(dropout=DROPOUT)
    facts = {**timing.memory_plan(ours.program), **_xla_count(ours.program)}
    facts["compile_s"] = ours.compile_s
    if not bench.quick:
        facts |= ours.compile_cold_and_warm()
    result = bench.compare(
        "train step",
        {"torch published": torch_step, "jax published": jax_step, "jaxrec": ours},
        twin="jaxrec",
        work={"valid_tokens": ours.targets},
        facts={"jaxrec": facts, "jax published": jax_facts},
        shape=shape.name,
        dropout=DROPOUT,
        loss=round(torch_loss, 6),
    )
    wall, cpu = result.speedup("jaxrec"), result.speedup("jaxrec", "cpu")
    bench.record(
        "target P1",
        target="P1",
        shape=shape.name,
        reached=wall.median,
        p10=wall.p10,
        p90=wall.p90,
        cpu=cpu.median,
    )
    scratch = facts["temp_bytes"] / jax_facts["temp_bytes"]
    bench.record("target P1m", target="P1m", shape=shape.name, reached=scratch)


def against_floor(bench: harness.Benchmark, problem: Problem) -> None:
    """Holds the step without dropout against the processor's rates (target P1b)."""
    shape, ours = problem.shape, problem.ours(dropout=0.0)
    rates = floors.measure_rates(bench, shape)
    operations, exponentials = floors.step_work(shape, ours.targets)
    floor_s = operations / rates.head + exponentials / rates.exp
    strict_s = operations / rates.square + exponentials / rates.exp
    result = bench.compare(
        "train step without dropout",
        {"jaxrec": ours},
        work={"valid_tokens": ours.targets},
        floor_s=floor_s,
        facts={"jaxrec": timing.memory_plan(ours.program)},
        shape=shape.name,
        dropout=0.0,
        operations=operations,
        exponentials=exponentials,
    )
    seconds = [result.seconds("jaxrec", percent) for percent in (50, 90, 10)]
    bench.record(
        "target P1b",
        target="P1b",
        shape=shape.name,
        reached=floor_s / seconds[0],
        p10=floor_s / seconds[1],
        p90=floor_s / seconds[2],
        of_square_floor=strict_s / seconds[0],
    )


def settings(bench: harness.Benchmark, problem: Problem) -> None:
    """Compares micro-batches, block sizes of the loss and forms of the recurrence."""
    tried = [
        *({"micro": micro} for micro in (8, 1, 4, 16)),
        *({"chunk": chunk} for chunk in (256, 1024)),
        *({"micro": micro, "chunk": chunk} for micro in (8, 4) for chunk in (450, 600)),
        *({"scan": form} for form in get_args(scan.Form) if form != "auto"),
    ]
    if bench.quick:
        tried = tried[:2]
    trainers = {_title(some): problem.ours(dropout=DROPOUT, **some) for some in tried}
    bench.compare(
        "settings of the train step",
        trainers,
        work={"valid_tokens": problem.rows.targets},
        facts={
            name: {
                "rows": trainer.batch["tokens"].shape[0],
                "compile_s": trainer.compile_s,
                **timing.memory_plan(trainer.program),
            }
            for name, trainer in trainers.items()
        },
        shape=problem.shape.name,
        dropout=DROPOUT,
    )


def on_gpu(bench: harness.Benchmark, problem: Problem) -> None:
    """Compares bfloat16 steps with compiled PyTorch (targets G1 and G1b)."""
    shape = problem.shape
    torch_step, torch_loss = _torch_step(problem, bench.threads, "cuda")
    compiled, _ = _torch_step(problem, bench.threads, "cuda", True, bfloat16=True)
    jax_step, jax_loss, jax_facts = _jax_step(problem)
    plain = problem.ours(dropout=0.0, micro=1)
    bench.agree(
        f"loss before step 1, {shape.name}",
        {"torch": torch_loss, "jax": jax_loss, "jaxrec": plain.loss()},
        rtol=1e-3,  # products of float32 numbers run in TF32
    )
    forms = [f for f in get_args(scan.Form) if f not in ("auto", "sequential")]
    chunks = (512,) if bench.quick else (2048, 8192)
    tried = [{"scan": f, "chunk": c} for f, c in itertools.product(forms, chunks)]
    common = {"dropout": DROPOUT, "micro": 1}
    trainers = {
        f"jaxrec bf16, {_title(some)}": problem.ours(
            compute_dtype="bfloat16", **common, **some
        )
        for some in tried
    }
    trainers["jaxrec float32"] = problem.ours(**common, **tried[-1])
    result = bench.compare(
        "train step",
        {
            "torch compiled bf16": compiled,
            "torch published": torch_step,
            "jax published": jax_step,
            **trainers,
        },
        calls=2 if bench.quick else 10,
        work={"valid_tokens": problem.rows.targets},
        floor_s=GPU_FLOOR_S,
        facts={
            "jax published": jax_facts,
            **{
                name: {"compile_s": t.compile_s, **timing.memory_plan(t.program)}
                for name, t in trainers.items()
            },
        },
        shape=shape.name,
        dropout=DROPOUT,
    )
    best = min(trainers, key=result.seconds)
    peer = min(("torch compiled bf16", "torch published"), key=result.seconds)
    ratio = result.wall[peer] / result.wall[best]
    p10, median, p90 = (float(np.percentile(ratio, p)) for p in (10, 50, 90))
    bench.record(
        "target G1",
        target="G1",
        shape=shape.name,
        candidate=best,
        peer=peer,
        reached=median,
        p10=p10,
        p90=p90,
    )
    reached = GPU_FLOOR_S / result.seconds(best)
    bench.record(
        "target G1b", target="G1b", shape=shape.name, candidate=best, reached=reached
    )
    bench.record("device memory", peak_bytes=timing.peak_bytes())


def _torch_step(problem, threads, device, compiled=False, bfloat16=False):
    """The published step in PyTorch, and its loss before training, without dropout."""
    from benchmarks.peers import lrurec_torch

    torch = lrurec_torch.torch
    shape = problem.shape
    model = lrurec_torch.LRURec(shape.items, shape.dim, shape.blocks, DROPOUT)
    model = lrurec_torch.load(model, problem.published).to(device)
    ids = [torch.tensor(value).long().to(device) for value in problem.rows]
    torch.set_num_threads(threads)
    with torch.no_grad():
        loss = model.eval().loss(*ids).item()
    step = lrurec_torch.train_step(model, threads, compiled=compiled, bfloat16=bfloat16)
    return lambda: step(*ids), loss


def _jax_step(problem):
    """The published step in JAX, its loss before training, and facts of its program."""
    params = lrurec_jax_published.from_published(problem.published)
    placed = [jnp.asarray(value) for value in problem.rows]
    loss = float(jax.jit(lrurec_jax_published.loss)(params, *placed))
    state = [params, lrurec_jax_published.optimizer().init(params)]
    key = jax.random.key(0)
    program, seconds = timing.compile_timed(
        lrurec_jax_published.train_step(DROPOUT), *state, *placed, key
    )

    def step():
        *state[:], value = program(*state, *placed, key)
        return value

    facts = {
        "compile_s": seconds,
        **timing.memory_plan(program),
        **_xla_count(program),
    }
    return step, loss, facts


def _xla_count(program: Any) -> dict[str, float]:
    return {"xla_flops": timing.work_plan(program)["flops"]}


def _title(some: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in some.items())


if __name__ == "__main__":
    flags = harness.parser(__doc__)
    flags.add_argument("--shape", choices=SHAPES, help="instead of ml1m")
    flags.add_argument(
        "--sweep", action="store_true", help="compare settings instead (CPU)"
    )
    harness.run(main, "train_step", flags=flags)
