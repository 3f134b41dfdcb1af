"""Softmax losses over a sample of a catalogue that is too large to score.

`sampled_softmax` estimates the full softmax of `jaxrec.losses.softmax`. The normaliser
is a sum over items, of which a part is drawn and weighted by its expected count
(importance sampling; the "logQ correction" of Bengio and Senecal, 2003):

    Z_hat = exp(s_y) + exp(s_0) + sum_{j drawn, j != y} exp(s_j) / (S q_j)
    loss = log Z_hat - s_y

The target and column 0 (padding, which has a column in the full softmax) are certain
members and get no correction; a draw that hits the target is left out, since the target
is counted already. So E[Z_hat] = Z, and with every item drawn once the loss **is** the
full softmax. (Some libraries correct the target's score too, as if it had been drawn;
that is not consistent for a growing sample.)

Draws are stratified: the k-th is uniform in [k T / S, (k+1) T / S) of the T units that
items share (one each, or their counts). Each item's expected count is what S
independent draws would give, with less variance; S = items draws every item once.

One sample serves a whole block of positions: scoring is a matrix product, not a gather
per position. As in `jaxrec.losses.softmax` the gradient is made in the forward pass,
block by block, so that no more than one block's scores exist.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.losses.blocks import block_shape, split_positions, sum_dtype

_LEFT_OUT = -1e9


def sampled_softmax(
    x: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    key: jax.Array,
    *,
    items: int,
    samples: int,
    counts: np.ndarray | None = None,
    chunk: int = 512,
) -> jax.Array:
    """Sum over positions of w times an estimate of -log softmax(x E^T + b)[label].

    Args:
      x: (n, d), float32 or bfloat16; products run in this dtype, sums in float32.
      table: (v, d), v > items; row 0 is padding.
      bias: (v,).
      labels: (n,) int32 in [0, items].
      weights: (n,); 0 leaves a position out.
      key: typed key; each block of positions draws its own negatives from it.
      items: the negatives are drawn from 1..items.
      samples: negatives per block, at most 65,535.
      counts: (items + 1,) non-negative integers; an item is drawn in proportion to its
        count, but at least as if it were 1 (entry 0 is not read). `None`: all alike.
      chunk: most positions per block.

    Returns:
      Scalar, the weighted sum, to be divided by the sum of weights. Differentiable in
      `x`, `table`, `bias` and `weights`.

    Raises:
      ValueError: sizes out of range, or counts of another length, kind or magnitude.
    """
    _check_sizes(table, items, samples, chunk)
    blocks, _ = block_shape(x.shape[0], chunk)
    keys = jax.random.split(key, blocks)
    if counts is None:
        drawn = 1 + jax.vmap(lambda k: _strata(k, samples, items))(keys)
        expected = jnp.full(drawn.shape, samples / items, jnp.float32)
    else:
        units, total = _units(counts, items)
        ends = jnp.asarray(np.cumsum(units), jnp.int32)
        drawn = jax.vmap(lambda k: _strata(k, samples, total))(keys)
        drawn = 1 + jnp.searchsorted(ends, drawn, side="right").astype(jnp.int32)
        expected = jnp.asarray(units * (samples / total), jnp.float32)[drawn - 1]
    padding = ((0, 0), (1, 0))
    drawn = jnp.pad(drawn, padding)  # column 0, expected once
    expected = jnp.pad(expected, padding, constant_values=1)
    return _blocked(
        x, table, bias, labels, weights, drawn, -jnp.log(expected), chunk, True
    )


def uniform_negatives_ce(
    x: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    key: jax.Array,
    *,
    items: int,
    samples: int = 100,
    mask_hits: bool = False,
    chunk: int = 512,
) -> jax.Array:
    """Sum over positions of -w log softmax over the target and `samples` negatives.

    Each position has its own negatives, drawn uniformly and with replacement from
    1..items, and nothing is corrected. Not an estimate of the full softmax: scores are
    right up to a shift only. What the released LRURec code trains with on XLong (Yue et
    al., WSDM 2024), where negatives may hit the target; and, with `mask_hits` and 128
    samples, the sampled softmax of HSTU (Zhai et al., ICML 2024).

    Args:
      x: (n, d), float32 or bfloat16.
      table: (v, d), v > items.
      bias: (v,).
      labels: (n,) int32 in [0, v).
      weights: (n,); 0 leaves a position out.
      key: typed key.
      items: the negatives are drawn from 1..items.
      samples: negatives per position.
      mask_hits: leave out draws that hit the target. Where all do, the loss is 0.
      chunk: most positions per block; so many times `samples` rows are gathered at
        one time.

    Returns:
      Scalar, the weighted sum. Differentiable in `x`, `table`, `bias` and `weights`.

    Raises:
      ValueError: sizes out of range.
    """
    _check_sizes(table, items, samples, chunk)
    blocks, size = block_shape(x.shape[0], chunk)

    def draw(key):
        return jax.random.randint(key, (size, samples), 1, items + 1, dtype=jnp.int32)

    # One block after the other: drawing takes several arrays of this size.
    drawn = jax.lax.map(draw, jax.random.split(key, blocks))
    nothing = jnp.zeros((blocks, 1), jnp.float32)
    return _blocked(x, table, bias, labels, weights, drawn, nothing, chunk, mask_hits)


def _check_sizes(table, items, samples, chunk):
    if not 1 <= items < table.shape[0]:
        raise ValueError(
            f"items: want 1 to {table.shape[0] - 1} for a table of shape "
            f"{table.shape}, got {items}"
        )
    if not 1 <= samples <= 65535:
        raise ValueError(f"samples: want 1 to 65535, got {samples}")
    if chunk < 1:
        raise ValueError(f"chunk: want at least 1, got {chunk}")


def _units(counts, items):
    """Units of items 1..items, at least one each, and their sum."""
    counts = np.asarray(counts)
    if counts.shape != (items + 1,) or counts.dtype.kind not in "iu":
        raise ValueError(
            f"counts: want ({items + 1},) integers, got {counts.shape} {counts.dtype}"
        )
    if counts[1:].min() < 0:
        raise ValueError(f"counts: want none below 0, got {counts[1:].min()}")
    units = np.maximum(counts[1:].astype(np.int64), 1)
    total = int(units.sum())
    if total >= 2**31:
        raise ValueError(f"counts: want a sum below 2^31, got {total}; divide them")
    return units, total


def _strata(key, samples, total):
    """(samples,) int32 in [0, total): one uniform draw from each of equal strata.

    The k-th stratum begins at k total / samples, which is split into whole and fraction
    in integers, so that nothing is lost where float32 cannot count to `total`.
    """
    whole, rest = divmod(total, samples)
    k = np.arange(samples, dtype=np.int64)
    begin = jnp.asarray(k * whole + k * rest // samples, jnp.int32)
    fraction = jnp.asarray(k * rest % samples / samples, jnp.float32)
    offset = fraction + jax.random.uniform(key, (samples,), jnp.float32) * (
        total / samples
    )
    return jnp.minimum(begin + jnp.floor(offset).astype(jnp.int32), total - 1)


def _blocked(x, table, bias, labels, weights, drawn, offset, chunk, skip_hits):
    x, table, bias, weights = map(jnp.asarray, (x, table, bias, weights))
    weights = weights.astype(sum_dtype(x))
    x, labels, weights = split_positions((x, labels, weights), chunk)
    return _fused(x, table, bias, weights, labels, drawn, offset, skip_hits)


def _block_loss(
    xs, ws, target_rows, target_bias, rows, row_bias, ys, drawn, offset, skip_hits
):
    wide = sum_dtype(xs)
    target = jnp.einsum(
        "nd,nd->n", xs, target_rows.astype(xs.dtype), preferred_element_type=wide
    )
    target = target + target_bias
    equation = "nd,sd->ns" if rows.ndim == 2 else "nd,nsd->ns"
    scores = jnp.einsum(
        equation, xs, rows.astype(xs.dtype), preferred_element_type=wide
    )
    scores = scores + row_bias + offset
    if skip_hits:
        # Finite, for a position whose draws are all hits; its exponential is 0.
        scores = jnp.where(drawn == ys[:, None], _LEFT_OUT, scores)
    normaliser = jnp.logaddexp(target, jax.nn.logsumexp(scores, 1))
    return (ws * (normaliser - target)).sum()


@functools.partial(jax.custom_vjp, nondiff_argnums=(7,))
def _fused(x, table, bias, weights, labels, drawn, offset, skip_hits):
    def body(total, block):
        return total + _block_loss(*_gathered(table, bias, block), skip_hits), None

    blocks = (x, weights, labels, drawn, offset)
    return jax.lax.scan(body, weights[0, 0] * 0, blocks)[0]


def _fused_forward(x, table, bias, weights, labels, drawn, offset, skip_hits):
    width = table.shape[1]
    gradient = jax.value_and_grad(_block_loss, argnums=range(6))

    def body(carry, block):
        total, d_table, d_bias = carry
        loss, (d_x, d_w, d_target, d_target_bias, d_rows, d_row_bias) = gradient(
            *_gathered(table, bias, block), skip_hits
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


def _fused_backward(skip_hits, stored, cotangent):
    del skip_hits
    scaled = ((d * cotangent).astype(d.dtype) for d in stored)
    return (*scaled, None, None, None)


_fused.defvjp(_fused_forward, _fused_backward)
