"""The peers by themselves: training steps, scan forms, serving.

python -m benchmarks.peers.measure [--quick] [--only train,scan,serve] [--threads 1]

These are the numbers to beat, with nothing of ours in between. Every program is one of
those that tests/benchmarks/test_peers.py shows equal to the published equations; losses
are compared once more on the batch that is timed.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.peers import lrurec_jax_published, reference, scan_forms
from benchmarks.peers.torch_extra import default_device, import_torch
from benchmarks.shapes import SHAPES, Shape, training_batch
from jaxrec.core import timing

PARTS = "train", "scan", "serve"
DROPOUT = 0.2


def main(bench: harness.Benchmark) -> None:
    """Measures the parts that ``--only`` names."""
    parts = bench.options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"--only names {sorted(unknown)}; parts are {list(PARTS)}")
    if "train" in parts:
        for name in bench.options.shapes.split(","):
            train(bench, SHAPES[name])
    if "scan" in parts:
        scan(bench, batch=32 if bench.quick else 128, length=200, channels=128)
    if "serve" in parts:
        serve(bench, SHAPES["serve-1"], length=200)


def train(bench: harness.Benchmark, shape: Shape) -> None:
    """Compares published training steps, dropout 0.2, float32."""
    from benchmarks.peers import lrurec_torch

    torch = import_torch()
    device = default_device()
    batch = training_batch(shape)
    state = reference.published_parameters(shape.items, shape.dim, shape.blocks)
    ids = [torch.tensor(value).long().to(device) for value in batch]
    candidates = {}
    for threads in sorted({1, bench.threads}):
        model = lrurec_torch.LRURec(shape.items, shape.dim, shape.blocks, DROPOUT)
        model = lrurec_torch.load(model, state).to(device)
        with torch.no_grad():
            torch_loss = model.eval().loss(*ids).item()
        step = lrurec_torch.train_step(model, threads)
        candidates[f"torch, threads {threads}"] = lambda step=step: step(*ids)

    params = lrurec_jax_published.from_published(state)
    jax_loss = jax.jit(lrurec_jax_published.loss)(params, *batch)
    bench.agree(f"train step {shape.name}", {"torch": torch_loss, "jax": jax_loss})
    moments = lrurec_jax_published.optimizer().init(params)
    key = jax.random.key(0)
    compiled, seconds = timing.compile_timed(
        lrurec_jax_published.train_step(DROPOUT), params, moments, *batch, key
    )
    placed = [jnp.asarray(value) for value in batch]

    def jax_step():
        nonlocal params, moments
        params, moments, loss = compiled(params, moments, *placed, key)
        return loss

    candidates["jax"] = jax_step
    bench.compare(
        "published train step",
        candidates,
        baseline=f"torch, threads {bench.threads}",
        twin="jax",
        work={"targets": batch.targets},
        facts={"jax": {"compile_s": seconds, **timing.memory_plan(compiled)}},
        shape=shape.name,
        dropout=DROPOUT,
        loss=round(torch_loss, 6),
    )


def scan(bench: harness.Benchmark, batch: int, length: int, channels: int) -> None:
    """Compares forms of the recurrence, forward and forward with gradient."""
    random = np.random.default_rng(0)
    radius, angle = random.uniform(0.8, 0.99, channels), random.uniform(0, 6, channels)
    lam = jnp.asarray(radius * np.exp(1j * angle), jnp.complex64)
    draw = random.normal(size=(4, batch, length, channels)).astype(np.float32)
    x, cotangent = jax.lax.complex(draw[0], draw[1]), jax.lax.complex(draw[2], draw[3])
    keep = jnp.ones((batch, length), jnp.float32)
    forms = "doubling", "doubling_split", "associative", "sequential"
    for case in "forward", "forward and backward":
        candidates, facts, sums = {}, {}, {}
        for name in forms:
            arrays = lam, x, cotangent
            if name.endswith("_split"):
                arrays = tuple(map(scan_forms.split, arrays))
            arguments = arrays[0], arrays[1], keep
            form = getattr(scan_forms, name)
            if case != "forward":
                form = scan_forms.forward_backward(form)
                arguments = *arguments, arrays[2]
            compiled, seconds = timing.compile_timed(form, *arguments)
            candidates[name] = lambda run=compiled, given=arguments: run(*given)
            facts[name] = {"compile_s": seconds, **timing.memory_plan(compiled)}
            h = compiled(*arguments)
            h = h if case == "forward" else h[0]
            real = h[0] if name.endswith("_split") else jnp.real(h)
            sums[name] = float(abs(real).sum())
        bench.agree(case, sums)
        bench.compare(
            f"recurrence, {case}",
            candidates,
            twin="sequential",
            facts=facts,
            batch=batch,
            length=length,
            channels=channels,
        )


def serve(bench: harness.Benchmark, shape: Shape, length: int) -> None:
    """Compares one-request answers: re-encoding, one recurrent step, retrieval."""
    from benchmarks.peers import lrurec_torch, sasrec_torch, topk_torch

    torch = import_torch()
    device = default_device()
    rows = training_batch(dataclasses.replace(shape, batch=64, length=length))
    full = np.flatnonzero((rows.tokens > 0).all(1))[0]
    tokens = torch.tensor(rows.tokens[[full]]).long().to(device)
    sasrec = sasrec_torch.SASRec(shape.items, length, shape.dim, shape.blocks)
    encode = sasrec_torch.recommend(sasrec.to(device), 10, bench.threads)
    lrurec = lrurec_torch.LRURec(shape.items, shape.dim, shape.blocks)
    state = reference.published_parameters(shape.items, shape.dim, shape.blocks)
    lrurec = lrurec_torch.load(lrurec, state).to(device)
    step = topk_torch.step_top_k(lrurec, 10, bench.threads)
    carried = lrurec.start(1)
    bench.compare(
        f"top 10 after one more event, history {length}",
        {
            "torch SASRec, encode again": lambda: encode(tokens),
            "torch LRURec, one step": lambda: step(carried, tokens[:, -1]),
        },
        latency=True,
        shape=shape.name,
    )
    items = 100_000 if bench.quick else 1_000_000
    table = torch.randn(items, shape.dim, device=device)
    search = topk_torch.top_k(table, 100, bench.threads)
    query = torch.randn(1, shape.dim, device=device)
    bench.compare(
        f"top 100 of {items:,}",
        {"torch": lambda: search(query)},
        latency=True,
        work={"bytes": table.nbytes},
        shape=shape.name,
    )


if __name__ == "__main__":
    flags = harness.parser(__doc__)
    flags.add_argument("--only", default=",".join(PARTS), help="parts, by comma")
    flags.add_argument("--shapes", default="ml1m-s,ml1m", help="of training steps")
    harness.run(main, "peers", flags=flags)
