"""The checksum is what it says, sees what damage does, and adds up over blocks."""

import itertools

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxrec.core.checksums import array_checksums, block_checksum


def whole(array):
    return block_checksum(array, (0,) * array.ndim, array.shape)


def test_is_the_two_sums():
    array = np.array([[3, 5], [7, 11]], np.uint8)
    assert whole(array) == (3 + 5 + 7 + 11, 0 * 3 + 1 * 5 + 2 * 7 + 3 * 11)


def test_is_modulo_two_to_the_64():
    array = np.full(3, 2**64 - 1, np.uint64)
    assert whole(array) == (2**64 - 3, 2**64 - (0 + 1 + 2))


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "bfloat16", "float16", "float32", "complex64", "complex128"],
)
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (40_000,), (5, 6), (3, 4, 5)])
def test_equals_the_formula(dtype, shape):
    rng = np.random.default_rng(0)
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array = rng.integers(0, 256, (*shape, dtype.itemsize)).astype(np.uint8)
    array = array.view(dtype)[..., 0]
    unsigned = f"u{min(8, dtype.itemsize)}"
    words = np.ascontiguousarray(array).reshape(-1).view(unsigned).tolist()
    assert whole(array) == (
        sum(words) % 2**64,
        sum(position * word for position, word in enumerate(words)) % 2**64,
    )


def test_blocks_add_up_to_the_whole():
    array = np.random.default_rng(0).normal(size=(6, 4, 10)).astype(np.float32)
    total = [0, 0]
    for i, j, k in itertools.product((0, 2, 4), (0, 2), (0, 5)):
        block = array[i : i + 2, j : j + 2, k : k + 5]
        part = block_checksum(block, (i, j, k), array.shape)
        total = [(a + b) % 2**64 for a, b in zip(total, part, strict=True)]
    assert tuple(total) == whole(array)


def test_sees_lost_moved_and_changed_values():
    array = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    lost, moved, changed = array.copy(), array.copy(), array.copy()
    lost[3:5] = 0
    moved[[2, 9]] = moved[[9, 2]]
    changed[0, 0] = np.nextafter(changed[0, 0], 9)
    sums = {whole(version) for version in (array, lost, moved, changed, array[::-1])}
    assert len(sums) == 5


def test_tells_zeros_of_either_sign_and_nans_apart():
    versions = [np.float32(0.0), np.float32(-0.0), np.float32("nan")]
    assert len({whole(np.asarray(version)) for version in versions}) == 3


def test_device_and_host_arrays_agree():
    array = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    turned = np.asfortranarray(array)
    sums = array_checksums([array, jnp.asarray(array), turned])
    assert sums == [whole(array)] * 3
    assert array_checksums([]) == []
