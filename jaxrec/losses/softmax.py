"""Full softmax cross-entropy over a large catalogue without holding its logits.

The plain loss keeps (n, v) logits for the backward pass; with 57,000 items that is the
whole memory of the machine. Here positions are taken in blocks: a block's logits, their
log-sum-exp **and the gradients** are made at once while they sit in the cache, because
the loss is a scalar and its gradient with respect to each logit is known in the forward
pass (softmax minus one-hot, times the weight). The backward pass only scales what was
stored. Three matrix products in all, none repeated, O(chunk * v) memory.

For very large v a block's logits are themselves too many; then the catalogue is blocked
too, with an online log-sum-exp and one repeated product (`catalogue_chunk`, see
`jaxrec.losses.softmax_blocked`).
"""

import jax
import jax.numpy as jnp

from jaxrec.core.devices import multiplies_in_warpgroups
from jaxrec.losses.blocks import split_positions, sum_dtype
from jaxrec.losses.softmax_blocked import blocked_softmax_ce

_KERNEL_WIDTH = 128  # The widest vectors that the GPU's kernels take.


def softmax_ce(
    x: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
) -> jax.Array:
    """The plain form: sum over positions of -w log softmax(x E^T + b)[label]."""
    logits = jnp.einsum("nd,vd->nv", x, table) + bias
    logprob = jax.nn.log_softmax(logits)
    return -(weights * jnp.take_along_axis(logprob, labels[:, None], 1)[:, 0]).sum()


def linear_softmax_ce(
    x: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    chunk: int = 0,
    catalogue_chunk: int = 0,
) -> jax.Array:
    """Sum over positions of -w log softmax(x E^T + b)[label], in blocks.

    Args:
      x: (n, d), float32 or bfloat16; products run in this dtype, sums in float32.
      table: (v, d).
      bias: (v,).
      labels: (n,) int32 in [0, v).
      weights: (n,), none negative; 0 leaves a position out.
      chunk: most positions per block; the blocks are equally long. 0 leaves it, and
        `catalogue_chunk` if that is 0 too, to `choose_blocks`; or, for bfloat16 on an
        NVIDIA GPU of the Hopper kind, takes the kernels of `jaxrec.losses.softmax_gpu`.
      catalogue_chunk: items per block; 0 takes the whole catalogue at once. Leave it
        0 where the table is split over devices.

    Returns:
      Scalar, the weighted sum (divide by the sum of weights after summing over
      devices).
    """
    x, table, bias, weights = map(jnp.asarray, (x, table, bias, weights))
    if not chunk:
        if _for_kernels(x) and multiplies_in_warpgroups():
            from jaxrec.losses.softmax_gpu import softmax_ce_gpu

            return softmax_ce_gpu(x, table, bias, labels, weights)
        chunk, chosen = choose_blocks(table.shape[0])
        catalogue_chunk = catalogue_chunk or chosen
    weights = weights.astype(sum_dtype(x))
    x, labels, weights = split_positions((x, labels, weights), chunk)
    if catalogue_chunk and catalogue_chunk < table.shape[0]:
        return blocked_softmax_ce(x, table, bias, labels, weights, catalogue_chunk)
    return _fused(x, table, bias, labels, weights)


def _for_kernels(x: jax.Array) -> bool:
    return x.dtype == jnp.bfloat16 and x.shape[1] <= _KERNEL_WIDTH


def choose_blocks(items: int, backend: str | None = None) -> tuple[int, int]:
    """Block sizes (positions, items; 0 is all of them) measured fastest on a CPU.

    There a block's scores should stay in the cache: at 12,000 items 128 positions took
    0.76 of the time of 448, and blocks of items were slower; at 57,000 items blocks of
    256 items took 0.54 of the time of the best block with all items. The border between
    the two, 30,000, is a guess. Elsewhere a block of scores gets about 256 MB, which
    launches large products and bounds the memory (on an H200, bfloat16, 57,290 items:
    16 ms; all 25,600 positions at once 21 ms; `jaxrec.losses.softmax_gpu` 2.3 ms).
    """
    if (backend or jax.default_backend()) == "cpu":
        return (128, 0) if items <= 30_000 else (1024, 256)
    if items <= 500_000:
        return max(128, 2**26 // items), 0
    return 8192, 8192


@jax.custom_vjp
def _fused(x, table, bias, labels, weights):
    """The sum over blocks, as `split_positions` made them."""

    def body(total, block):
        xs, ys, ws = block
        each, _, _ = _block_losses(xs, ys, table, bias)
        return total + (ws * each).sum(), None

    return jax.lax.scan(body, _scalar_like(weights), (x, labels, weights))[0]


def _scalar_like(weights):
    """A zero that varies over the same manual mesh axes as `weights`."""
    return weights[0, 0] * 0


def _block_losses(x, labels, table, bias):
    table = table.astype(x.dtype)
    logits = jnp.einsum("nd,vd->nv", x, table, preferred_element_type=sum_dtype(x))
    logits = logits + bias
    top = logits.max(1, keepdims=True)
    exp = jnp.exp(logits - top)
    total = exp.sum(1)
    # A row product instead of a gather from the logits: cheaper and never wrong where
    # the logits are sharded over the catalogue.
    label = (
        jnp.einsum("nd,nd->n", x, table[labels], preferred_element_type=sum_dtype(x))
        + bias[labels]
    )
    return jnp.log(total) + top[:, 0] - label, exp, total


def _fused_forward(x, table, bias, labels, weights):
    wide = sum_dtype(x)

    def body(carry, block):
        total, d_columns, d_bias = carry
        xs, ys, ws = block
        each, exp, normaliser = _block_losses(xs, ys, table, bias)
        # d loss / d logits = w (softmax - onehot). The one-hot part is subtracted by
        # row, so the (chunk, v) array is written once and read twice.
        probability = exp * (ws / normaliser)[:, None]
        d_bias = d_bias + probability.sum(0)
        d_bias = d_bias.at[ys].add(-ws)
        probability = probability.astype(xs.dtype)
        d_x = jnp.einsum(
            "nv,vd->nd",
            probability,
            table.astype(xs.dtype),
            preferred_element_type=wide,
        )
        d_x = d_x - ws[:, None] * table[ys]
        # Not (v, d): a product of the transposed probabilities takes two to seven times
        # as long on a CPU.
        d_columns = d_columns + jnp.einsum(
            "nd,nv->dv", xs, probability, preferred_element_type=wide
        )
        return (total + (ws * each).sum(), d_columns, d_bias), (d_x, each)

    zero = _scalar_like(weights)
    carry = (zero, table.T.astype(wide) * 0 + zero, bias * 0 + zero)
    blocks = (x, labels, weights)
    (total, d_columns, d_bias), (d_x, each) = jax.lax.scan(body, carry, blocks)
    d_label = (weights[..., None] * x.astype(wide)).reshape(-1, x.shape[-1])
    d_table = d_columns.T.at[labels.reshape(-1)].add(-d_label)
    d_table, d_bias = d_table.astype(table.dtype), d_bias.astype(bias.dtype)
    return total, (d_x.astype(x.dtype), d_table, d_bias, each)


def _fused_backward(stored, cotangent):
    d_x, d_table, d_bias, d_weights = ((d * cotangent).astype(d.dtype) for d in stored)
    return d_x, d_table, d_bias, None, d_weights


_fused.defvjp(_fused_forward, _fused_backward)
