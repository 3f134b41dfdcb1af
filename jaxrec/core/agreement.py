"""Errors and decisions that all processes of a run have in common.

Under `jax.distributed` a process that raises while the others go on leaves them waiting
in the next collective. So a step that may fail on one process is run with `attempt`,
and its problem is `shared` before anybody acts on it.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def attempt(function: Callable[..., Any], *args: Any) -> tuple[Any, str]:
    """Returns a function's result and "", or None and on one line why it failed."""
    try:
        return function(*args), ""
    except Exception as error:
        return None, describe(error)


def describe(error: BaseException) -> str:
    """Returns an error on one line: its type and the first line of its message."""
    while isinstance(error, BaseExceptionGroup) or error.__cause__ is not None:
        # Orbax wraps what TensorStore reports; the reason is inside.
        is_group = isinstance(error, BaseExceptionGroup)
        error = error.exceptions[0] if is_group else error.__cause__
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:500]}"


def shared(problem: str) -> str:
    """Returns this process's problem, or that another process has one, or ""."""
    if jax.process_count() == 1:
        return problem
    from jax.experimental import multihost_utils

    failed = np.asarray(multihost_utils.process_allgather(np.int32(bool(problem))))
    if not problem and failed.any():
        return f"process {int(failed.argmax())} failed"
    return problem


def from_first(numbers: list[int]) -> list[int]:
    """Returns the numbers (below 2**31) that process 0 has."""
    if jax.process_count() == 1:
        return numbers
    from jax.experimental import multihost_utils

    count = int(multihost_utils.broadcast_one_to_all(np.int32(len(numbers))))
    padded = np.zeros(count, np.int32)
    padded[: len(numbers)] = numbers[:count]
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tolist()
