"""Cross-entropy at every width of a nested model, for the price of the widest product.

With sizes s_1 < ... < s_K = D the scores of width s_k are the first s_k coordinates'
part of the product, so that each is the one before plus an increment,

    logits_k = logits_{k-1} + x[s_{k-1}:s_k] E[:, s_{k-1}:s_k]^T,      logits_0 = bias

and what is learnt from is sum_k c_k CE(logits_k). Backwards, an increment is part of
every logits from its own on: with G_k = sum_{j >= k} d loss / d logits_j, added up from
the widest to the narrowest,

    d loss / d x[s_{k-1}:s_k] = G_k E[:, s_{k-1}:s_k]

Three products of width D in all, where K losses would take three of width s_1 + ... +
s_K (twice D for sizes that double), and nothing of all K and all positions: these are
taken in blocks, and gradients made in the forward pass, as in `jaxrec.losses.softmax`.
A block holds its K arrays of scores at one time. On a CPU (12,000 items, sizes 8 to
1024) all sizes take 1.5 times as long as the widest alone, K losses 2.2 times.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxrec.core.nested import increments
from jaxrec.losses.blocks import split_positions, sum_dtype


def linear_matryoshka_ce(
    x: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    sizes: Sequence[tuple[int, float]],
    chunk: int = 0,
) -> jax.Array:
    """Sum over sizes and positions of -c w log softmax(x E^T + b)[label].

    Args:
      x: (n, d), float32 or bfloat16; products run in this dtype, sums in float32.
      table: (v, d).
      bias: (v,), the same at every size.
      labels: (n,) int32 in [0, v).
      weights: (n,), none negative; 0 leaves a position out.
      sizes: s_1 .. s_K = d, each with its c.
      chunk: most positions per block; 0 chooses.

    Returns:
      Scalar, the weighted sum. Differentiable in all but the labels.

    Raises:
      ValueError: sizes that do not end at d.
    """
    x, table, bias, weights = map(jnp.asarray, (x, table, bias, weights))
    widths = tuple(size for size, _ in sizes)
    if widths[-1] != x.shape[1]:
        raise ValueError(f"sizes: {widths} do not end at the width {x.shape[1]}")
    shares = tuple(share for _, share in sizes)
    chunk = chunk or choose_chunk(table.shape[0], len(sizes))
    weights = weights.astype(sum_dtype(x))
    blocks = split_positions((x, labels, weights), chunk)
    return _fused(blocks[0], table, bias, *blocks[1:], widths, shares)


def choose_chunk(items: int, sizes: int, backend: str | None = None) -> int:
    """Positions per block: 128 on a CPU, as `jaxrec.losses.softmax.choose_blocks`.

    Elsewhere K arrays of a block's scores get about 256 MB together, but the block at
    least 128 positions.
    """
    if (backend or jax.default_backend()) == "cpu":
        return 128
    return max(128, 2**26 // (items * sizes))


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _fused(x, table, bias, labels, weights, widths, shares):
    """The sum over blocks, as `split_positions` made them."""
    parts = _columns(table.astype(x.dtype), widths)

    def body(total, block):
        xs, ys, ws = block
        each = -_label_scores(xs, ys, table, bias, widths, shares)
        for logits, share in zip(_logits(xs, parts, bias, widths), shares, strict=True):
            each += share * jax.nn.logsumexp(logits, 1)
        return total + (ws * each).sum(), None

    return jax.lax.scan(body, weights[0, 0] * 0, (x, labels, weights))[0]


def _forward(x, table, bias, labels, weights, widths, shares):
    wide = sum_dtype(x)
    parts = _columns(table.astype(x.dtype), widths)
    # What the one-hot parts of G_k weigh in every column.
    beyond = jnp.concatenate(
        [
            jnp.full(end - begin, sum(shares[k:]), wide)
            for k, (begin, end) in enumerate(increments(widths))
        ]
    )

    def body(carry, block):
        total, d_parts, d_bias = carry
        xs, ys, ws = block
        each = -_label_scores(xs, ys, table, bias, widths, shares)
        exps, scales = [], []
        for logits, share in zip(_logits(xs, parts, bias, widths), shares, strict=True):
            top = logits.max(1, keepdims=True)
            exps.append(jnp.exp(logits - top))
            normaliser = exps[-1].sum(1)
            scales.append((share * ws / normaliser)[:, None])
            each += share * (jnp.log(normaliser) + top[:, 0])
        # G_k without its one-hot part, which is subtracted by row.
        gradient, d_xs, added = 0.0, [], []
        for exp, scale, part, d_part, columns in zip(
            *(reversed(a) for a in (exps, scales, parts, d_parts)),
            reversed(_columns(xs, widths)),
            strict=True,
        ):
            gradient = gradient + exp * scale
            coarse = gradient.astype(xs.dtype)
            d_xs.append(
                jnp.einsum("nv,vd->nd", coarse, part, preferred_element_type=wide)
            )
            # Not (v, d), as in `jaxrec.losses.softmax`.
            d_rows = jnp.einsum(
                "nd,nv->dv", columns, coarse, preferred_element_type=wide
            )
            added.append(d_part + d_rows)
        d_bias = (d_bias + gradient.sum(0)).at[ys].add(-sum(shares) * ws)
        onehot = ws[:, None] * beyond
        d_x = jnp.concatenate(d_xs[::-1], 1) - onehot * table[ys]
        d_label = -onehot * xs.astype(wide)
        carry = total + (ws * each).sum(), tuple(added[::-1]), d_bias
        return carry, (d_x, each, d_label)

    zero = weights[0, 0] * 0  # varies over the manual mesh axes as `weights` does
    d_parts = tuple(part.T.astype(wide) * 0 + zero for part in _columns(table, widths))
    carry = zero, d_parts, bias * 0 + zero
    blocks = x, labels, weights
    (total, d_parts, d_bias), (d_x, each, d_label) = jax.lax.scan(body, carry, blocks)
    d_table = jnp.concatenate(d_parts).T
    d_table = d_table.at[labels.reshape(-1)].add(d_label.reshape(-1, x.shape[-1]))
    d_table, d_bias = d_table.astype(table.dtype), d_bias.astype(bias.dtype)
    return total, (d_x.astype(x.dtype), d_table, d_bias, each)


def _backward(widths, shares, stored, cotangent):
    d_x, d_table, d_bias, d_weights = ((d * cotangent).astype(d.dtype) for d in stored)
    return d_x, d_table, d_bias, None, d_weights


_fused.defvjp(_forward, _backward)


def _columns(a, widths):
    return [a[:, begin:end] for begin, end in increments(widths)]


def _logits(xs, parts, bias, widths):
    """The scores (c, v) of each width, one after the other."""
    wide = sum_dtype(xs)
    logits = bias.astype(wide)
    for columns, part in zip(_columns(xs, widths), parts, strict=True):
        logits = logits + jnp.einsum(
            "nd,vd->nv", columns, part, preferred_element_type=wide
        )
        yield logits


def _label_scores(xs, ys, table, bias, widths, shares):
    """The labels' scores (c,), summed over sizes with their shares.

    Row products instead of gathers from the logits: cheaper and never wrong where the
    logits are sharded over the catalogue.
    """
    rows = table[ys].astype(xs.dtype)
    wide = sum_dtype(xs)
    total = sum(shares) * bias[ys].astype(wide)
    pairs = zip(_columns(xs, widths), _columns(rows, widths), strict=True)
    for k, (left, right) in enumerate(pairs):
        product = jnp.einsum("nd,nd->n", left, right, preferred_element_type=wide)
        total += sum(shares[k:]) * product
    return total
