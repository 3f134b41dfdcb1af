"""Nested maps and the loss at every width, against the plain ways to have them.

python -m benchmarks.nested [--quick] [--threads 1]

The map, forward and gradients: a kernel per increment, of connected weights only,
against a dense kernel times a mask, and beside them a dense kernel that is not nested.
For sizes that double, connected weights are two thirds of the dense ones, so 1.5 is the
most that leaving out the others can give.

The loss, with gradients: scores that grow from width to width against one softmax loss
per width; the widest of these alone is what training at a single width costs.

float32 on a CPU, products in bfloat16 on a GPU.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.attempts import attempt_all
from benchmarks.peers.nested_masked import dense_kernel, masked_linear
from benchmarks.softmax import Problem, Program
from jaxrec.core.nested import increments, nested_linear
from jaxrec.losses.matryoshka import linear_matryoshka_ce
from jaxrec.losses.softmax import linear_softmax_ce

TOKENS = 4096


def main(bench: harness.Benchmark) -> None:
    """Measures the widths and catalogues that suit the device."""
    gpu = jax.default_backend() == "gpu"
    dtype = jnp.bfloat16 if gpu else jnp.float32
    for dim in (64,) if bench.quick else (256, 512, 1024):
        linear(bench, 256 if bench.quick else TOKENS, dim, dtype)
    if bench.quick:
        problems = [Problem(512, 1_001, 64)]
    elif gpu:
        problems = [Problem(25_600, 12_102, 512), Problem(25_600, 57_290, 512)]
    else:
        problems = [Problem(1_600, 12_102, 512)]
    for problem in problems:
        loss(bench, problem, dtype)


def doubling(dim: int) -> tuple[int, ...]:
    """The sizes 8, 16, .. up to `dim`."""
    return tuple(8 * 2**i for i in range((dim // 8).bit_length()))


def linear(bench: harness.Benchmark, tokens: int, dim: int, dtype: Any) -> None:
    """Compares the map with its gradients for the parameters and x (target N2)."""
    sizes, random = doubling(dim), np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(random.standard_normal(shape, np.float32) / dim**0.5)

    params: dict[str, jax.Array] = {
        f"kernel_{i}": normal(end, end - begin)
        for i, (begin, end) in enumerate(increments(sizes))
    }
    params["bias"] = normal(dim)
    kernel, mask = dense_kernel(params, sizes)
    dense = {"kernel": kernel, "bias": params["bias"]}
    x, weights = normal(tokens, dim), normal(tokens, dim)

    def with_gradients(apply):
        def total(params, x):
            y = apply(params, x.astype(dtype))
            return (y.astype(jnp.float32) * weights).sum()

        return jax.value_and_grad(total, argnums=(0, 1))

    def masked(params, x):
        return masked_linear(params["kernel"], params["bias"], mask, x)

    def plain(params, x):
        return x @ params["kernel"].astype(dtype) + params["bias"].astype(dtype)

    def nested(params, x):
        return nested_linear(params, x, sizes, dtype)

    candidates = {
        "dense, masked": Program(with_gradients(masked), (dense, x)),
        "dense, not nested": Program(with_gradients(plain), (dense, x)),
        "jaxrec": Program(with_gradients(nested), (params, x)),
    }
    found = {name: candidates[name]() for name in ("dense, masked", "jaxrec")}
    rtol = 1e-4 if dtype == jnp.float32 else 2e-2
    bench.agree(
        "gradient of x", {n: _norm(r[1][1]) for n, r in found.items()}, rtol=rtol
    )
    bench.agree(
        "gradient of the parameters",
        {name: _norm(result[1][0]) for name, result in found.items()},
        rtol=rtol,
    )
    shared = {"positions": tokens, "dim": dim, "dtype": jnp.dtype(dtype).name}
    result = bench.compare(
        "nested linear and gradients",
        candidates,
        twin="jaxrec",
        facts={name: candidate.facts for name, candidate in candidates.items()},
        **shared,
    )
    bench.target(
        "N2",
        result.speedup("jaxrec"),
        cpu_ratio=result.speedup("jaxrec", "cpu").median,
        **shared,
    )


def loss(bench: harness.Benchmark, problem: Problem, dtype: Any) -> None:
    """Compares the losses with their gradients (targets N3 and N3b)."""
    arrays, sizes = problem.arrays(dtype), doubling(problem.dim)
    shares = tuple((size, 1 / len(sizes)) for size in sizes)

    def cumulative(x, table, bias, labels, weights):
        return linear_matryoshka_ce(x, table, bias, labels, weights, shares)

    def separate(x, table, bias, labels, weights):
        return sum(
            share * linear_softmax_ce(x[:, :s], table[:, :s], bias, labels, weights)
            for s, share in shares
        )

    def program(function):
        return lambda: Program(jax.value_and_grad(function, (0, 1, 2)), arrays)

    candidates = attempt_all(
        bench,
        {
            "a loss per size": program(separate),
            "widest alone": program(linear_softmax_ce),
            "jaxrec": program(cumulative),
        },
    )
    found = {n: run() for n, run in candidates.items() if n != "widest alone"}
    rtol = 1e-5 if dtype == jnp.float32 else 5e-3
    bench.agree("loss", {n: float(r[0]) for n, r in found.items()}, rtol=rtol)
    for place, name in enumerate(("x", "table", "bias")):
        norms = {n: _norm(r[1][place]) for n, r in found.items()}
        bench.agree(f"gradient of {name}", norms, rtol=10 * rtol)
    shared = {**dataclasses.asdict(problem), "dtype": jnp.dtype(dtype).name}
    result = bench.compare(
        "loss at every width and gradients",
        candidates,
        twin="jaxrec",
        facts={name: candidate.facts for name, candidate in candidates.items()},
        **shared,
    )
    for target, peer, reached in (
        ("N3", "a loss per size", lambda a, b: a / b),
        ("N3b", "widest alone", lambda a, b: b / a),
    ):
        if peer in candidates:
            times = result.wall[peer], result.wall["jaxrec"]
            bench.target(target, reached(*times), peer=peer, **shared)


def _norm(gradients: Any) -> float:
    """Norm of all arrays in a tree together."""
    squares = (
        jnp.square(a.astype(jnp.float32)).sum() for a in jax.tree.leaves(gradients)
    )
    return float(jnp.sqrt(sum(squares)))


if __name__ == "__main__":
    harness.run(main, "nested", __doc__)
