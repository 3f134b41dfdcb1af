"""Full softmax cross-entropy in blocks of positions and of items.

For catalogues of which even a few hundred positions' scores leave the cache. Two passes
over the items: the first keeps a running maximum and sum per position, the second makes
the scores again and, from the then known normaliser, all gradients; a block of the
table's gradient is written once. Four matrix products against the three of
`jaxrec.losses.softmax`, on arrays of (chunk, catalogue_chunk) that stay in the cache:
on a CPU slower at 12,000 items and twice as fast at 57,000. The online normaliser is
that of Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.
"""

import functools

import jax
import jax.numpy as jnp

_LOWEST = -1e30  # Below every score, yet finite: differences with it are no NaN.


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def blocked_softmax_ce(x, table, bias, labels, weights, catalogue_chunk):
    """As `jaxrec.losses.softmax.linear_softmax_ce`, over k blocks of c positions.

    Args:
      x: (k, c, d), from `split_positions`.
      table: (v, d).
      bias: (v,).
      labels: (k, c) int32 in [0, v).
      weights: (k, c) in the dtype of sums.
      catalogue_chunk: items per block.

    Returns:
      Scalar, the weighted sum. Differentiable in all but the labels.
    """
    items = _item_blocks(table, bias, catalogue_chunk)

    def body(total, block):
        each, _ = _losses(*block[:2], table, bias, items, weights.dtype)
        return total + (block[2] * each).sum(), None

    zero = jnp.zeros((), weights.dtype)
    return jax.lax.scan(body, zero, (x, labels, weights))[0]


def _forward(x, table, bias, labels, weights, catalogue_chunk):
    wide = weights.dtype
    items = _item_blocks(table, bias, catalogue_chunk)

    def body(carry, block):
        xs, ys, ws = block
        each, normaliser = _losses(xs, ys, table, bias, items, wide)

        def over_items(d_x, item_block):
            logits = _logits(xs, *item_block, wide)
            probability = jnp.exp(logits - normaliser[:, None]) * ws[:, None]
            d_scores = probability.sum(0)
            probability = probability.astype(xs.dtype)
            rows = item_block[0].astype(xs.dtype)
            d_x += jnp.einsum(
                "nv,vd->nd", probability, rows, preferred_element_type=wide
            )
            # Not (v, d), as in `jaxrec.losses.softmax`.
            d_columns = jnp.einsum(
                "nd,nv->dv", xs, probability, preferred_element_type=wide
            )
            return d_x, (d_columns, d_scores)

        start = -ws[:, None] * table[ys].astype(wide)
        d_x, (d_columns, d_scores) = jax.lax.scan(over_items, start, items)
        total, *sums = carry
        sums = sums[0] + d_columns, sums[1] + d_scores
        return (total + (ws * each).sum(), *sums), (d_x, each)

    count, size, _ = items[0].shape
    zero = (
        jnp.zeros((), wide),
        jnp.zeros((count, x.shape[-1], size), wide),
        jnp.zeros((count, size), wide),
    )
    blocks = (x, labels, weights)
    if x.shape[0] == 1:
        carry, (d_x, each) = body(zero, jax.tree.map(lambda a: a[0], blocks))
    else:
        carry, (d_x, each) = jax.lax.scan(body, zero, blocks)
    total, d_columns, d_bias = carry
    v, flat, ys = table.shape[0], weights.reshape(-1), labels.reshape(-1)
    d_label = flat[:, None] * x.reshape(-1, x.shape[-1]).astype(wide)
    d_table = jnp.swapaxes(d_columns, 1, 2).reshape(-1, x.shape[-1])
    d_table = d_table.at[ys].add(-d_label)
    d_bias = d_bias.reshape(-1).at[ys].add(-flat)
    return total, (
        d_x.reshape(x.shape).astype(x.dtype),
        d_table[:v].astype(table.dtype),
        d_bias[:v].astype(bias.dtype),
        each.reshape(weights.shape),
    )


def _backward(catalogue_chunk, stored, cotangent):
    d_x, d_table, d_bias, d_weights = ((d * cotangent).astype(d.dtype) for d in stored)
    return d_x, d_table, d_bias, None, d_weights


blocked_softmax_ce.defvjp(_forward, _backward)


def _item_blocks(table, bias, size):
    padding = -table.shape[0] % size
    rows = jnp.pad(table, ((0, padding), (0, 0))).reshape(-1, size, table.shape[1])
    columns = jnp.pad(bias, (0, padding), constant_values=_LOWEST)
    return rows, columns.reshape(-1, size)


def _logits(xs, rows, columns, wide):
    rows = rows.astype(xs.dtype)
    return jnp.einsum(
        "nd,vd->nv", xs, rows, preferred_element_type=wide
    ) + columns.astype(wide)


def _losses(xs, ys, table, bias, items, wide):
    """-log softmax at the labels, and the log-normalisers, each (chunk,)."""

    def over_items(carry, item_block):
        top, total = carry
        logits = _logits(xs, *item_block, wide)
        higher = jnp.maximum(top, logits.max(1))
        total = total * jnp.exp(top - higher)
        return (higher, total + jnp.exp(logits - higher[:, None]).sum(1)), None

    start = jnp.full(ys.shape, _LOWEST, wide), jnp.zeros(ys.shape, wide)
    (top, total), _ = jax.lax.scan(over_items, start, items)
    normaliser = top + jnp.log(total)
    label = jnp.einsum(
        "nd,nd->n", xs, table[ys].astype(xs.dtype), preferred_element_type=wide
    )
    return normaliser - label - bias[ys].astype(wide), normaliser
