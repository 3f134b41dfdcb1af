"""The softmax loss with its gradients: ours in blocks against all scores at once.

python -m benchmarks.softmax [--quick] [--threads 1]

Scratch memory counts as much as time: the usual form holds the scores of all positions.
On a GPU also catalogues for which that is impossible; the peer is then the loss in
blocks that are computed again in the backward pass (`jax.checkpoint`), which is what
XLA's users write, and PyTorch in blocks, compiled.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.attempts import attempt_all
from benchmarks.peers import softmax_naive
from jaxrec.core import timing
from jaxrec.losses.softmax import linear_softmax_ce

_HELD_BYTES = 8 * 2**30  # of scores, which the usual form is asked to hold, on a GPU


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
    programs = {"naive": softmax_naive.softmax_ce_and_gradients, "jaxrec": _ours()}
    if not bench.quick:
        for blocks in ((128, 0), (512, 0), (1024, 256)):
            programs[f"jaxrec {blocks}"] = _ours(*blocks)
    candidates = {name: Program(form, arrays) for name, form in programs.items()}
    torch = TorchBlocks(arrays, bench.threads, "cpu")
    losses = {name: float(candidate()[0]) for name, candidate in candidates.items()}
    bench.agree("softmax loss", {**losses, "torch": float(torch()[0])})
    result = bench.compare(
        "softmax loss and gradients",
        {**candidates, "torch naive": torch},
        twin="jaxrec",
        work={"positions": problem.positions},
        facts={name: candidate.facts for name, candidate in candidates.items()},
        **dataclasses.asdict(problem),
    )
    _target(bench, "P3", result, ("naive", "jaxrec"), candidates, problem)


def on_gpu(bench: harness.Benchmark, problem: Problem) -> None:
    """Compares with blocks in XLA and with compiled PyTorch (targets G3 and G3b).

    Products in bfloat16 on all sides are judged; float32 (TF32) is shown beside them.
    """
    arrays, narrow = problem.arrays(), problem.arrays(jnp.bfloat16)
    held = problem.positions * problem.items * 4 <= _HELD_BYTES
    blocks = -(-problem.positions * problem.items // 2**28)
    rows = -(-problem.positions // blocks)
    programs = {
        "xla blocks bf16": (_checkpointed(rows), narrow),
        "jaxrec bf16": (_ours(), narrow),
        "jaxrec bf16, no kernels": (_ours(rows), narrow),
        "jaxrec": (_ours(), arrays),
    }
    if held:
        programs["naive"] = softmax_naive.softmax_ce_and_gradients, arrays
    makers: dict[str, Callable[[], Any]] = {
        name: functools.partial(Program, *given) for name, given in programs.items()
    }
    rows = problem.positions if held else rows
    for name, compiled in (("torch bf16", False), ("torch bf16 compiled", True)):
        makers[name] = functools.partial(
            TorchBlocks, arrays, bench.threads, "cuda", rows, compiled, True
        )
    candidates = attempt_all(bench, makers)
    losses = {name: float(run()[0]) for name, run in candidates.items()}
    bench.agree("softmax loss", losses, rtol=5e-3)  # TF32 and bfloat16
    for place, name in enumerate(("x", "table", "bias")):
        norms = {key: _norm(run()[1][place]) for key, run in candidates.items()}
        bench.agree(f"gradient of {name}", norms, rtol=2e-2)
    result = bench.compare(
        "softmax loss and gradients",
        candidates,
        calls=1 if problem.items > 10**5 else 3,
        work={"positions": problem.positions},
        facts={name: getattr(run, "facts", {}) for name, run in candidates.items()},
        **dataclasses.asdict(problem),
    )

    def fastest(beginning):
        names = [name for name in candidates if name.startswith(beginning)]
        return min(names, key=result.seconds, default=None)

    ours = "jaxrec bf16"  # as it is trained with
    for target, peer in (("G3", "xla blocks bf16"), ("G3b", fastest("torch"))):
        if peer in candidates:
            _target(bench, target, result, (peer, ours), candidates, problem)


def _target(bench, target, result, names, candidates, problem):
    """Records how many times faster the second of `names` is than the first."""
    peer, ours = names
    facts = {}
    if isinstance(candidates.get(peer), Program):
        own, others = (candidates[name].facts["temp_bytes"] for name in (ours, peer))
        facts = {"scratch": own / others}
    if peer == result.baseline:
        facts["cpu_ratio"] = result.speedup(ours, "cpu").median
    bench.target(
        target,
        result.wall[peer] / result.wall[ours],
        candidate=ours,
        peer=peer,
        **facts,
        **dataclasses.asdict(problem),
    )


class Program:
    """A loss and its gradients, compiled; a call gives (loss, gradients).

    Attributes:
        facts: Seconds of compilation and bytes of memory.
    """

    def __init__(self, function: Callable[..., Any], arrays: tuple[jax.Array, ...]):
        self._arrays = arrays
        self._program, seconds = timing.compile_timed(function, *arrays)
        self.facts = {"compile_s": seconds, **timing.memory_plan(self._program)}

    def __call__(self):
        return self._program(*self._arrays)


class TorchBlocks:
    """The usual form in PyTorch; a call gives (loss, gradients).

    Args:
        arrays: As `Problem.arrays`.
        threads: CPU threads of PyTorch.
        device: "cpu" or "cuda".
        rows: Positions whose scores exist at one time; all if not given.
        compiled: Whether to compile, on a GPU only.
        bfloat16: Whether products run in bfloat16 (autocast).
    """

    def __init__(
        self, arrays, threads, device, rows=None, compiled=False, bfloat16=False
    ):
        from benchmarks.peers.torch_extra import import_torch

        self._torch = torch = import_torch()
        self._call = softmax_naive.softmax_ce_and_gradients_torch(
            threads, device=device, compiled=compiled
        )
        x, table, bias, labels, weights = (
            torch.from_numpy(np.array(array)).to(device) for array in arrays
        )
        rows = rows or len(x)
        self._head = table, bias
        self._autocast = torch.autocast(device, torch.bfloat16, enabled=bfloat16)
        self._blocks = [
            (x[i : i + rows], labels[i : i + rows].long(), weights[i : i + rows])
            for i in range(0, len(x), rows)
        ]

    def __call__(self):
        total, parts, table, bias = 0.0, [], 0.0, 0.0
        for x, labels, weights in self._blocks:
            with self._autocast:
                loss, gradients = self._call(x, *self._head, labels, weights)
            total, table, bias = total + loss, table + gradients[1], bias + gradients[2]
            parts.append(gradients[0])
        return total, (self._torch.cat(parts), table, bias)


def _norm(gradient: Any) -> float:
    """Norm of a gradient of JAX or PyTorch."""
    if hasattr(gradient, "cpu"):
        gradient = gradient.float().cpu()
    return float(np.linalg.norm(np.asarray(gradient, np.float32)))


def _ours(chunk: int = 0, catalogue_chunk: int = 0) -> Callable[..., Any]:
    """Ours with given blocks; as it is trained with if they are not given."""

    def loss(x, table, bias, labels, weights):
        return linear_softmax_ce(
            x, table, bias, labels, weights, chunk, catalogue_chunk
        )

    return jax.value_and_grad(loss, argnums=(0, 1, 2))


def _checkpointed(rows: int) -> Callable[..., Any]:
    """The usual form over blocks of rows, each computed again for its gradient.

    Products run in the dtype of x, everything else in float32.
    """

    def block_loss(xs, table, bias, ys, ws):
        scores = jnp.einsum(
            "nd,vd->nv",
            xs,
            table.astype(xs.dtype),
            preferred_element_type=jnp.float32,
        )
        log_probabilities = jax.nn.log_softmax(scores + bias)
        return -(
            ws * jnp.take_along_axis(log_probabilities, ys[:, None], 1)[:, 0]
        ).sum()

    def loss(x, table, bias, labels, weights):
        def body(total, block):
            xs, ys, ws = block
            return total + block_loss(xs, table, bias, ys, ws), None

        missing = -len(x) % rows
        blocks = tuple(
            jnp.pad(a, ((0, missing), *((0, 0),) * (a.ndim - 1))).reshape(
                -1, rows, *a.shape[1:]
            )
            for a in (x, labels, weights)
        )
        return jax.lax.scan(jax.checkpoint(body), 0.0, blocks)[0]

    return jax.value_and_grad(loss, argnums=(0, 1, 2))


if __name__ == "__main__":
    harness.run(main, "softmax", __doc__)
