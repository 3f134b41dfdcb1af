"""The softmax loss with its gradients: ours in blocks against all scores at once.

python -m benchmarks.softmax [--quick] [--threads 1]

Scratch memory counts as much as time: the usual form holds the scores of all positions.
On a GPU also catalogues for which that is impossible; the peer is then the loss in
blocks that are computed again in the backward pass (`jax.checkpoint`), which is what
XLA's users write, and PyTorch in blocks, compiled.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.peers import softmax_naive
from jaxrec.core import timing
from jaxrec.losses.softmax import linear_softmax_ce

_HELD_SCORES = 4 * 2**30  # bytes of scores that the usual form may be asked to hold


@dataclasses.dataclass(frozen=True)
class Problem:
    """Sizes of one loss: positions N, catalogue V (with padding), width D."""

    positions: int
    items: int
    dim: int = 64

    def arrays(self, dtype: Any = jnp.float32) -> tuple[jax.Array, ...]:
        """Returns x (n, d), table (v, d), bias (v,), labels (n,) and weights (n,)."""
        random = np.random.default_rng(0)
        normal = random.standard_normal
        return (
            jnp.asarray(normal((self.positions, self.dim), np.float32), dtype),
            jnp.asarray(0.1 * normal((self.items, self.dim), np.float32)),
            jnp.asarray(0.1 * normal(self.items, np.float32)),
            jnp.asarray(random.integers(1, self.items, self.positions), jnp.int32),
            jnp.asarray(random.random(self.positions) < 0.9, jnp.float32),
        )


def main(bench: harness.Benchmark) -> None:
    """Measures the shapes that suit the device."""
    gpu = jax.default_backend() == "gpu"
    if bench.quick:
        problems = [Problem(512, 1_001)]
    elif gpu:
        problems = [
            Problem(25_600, 3_417),
            Problem(25_600, 57_290),
            Problem(25_600, 57_290, 128),
            Problem(25_600, 1_000_001),
        ]
    else:
        problems = [Problem(6_400, 3_417), Problem(1_600, 57_290)]
    for problem in problems:
        if gpu:
            on_gpu(bench, problem)
        else:
            on_cpu(bench, problem)


def on_cpu(bench: harness.Benchmark, problem: Problem) -> None:
    """Compares with all scores at once, in JAX and in PyTorch (target P3)."""
    arrays = problem.arrays()
    candidates, facts, losses = {}, {}, {}

    def add(name, function, *options):
        candidates[name], losses[name], facts[name] = _compiled(function, arrays)

    add("naive", softmax_naive.softmax_ce_and_gradients)
    candidates["torch naive"], losses["torch naive"] = _torch(arrays, bench.threads)
    for chunk in (128,) if bench.quick else (512, 256, 1024):
        add(f"jaxrec {chunk}", _ours(chunk))
    first = next(name for name in candidates if name.startswith("jaxrec"))
    bench.agree("softmax loss", losses)
    result = bench.compare(
        "softmax loss and gradients",
        candidates,
        twin=first,
        work={"positions": problem.positions},
        facts=facts,
        **dataclasses.asdict(problem),
    )
    _targets(bench, "P3", result, "naive", first, facts, problem)


def on_gpu(bench: harness.Benchmark, problem: Problem) -> None:
    """Compares with blocks in XLA and with compiled PyTorch (target G3)."""
    arrays, narrow = problem.arrays(), problem.arrays(jnp.bfloat16)
    candidates, facts, losses = {}, {}, {}

    def add(name, function, arrays=arrays):
        candidates[name], losses[name], facts[name] = _compiled(function, arrays)

    chunk = 256 if bench.quick else max(256, min(4096, 2**30 // problem.items))
    add("xla blocks", _checkpointed(chunk))
    if problem.positions * problem.items * 4 <= _HELD_SCORES * (1 + 1):
        add("naive", softmax_naive.softmax_ce_and_gradients)
        rows = problem.positions
    else:
        rows = chunk
    torch_call, loss = _torch(arrays, bench.threads, "cuda", rows)
    candidates["torch compiled"], losses["torch compiled"] = torch_call, loss
    for size in sorted({chunk // 2, chunk, chunk * 2, chunk * 4}):
        add(f"jaxrec {size}", _ours(size))
    bench.agree("softmax loss", losses, rtol=1e-3)  # products in TF32
    for size in (chunk, chunk * 4):
        add(f"jaxrec bf16 {size}", _ours(size), narrow)
    result = bench.compare(
        "softmax loss and gradients",
        candidates,
        twin=f"jaxrec {chunk}",
        calls=1 if problem.items > 10**5 else 3,
        work={"positions": problem.positions},
        facts=facts,
        **dataclasses.asdict(problem),
    )
    ours = [name for name in candidates if name.startswith("jaxrec")]
    best = min(ours, key=result.seconds)
    _targets(bench, "G3", result, "xla blocks", best, facts, problem)
    ratio = result.wall["torch compiled"] / result.wall[best]
    bench.record(
        "target G3b",
        target="G3b",
        candidate=best,
        reached=float(np.median(ratio)),
        p10=float(np.percentile(ratio, 10)),
        p90=float(np.percentile(ratio, 90)),
        **dataclasses.asdict(problem),
    )


def _targets(bench, target, result, peer, ours, facts, problem):
    wall, cpu = result.speedup(ours), result.speedup(ours, "cpu")
    scratch = facts[ours]["temp_bytes"] / facts[peer]["temp_bytes"]
    bench.record(
        f"target {target}",
        target=target,
        candidate=ours,
        reached=wall.median,
        p10=wall.p10,
        p90=wall.p90,
        cpu=cpu.median,
        scratch=scratch,
        **dataclasses.asdict(problem),
    )


def _ours(chunk: int) -> Callable[..., Any]:
    def loss(x, table, bias, labels, weights):
        return linear_softmax_ce(x, table, bias, labels, weights, chunk)

    return jax.value_and_grad(loss, argnums=(0, 1, 2))


def _checkpointed(chunk: int) -> Callable[..., Any]:
    """The usual form over blocks of positions, each computed again for its gradient."""

    def loss(x, table, bias, labels, weights):
        def body(total, block):
            return total + softmax_naive.softmax_ce(
                block[0], table, bias, *block[1:]
            ), None

        missing = -len(x) % chunk
        blocks = [
            jnp.pad(a, ((0, missing),) + ((0, 0),) * (a.ndim - 1)).reshape(
                -1, chunk, *a.shape[1:]
            )
            for a in (x, labels, weights)
        ]
        return jax.lax.scan(jax.checkpoint(body), 0.0, tuple(blocks))[0]

    return jax.value_and_grad(loss, argnums=(0, 1, 2))


def _compiled(function, arrays):
    program, seconds = timing.compile_timed(function, *arrays)
    loss = float(program(*arrays)[0])
    facts = {"compile_s": seconds, **timing.memory_plan(program)}
    return lambda: program(*arrays), loss, facts


def _torch(arrays, threads, device="cpu", rows=None):
    """The usual form in PyTorch, in blocks of rows if asked, and its loss."""
    call = softmax_naive.softmax_ce_and_gradients_torch(
        threads, device=device, compiled=device != "cpu"
    )
    from benchmarks.peers.torch_extra import import_torch

    torch = import_torch()
    x, table, bias, labels, weights = (
        torch.from_numpy(np.array(array)).to(device) for array in arrays
    )
    labels = labels.long()
    rows = rows or len(x)

    def run():
        parts, total, sums = [], 0.0, None
        for i in range(0, len(x), rows):
            some = slice(i, i + rows)
            loss, (dx, *others) = call(
                x[some], table, bias, labels[some], weights[some]
            )
            total = total + loss
            parts.append(dx)
            sums = (
                others
                if sums is None
                else [a + b for a, b in zip(sums, others, strict=True)]
            )
        return total, torch.cat(parts), sums

    return run, float(run()[0])


if __name__ == "__main__":
    harness.run(main, "softmax", __doc__)
