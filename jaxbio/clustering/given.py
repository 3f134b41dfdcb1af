"""What a user gives the estimator, checked."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxbio.clustering.partitions import canonical


def as_key(key: int | jax.Array) -> jax.Array:
    """A key, or that of a seed."""
    return jax.random.key(key) if isinstance(key, int | np.integer) else key


def check_count(**counts: Any) -> None:
    """Checks numbers by their names.

    Raises:
      ValueError: one is no integer of 1 or more.
    """
    for name, count in counts.items():
        if not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"{name}: want an integer of 1 or more, got {count!r}")


def is_table(data: Sequence[Any]) -> bool:
    """Whether a list is one table of numbers, such as [[0, 1], [2, 3]]."""
    return len(data) > 0 and isinstance(data[0], list | tuple) and _flat(data[0])


def _flat(row):
    return all(np.ndim(value) == 0 for value in row)


def as_rows(labels: Any, size: int) -> np.ndarray:
    """Canonical rows (S, n) int32 of labels (n,) or (S, n), n = `size`.

    Raises:
      ValueError: another shape, or no integers.
    """
    rows = np.asarray(labels)
    if rows.ndim not in (1, 2) or rows.shape[-1] != size or not rows.size:
        raise ValueError(
            f"labels: want shape ({size},) or (S, {size}), got {rows.shape}"
        )
    if not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"labels: want integers, got {rows.dtype}")
    _, names = np.unique(rows, return_inverse=True)
    return canonical(names.reshape(rows.shape).reshape(-1, size))
