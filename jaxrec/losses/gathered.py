"""Losses of a target's score against the scores of a few gathered items, in blocks.

As in `jaxrec.losses.softmax` the gradient is made in the forward pass, block by block,
so that no more than one block's gathered rows and scores exist.

With the sizes of a nested model the loss is summed over them, as in
`jaxrec.losses.matryoshka`: the scores at each width are those at the one before plus an
increment, rows are gathered once and their gradients scattered once, so that all widths
take the products of the widest.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxrec.core.nested import increments
from jaxrec.losses.blocks import split_positions, sum_dtype

# From a block's target scores (c,), the scores (c, s) of its drawn items, labels (c,)
# and drawn ids, (c, s) or (s,), to the loss (c,) of each position.
Each = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]

# Widths s_1 < ... < s_K = d, each with what its loss weighs; () is d alone.
Sizes = Sequence[tuple[int, float]]

_CHUNK = 512
_ROWS = 2**15  # gathered at one time on a CPU


def choose_chunk(samples: int, backend: str | None = None) -> int:
    """How many positions with so many negatives each make a block.

    On a CPU a block's gathered rows should stay in the cache: with 128 negatives of
    width 64 blocks of 256 positions took half the time of 512, with 256 blocks of 128
    a third, and smaller ones were no faster. Elsewhere the number bounds the memory.
    """
    if (backend or jax.default_backend()) == "cpu":
        return min(_CHUNK, max(16, _ROWS // samples))
    return _CHUNK


def own_negatives_loss(
    each: Each,
    x: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    negatives: jax.Array,
    *,
    chunk: int = 0,
    sizes: Sizes = (),
) -> jax.Array:
    """`gathered_loss` where each position has negatives (n, s) of its own.

    A chunk of 0 is that of `choose_chunk`.

    Raises:
      ValueError: negatives of another shape, or a chunk below 0.
    """
    if negatives.ndim != 2 or len(negatives) != len(labels) or not negatives.shape[1]:
        raise ValueError(
            f"negatives: want ({len(labels)}, at least 1), got {negatives.shape}"
        )
    chunk = chunk or choose_chunk(negatives.shape[1])
    (drawn,) = split_positions((negatives,), chunk)
    inputs = (x, table, bias, labels, weights, drawn)
    return gathered_loss(each, *inputs, chunk=chunk, offset=0.0, sizes=sizes)


def gathered_loss(
    each: Each,
    x: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    drawn: jax.Array,
    *,
    chunk: int,
    offset: jax.Array | float,
    sizes: Sizes = (),
) -> jax.Array:
    """Sum over positions of w times the loss of a target's and some items' scores.

    Args:
      each: the loss of every position of a block.
      x: (n, d), float32 or bfloat16; products run in this dtype, sums in float32.
      table: (v, d).
      bias: (v,).
      labels: (n,) int32 in [0, v).
      weights: (n,).
      drawn: int32 ids by blocks as of `split_positions`: (k, s), items for all
        positions of a block, or (k, c, s), for each its own.
      chunk: most positions per block.
      offset: (k, s), added to the scores of the drawn items; or a scalar.
      sizes: widths that the loss is summed over, with their weights; () is d alone.

    Returns:
      Scalar, the weighted sum. Differentiable in `x`, `table`, `bias` and `weights`.

    Raises:
      ValueError: a chunk below 1, or sizes that do not end at d.
    """
    sizes = tuple(sizes) or ((x.shape[1], 1.0),)
    if sizes[-1][0] != x.shape[1]:
        widths = tuple(size for size, _ in sizes)
        raise ValueError(f"sizes: {widths} do not end at the width {x.shape[1]}")
    x, table, bias, weights = map(jnp.asarray, (x, table, bias, weights))
    weights = weights.astype(sum_dtype(x))
    x, labels, weights = split_positions((x, labels, weights), chunk)
    offset = jnp.asarray(offset, jnp.float32)
    if not offset.ndim:
        offset = jnp.broadcast_to(offset, (len(x), 1))
    return _fused(x, table, bias, weights, labels, drawn, offset, each, sizes)


def _block_loss(
    xs, ws, target_rows, target_bias, rows, row_bias, ys, drawn, offset, each, sizes
):
    wide = sum_dtype(xs)
    equation = "nd,sd->ns" if rows.ndim == 2 else "nd,nsd->ns"
    target, scores, total = target_bias, row_bias + offset, 0.0
    steps = increments([size for size, _ in sizes])
    for (begin, end), (_, share) in zip(steps, sizes, strict=True):
        part, own = xs[:, begin:end], target_rows[:, begin:end].astype(xs.dtype)
        target = target + jnp.einsum("nd,nd->n", part, own, preferred_element_type=wide)
        others = rows[..., begin:end].astype(xs.dtype)
        scores = scores + jnp.einsum(
            equation, part, others, preferred_element_type=wide
        )
        total += share * each(target, scores, ys, drawn)
    return (ws * total).sum()


@functools.partial(jax.custom_vjp, nondiff_argnums=(7, 8))
def _fused(x, table, bias, weights, labels, drawn, offset, each, sizes):
    def body(total, block):
        return total + _block_loss(*_gathered(table, bias, block), each, sizes), None

    blocks = (x, weights, labels, drawn, offset)
    return jax.lax.scan(body, weights[0, 0] * 0, blocks)[0]


def _fused_forward(x, table, bias, weights, labels, drawn, offset, each, sizes):
    width = table.shape[1]
    gradient = jax.value_and_grad(_block_loss, argnums=range(6))

    def body(carry, block):
        total, d_table, d_bias = carry
        loss, (d_x, d_w, d_target, d_target_bias, d_rows, d_row_bias) = gradient(
            *_gathered(table, bias, block), each, sizes
        )
        _, _, ys, ids, _ = block
        d_table = d_table.at[ys].add(d_target)
        d_table = d_table.at[ids.reshape(-1)].add(d_rows.reshape(-1, width))
        d_bias = d_bias.at[ys].add(d_target_bias)
        d_bias = d_bias.at[ids.reshape(-1)].add(d_row_bias.reshape(-1))
        return (total + loss, d_table, d_bias), (d_x, d_w)

    zero = weights[0, 0] * 0  # varies over the mesh axes that the positions do
    carry = (zero, table * 0 + zero, bias * 0 + zero)
    blocks = (x, weights, labels, drawn, offset)
    (total, d_table, d_bias), (d_x, d_weights) = jax.lax.scan(body, carry, blocks)
    return total, (
        d_x,
        d_table.astype(table.dtype),
        d_bias.astype(bias.dtype),
        d_weights,
    )


def _gathered(table, bias, block):
    xs, ws, ys, ids, shift = block
    return xs, ws, table[ys], bias[ys], table[ids], bias[ids], ys, ids, shift


def _fused_backward(each, sizes, stored, cotangent):
    del each, sizes
    scaled = ((d * cotangent).astype(d.dtype) for d in stored)
    return (*scaled, None, None, None)


_fused.defvjp(_fused_forward, _fused_backward)
