"""The nested linear map as its paper describes it: a dense kernel times a mask.

Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", EMNLP 2024 Findings. The mask is applied at every use, so
that weights which connect nothing have no gradient.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.core.nested import increments


def masked_linear(
    kernel: jax.Array, bias: jax.Array, mask: jax.Array, x: jax.Array
) -> jax.Array:
    """Returns x (W * mask) + b in the dtype of x.

    Args:
        kernel: (d, d).
        bias: (d,).
        mask: (d, d), 1 where an output depends on an input.
        x: (n, d).
    """
    return x @ (kernel * mask).astype(x.dtype) + bias.astype(x.dtype)


def dense_kernel(
    params: Mapping[str, jax.Array], sizes: Sequence[int]
) -> tuple[jax.Array, jax.Array]:
    """Returns the dense kernel (d, d) of a nested map, and its mask.

    Args:
        params: As `jaxrec.core.nested.nested_linear` takes them, for one vector.
        sizes: Its sizes.
    """
    kernel, mask = np.zeros((2, sizes[-1], sizes[-1]), np.float32)
    for i, (begin, end) in enumerate(increments(sizes)):
        kernel[:end, begin:end] = params[f"kernel_{i}"]
        mask[:end, begin:end] = 1
    return jnp.asarray(kernel), jnp.asarray(mask)
