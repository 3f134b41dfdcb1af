"""jit for tests, where most of the time is compilation."""

import functools

import jax
import numpy as np

quick_jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def numpy_jit(function, **options):
    """`quick_jit` with numpy results: to slice or subtract them compiles nothing."""
    compiled = quick_jit(function, **options)
    return lambda *args, **kwargs: jax.tree.map(np.asarray, compiled(*args, **kwargs))
