"""Checksums of sharded arrays that do not depend on how they are sharded.

An array is read as its raw bits, one unsigned word ``x[i]`` per element at flat
(C order) position ``i``. Its checksum is the pair, modulo 2**64,

    (sum_i x[i],  sum_i i * x[i])

which is Fletcher's idea ("An arithmetic checksum for serial transmissions", IEEE
Trans. Commun. 30(1), 1982) on 64-bit sums: the first sees a changed or lost element,
the second sees elements that moved. Both are sums over elements, so every process adds
up the shards it holds and the totals are the same on 1 device, on 8 and on several
hosts: a checkpoint written under one sharding is verified under another. A CRC would
need the bytes in order and hence the whole array in one place.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

MASK = (1 << 64) - 1
PIECE = 1 << 15  # elements
WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def array_checksums(arrays: Sequence[Any]) -> list[tuple[int, int]]:
    """Returns the checksum of every whole array, the same on every process.

    Args:
        arrays: `jax.Array`s under any sharding, or host arrays (which must then be
            equal on all processes). Any shape; elements of 1, 2, 4, 8 or 16 bytes.

    Returns:
        One pair of integers below 2**64 per array.
    """
    return add_over_processes([_local_checksum(array) for array in arrays])


def block_checksum(
    block: np.ndarray, starts: Sequence[int], shape: Sequence[int]
) -> tuple[int, int]:
    """Returns the part of an array's checksum that one rectangular block adds.

    Args:
        block: The block's values.
        starts: Index of the block's first element along each axis of the array.
        shape: Shape of the whole array.
    """
    if block.dtype.itemsize == 16:  # complex128: two words per element
        words = np.ascontiguousarray(block).reshape(*block.shape, 1)
        block = words.view(np.uint64)
        starts, shape = (*starts, 0), (*shape, 2)
    words = block.view(WORDS[block.dtype.itemsize])
    *outer, columns = words.shape or (1,)
    by_row, by_column = _row_and_column_sums(words.reshape(math.prod(outer), columns))
    # i = sum over axes of index * stride, so sum_i i x[i] is one weighted sum per
    # axis, over the sums across all other axes.
    by_row = by_row.reshape(outer)
    axes = range(len(outer))
    margins = [by_row.sum(axis=tuple(set(axes) - {axis})) for axis in axes]
    margins.append(by_column)
    weighted, stride = 0, 1
    for axis in reversed(range(len(shape))):
        margin = margins[axis]
        index = np.arange(margin.size, dtype=np.uint64) + np.uint64(starts[axis])
        weighted += stride * int((index * margin).sum(dtype=np.uint64))
        stride *= shape[axis]
    return int(by_column.sum(dtype=np.uint64)), weighted & MASK


def _row_and_column_sums(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns sums of a matrix modulo 2**64, in pieces that stay in the cache."""
    rows, columns = words.shape
    by_row, by_column = np.zeros(rows, np.uint64), np.zeros(columns, np.uint64)
    size = max(1, PIECE // max(1, columns))
    for start in range(0, rows, size):
        piece = words[start : start + size].astype(np.uint64)
        by_row[start : start + size] = piece.sum(axis=1)
        by_column += piece.sum(axis=0)
    return by_row, by_column


def _local_checksum(array: Any) -> tuple[int, int]:
    """Returns this process's part of an array's checksum."""
    if not isinstance(array, jax.Array):
        if jax.process_index() != 0:
            return 0, 0
        array = np.asarray(array)
        return block_checksum(array, (0,) * array.ndim, array.shape)
    total = weighted = 0
    for shard in array.addressable_shards:
        if shard.replica_id != 0:
            continue
        starts = [index.start or 0 for index in shard.index]
        part = block_checksum(jax.device_get(shard.data), starts, array.shape)
        total, weighted = total + part[0], weighted + part[1]
    return total & MASK, weighted & MASK


def add_over_processes(sums: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Adds checksums over all processes, modulo 2**64; every process gets the total."""
    if jax.process_count() == 1 or not sums:
        return sums
    from jax.experimental import multihost_utils

    # 32-bit halves: JAX has no 64-bit integers unless they are switched on.
    halves = np.array(sums, np.uint64).view(np.uint32)
    gathered = np.asarray(multihost_utils.process_allgather(halves))
    parts = np.ascontiguousarray(gathered).view(np.uint64)
    return [(int(a), int(b)) for a, b in parts.sum(axis=0, dtype=np.uint64)]
