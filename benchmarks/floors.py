"""What this processor can do at best, and how much a training step has to do.

A floor is a time that no program goes below: operations over the rate of matrix
products plus exponentials over the rate of exponentials, or bytes over the rate of
streaming. Rates are measured in the process that measures what they are held against.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Benchmark
from benchmarks.shapes import Shape
from jaxrec.core import timing


class Rates(NamedTuple):
    """Measured rates, per second.

    Attributes:
        head: Operations of the three products of a softmax head, blocks of 512
            positions, without anything else.
        square: Operations of a product of 1024 x 1024 matrices.
        exp: Exponentials.
    """

    head: float
    square: float
    exp: float


def step_work(shape: Shape, tokens: int) -> tuple[float, float]:
    """Returns operations and exponentials of a training step, counted by hand.

    Per token and block, forward: the maps into and out of the recurrence
    2 D 4D + 2 4D D, the recurrence 8 per channel, the position-wise network
    4 D 4D; the scores 2 D (N + 1). Training takes three times that.
    """
    d, h = shape.dim, shape.channels
    block = 2 * d * 2 * h + 8 * h + 2 * 2 * h * d + 2 * 2 * d * 4 * d
    forward = shape.blocks * block + 2 * d * (shape.items + 1)
    return 3.0 * forward * tokens, float(tokens * (shape.items + 1))


def measure_rates(bench: Benchmark, shape: Shape) -> Rates:
    """Measures and records the rates at the shapes of a softmax head."""
    positions, repeats = 512, 2 if bench.quick else 8
    head, head_work = _head(positions, shape.dim, shape.items + 1, repeats)
    side = 128 if bench.quick else 1024
    square, square_work = _square(side, repeats)
    exp, exp_work = _exponentials(positions * (shape.items + 1), repeats)
    result = bench.compare(
        "floor rates",
        {"head products": head, "square product": square, "exponentials": exp},
        facts={
            "head products": {"operations": head_work},
            "square product": {"operations": square_work},
            "exponentials": {"operations": exp_work},
        },
        shape=shape.name,
    )
    rates = Rates(
        head_work / result.seconds("head products"),
        square_work / result.seconds("square product"),
        exp_work / result.seconds("exponentials"),
    )
    bench.record("floor rates per second", shape=shape.name, **rates._asdict())
    return rates


def _head(n: int, d: int, v: int, repeats: int) -> tuple[Callable[[], Any], float]:
    """The products of a softmax head, over and over in the same buffers."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(n, d)), jnp.float32)
    table = jnp.asarray(random.normal(size=(v, d)) / v, jnp.float32)

    def program(x, table):
        def once(_, carry):
            x, total = carry
            scores = x @ table.T
            return scores @ table, total + scores.T @ x

        return jax.lax.fori_loop(0, repeats, once, (x, jnp.zeros_like(table)))

    compiled, _ = timing.compile_timed(program, x, table)
    return lambda: compiled(x, table), repeats * 3 * 2.0 * n * d * v


def _square(side: int, repeats: int) -> tuple[Callable[[], Any], float]:
    random = np.random.default_rng(1)
    a = jnp.asarray(random.normal(size=(side, side)) / side, jnp.float32)

    def program(a):
        return jax.lax.fori_loop(0, repeats, lambda _, b: b @ a, a)

    compiled, _ = timing.compile_timed(program, a)
    return lambda: compiled(a), repeats * 2.0 * side**3


def _exponentials(n: int, repeats: int) -> tuple[Callable[[], Any], float]:
    x = jnp.linspace(-1, 0, n)

    def program(x):
        return jax.lax.fori_loop(0, repeats, lambda _, y: jnp.exp(-y), x)

    compiled, _ = timing.compile_timed(program, x)
    return lambda: compiled(x), float(repeats * n)
