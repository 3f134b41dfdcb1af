"""Maps whose first outputs depend on the first inputs only, for a list of widths.

With sizes s_1 < s_2 < ... < s_K = D and s_0 = 0, increment i is [s_{i-1}, s_i). A
nested linear map makes increment i of its outputs from the inputs [0, s_i). Whatever is
built of these and of what works on every channel or every increment by itself, such as
a diagonal recurrence, is K networks in one: the first s_i outputs are those of a
network of width s_i, whose parameters are slices of the larger one's (Wang et al.,
"Train Once, Deploy Anywhere: Matryoshka Representation Learning for Multimodal
Recommendation", EMNLP 2024 Findings).

Only connected weights are stored, one kernel (s_i, s_i - s_{i-1}) per increment, two
thirds of D^2 for sizes that double. The alternative, a dense kernel times a mask, keeps
and multiplies the rest too, and its optimiser decays and averages weights of nothing.

    {"kernel_0": (s_1, s_1), "kernel_1": (s_2, s_2 - s_1), ..., "bias": (D,)}

Inputs and outputs may be several vectors of width D side by side (the real and the
imaginary parts of a complex one): then the kernels have so many times the rows (of the
first vector, then of the second) or columns, and the bias so many times the elements.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

Params = dict[str, Any]

_MERGED = 128  # Increments up to this width are multiplied as one dense block.


def check_sizes(sizes: Sequence[int], where: str) -> None:
    """Raises ValueError for anything but growing multiples of 4."""
    multiples = all(
        isinstance(size, int) and size >= 4 and size % 4 == 0 for size in sizes
    )
    if not sizes or not multiples or list(sizes) != sorted(set(sizes)):
        raise ValueError(f"{where}: want growing multiples of 4, got {tuple(sizes)}")


def increments(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Where each increment begins and ends."""
    return list(zip((0, *sizes[:-1]), sizes, strict=True))


def nested_linear(
    params: Params,
    x: jax.Array,
    sizes: Sequence[int],
    dtype: jnp.dtype,
    *,
    vectors: int = 1,
) -> jax.Array:
    """x W + b, computed and returned in `dtype`.

    The narrow increments are one product with zeros in it: products of their own, of
    vectors of 8 or 16, would take longer than those zeros. All are products of two
    matrices: with more axes the gradient of fMRLRec's two blocks of width 1024 took 604
    instead of 522 ms on a CPU (18 rows of 50).

    Args:
      params: kernels and bias, as above.
      x: (..., vectors * D).
      sizes: s_1 .. s_K.
      dtype: of the products.
      vectors: how many vectors side by side the inputs are. How many the outputs are
        the bias shows.

    Returns:
      (..., D), or so many times wider.
    """
    dim, bias = sizes[-1], params["bias"]
    lead = x.shape[:-1]
    x = x.astype(dtype).reshape(-1, vectors, dim)
    made = bias.shape[0] // dim
    outputs = []
    for size, kernel in _blocks(params, sizes, vectors, made):
        y = x[..., :size].reshape(-1, vectors * size) @ kernel.astype(dtype)
        outputs.append(y.reshape(-1, made, y.shape[-1] // made))
    y = jnp.concatenate(outputs, -1).reshape(*lead, made * dim)
    return y + bias.astype(dtype)


def cut_linear(params: Params, sizes: Sequence[int], keep: int) -> Params:
    """The map of the first `keep` sizes."""
    kernels = {f"kernel_{i}": params[f"kernel_{i}"] for i in range(keep)}
    bias = params["bias"].reshape(-1, sizes[-1])[:, : sizes[keep - 1]]
    return kernels | {"bias": bias.reshape(-1)}


def _blocks(params, sizes, vectors, made):
    """What is multiplied: how many inputs of each vector are seen, and a kernel."""
    merged = max(1, sum(size <= _MERGED for size in sizes))
    width = sizes[merged - 1]

    def padded(i, begin, end):
        kernel = params[f"kernel_{i}"].reshape(vectors, end, made, end - begin)
        return jnp.pad(kernel, ((0, 0), (0, width - end), (0, 0), (0, 0)))

    steps = increments(sizes)
    narrow = [padded(i, *step) for i, step in enumerate(steps[:merged])]
    dense = jnp.concatenate(narrow, -1).reshape(vectors * width, made * width)
    wide = [(sizes[i], params[f"kernel_{i}"]) for i in range(merged, len(sizes))]
    return [(width, dense), *wide]
