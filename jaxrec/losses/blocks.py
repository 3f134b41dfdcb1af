"""How the losses cut positions into blocks."""

import jax
import jax.numpy as jnp


def split_positions(arrays, most: int) -> tuple[jax.Array, ...]:
    """Cuts (n, ...) arrays into equal blocks, each (k, c, ...), filled up with zeros.

    The blocks are as few as blocks of at most `most` positions can be, and equally
    long: 129 positions at most 128 make two blocks of 65 with one zero, not two of 128
    with 127, which would cost as much as positions do.
    """
    arrays = tuple(map(jnp.asarray, arrays))
    n = arrays[0].shape[0]
    blocks, size = block_shape(n, most)

    def split(a):
        a = jnp.pad(a, ((0, blocks * size - n), *((0, 0),) * (a.ndim - 1)))
        return a.reshape(blocks, size, *a.shape[1:])

    return tuple(map(split, arrays))


def block_shape(n: int, most: int) -> tuple[int, int]:
    """How many blocks of how many positions `split_positions` makes of n.

    Raises:
      ValueError: blocks of less than one position.
    """
    if most < 1:
        raise ValueError(f"chunk: want at least 1, got {most}")
    blocks = -(-n // most)
    return blocks, -(-n // blocks)


def sum_dtype(x: jax.Array) -> jnp.dtype:
    """The dtype of sums: float32, or float64 when that is what comes in."""
    return jnp.promote_types(x.dtype, jnp.float32)
