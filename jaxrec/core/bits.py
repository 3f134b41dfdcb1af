"""A hash of 32-bit words, for random bits that cost little.

Where bits have only to look random (dropout masks, negatives) two multiplications per
word do, against the 20 rounds of Threefry: no adversary guesses them.
"""

import jax
import jax.numpy as jnp


def mix(x: jax.Array) -> jax.Array:
    """A bijection of uint32 words by two multiply-xorshift rounds."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
