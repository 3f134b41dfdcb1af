"""A training step of LRURec: ours against the published form, and the processor.

python -m benchmarks.train_step [--quick] [--sweep] [--shape ml1m] [--threads 1]

All sides train on the same users, predict the same targets and have the same loss
before the first step (checked without dropout). Ours is what training runs: packed
rows, micro-batches, the blocked softmax loss. On a GPU ours is in bfloat16, beside
PyTorch under torch.compile, and ``calls`` steps are timed as one chain.

XLA's own count of operations is given beside ours where it can be compared: it counts
the body of a loop once, however often it runs, and so is far below for both JAX sides.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import floors, harness
from benchmarks.attempts import attempt_all
from benchmarks.peers import lrurec_jax_published, reference
from benchmarks.shapes import SHAPES, Padded, Shape, histories, padded
from benchmarks.training import (
    CONFIG,
    Trainer,
    make_split,
    one_window_each,
    task_with_targets,
)
from jaxrec.core import timing
from jaxrec.interop import lrurec_from_torch

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
        task = task_with_targets(self.split, self.rows.labels, self.shape, **changes)
        return Trainer(task, lrurec_from_torch(self.published)[1])


def main(bench: harness.Benchmark) -> None:
    """Measures what the flags and the device ask for."""
    name = bench.options.shape or ("ml1m-s" if bench.quick else "ml1m")
    problem = Problem(SHAPES[name])
    if jax.default_backend() == "gpu":
        on_gpu(bench, problem)
    elif bench.options.sweep:
        settings(bench, problem)
    else:
        plain = problem.ours(dropout=0.0)
        against_published(bench, problem, plain)
        against_floor(bench, problem, plain)


def against_published(
    bench: harness.Benchmark, problem: Problem, plain: Trainer
) -> None:
    """Compares the step with dropout on all sides (targets P1 and P1m).

    Args:
        bench: Where to.
        problem: Users and parameters.
        plain: Our step without dropout, not trained yet: its loss must be theirs.
    """
    shape = problem.shape
    torch_step, torch_loss = _torch_step(problem, bench.threads, "cpu")
    jax_step, jax_loss, jax_facts = _jax_step(problem)
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
    bench.target("P1", wall, shape=shape.name, cpu_ratio=cpu.median)
    scratch = facts["temp_bytes"] / jax_facts["temp_bytes"]
    bench.target("P1m", scratch, shape=shape.name)


def against_floor(bench: harness.Benchmark, problem: Problem, ours: Trainer) -> None:
    """Holds the step without dropout against the processor's rates (target P1b)."""
    shape = problem.shape
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
    bench.target(
        "P1b",
        floor_s / result.wall["jaxrec"],
        shape=shape.name,
        of_square_floor=strict_s / result.seconds("jaxrec"),
    )


def settings(bench: harness.Benchmark, problem: Problem) -> None:
    """Compares micro-batches, block sizes of the loss and forms of the recurrence."""
    tried = [
        {"micro": CONFIG["parallel"]["micro"]},  # as shipped
        *({"micro": micro} for micro in (1, 2, 4, 16)),
        *({"chunk": chunk} for chunk in (128, 256, 450, 512, 900)),
        *({"micro": 4, "chunk": chunk} for chunk in (450, 900)),
        {"chunk": 1024, "catalogue_chunk": 256},
        *({"scan": form} for form in ("associative", "chunked")),
    ]
    tried = tried[:2] if bench.quick else tried
    trainers = {_title(some): problem.ours(dropout=DROPOUT, **some) for some in tried}
    bench.compare(
        "settings of the train step",
        trainers,
        work={"valid_tokens": problem.rows.targets},
        facts={
            name: {"rows": trainer.batch["tokens"].shape[0], **_facts(trainer)}
            for name, trainer in trainers.items()
        },
        shape=problem.shape.name,
        dropout=DROPOUT,
    )


def on_gpu(bench: harness.Benchmark, problem: Problem, device: str = "cuda") -> None:
    """Compares bfloat16 steps with compiled PyTorch (targets G1 and G1b)."""
    shape = problem.shape
    jax_step, jax_loss, jax_facts = _jax_step(problem)
    losses = {"jax": jax_loss, "jaxrec": problem.ours(dropout=0.0).loss()}
    makers: dict[str, Callable[[], Any]] = {}
    narrow = {"dropout": DROPOUT, "compute_dtype": "bfloat16"}
    tried = {
        "jaxrec bf16": narrow,
        "jaxrec bf16, no kernels": {**narrow, "scan": "associative", "chunk": 16_384},
        "jaxrec float32": {"dropout": DROPOUT},
    }
    for name, some in tried.items():
        makers[name] = functools.partial(problem.ours, **some)

    def torch_step(**options):
        step, losses["torch"] = _torch_step(problem, bench.threads, device, **options)
        return step

    makers["torch published"] = torch_step
    makers["torch compiled bf16"] = functools.partial(
        torch_step, compiled=True, bfloat16=True
    )
    candidates = {"jax published": jax_step, **attempt_all(bench, makers)}
    # Products of float32 numbers run in TF32.
    bench.agree(f"loss before step 1, {shape.name}", losses, rtol=1e-3)
    ours = [name for name in candidates if name.startswith("jaxrec")]
    result = bench.compare(
        "train step",
        candidates,
        calls=2 if bench.quick else 10,
        work={"valid_tokens": problem.rows.targets},
        floor_s=GPU_FLOOR_S,
        facts={
            "jax published": jax_facts,
            **{name: _facts(candidates[name]) for name in ours},
        },
        shape=shape.name,
        dropout=DROPOUT,
    )
    best = "jaxrec bf16"  # as it is trained with
    peers = [name for name in candidates if name not in ours]
    peer = min(peers, key=result.seconds)
    facts = {"shape": shape.name, "candidate": best}
    bench.target("G1", result.wall[peer] / result.wall[best], peer=peer, **facts)
    bench.target("G1b", GPU_FLOOR_S / result.seconds(best), **facts)
    bench.record("device memory", peak_bytes=timing.peak_bytes())


def _facts(trainer: Trainer) -> dict[str, Any]:
    return {"compile_s": trainer.compile_s, **timing.memory_plan(trainer.program)}


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
