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
per position.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.losses.blocks import block_shape
from jaxrec.losses.gathered import Sizes, gathered_loss, own_negatives_loss

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
    sizes: Sizes = (),
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
      sizes: see `jaxrec.losses.gathered.gathered_loss`; one sample serves them all.

    Returns:
      Scalar, the weighted sum, to be divided by the sum of weights. Differentiable in
      `x`, `table`, `bias` and `weights`.

    Raises:
      ValueError: sizes out of range, or counts of another length, kind or magnitude.
    """
    _check_sizes(table, items, samples)
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
    return gathered_loss(
        _ce_without_hits,
        *(x, table, bias, labels, weights),
        drawn,
        chunk=chunk,
        offset=-jnp.log(expected),
        sizes=sizes,
    )


def uniform_negatives_ce(
    x: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    negatives: jax.Array,
    *,
    mask_hits: bool = False,
    chunk: int = 0,
    sizes: Sizes = (),
) -> jax.Array:
    """Sum over positions of -w log softmax over the target and its negatives.

    Each position has its own negatives and nothing is corrected. Not an estimate of the
    full softmax: scores are right up to a shift only. What the released LRURec code
    trains with on XLong (Yue et al., WSDM 2024), where negatives may hit the target;
    and, with `mask_hits` and 128 samples, the sampled softmax of HSTU (Zhai et al.,
    ICML 2024).

    Args:
      x: (n, d), float32 or bfloat16.
      table: (v, d).
      bias: (v,).
      labels: (n,) int32 in [0, v).
      weights: (n,); 0 leaves a position out.
      negatives: (n, s) int32 in [0, v), from
        `jaxrec.losses.negatives.draw_negatives` without labels.
      mask_hits: leave out negatives that hit the target. Where all do, the loss is 0.
      chunk: most positions per block; so many times s rows are gathered at one time. 0
        chooses.
      sizes: see `jaxrec.losses.gathered.gathered_loss`.

    Returns:
      Scalar, the weighted sum. Differentiable in `x`, `table`, `bias` and `weights`.

    Raises:
      ValueError: negatives that are not (n, s), or a chunk below 0.
    """
    each = _ce_without_hits if mask_hits else _ce
    inputs = (x, table, bias, labels, weights, negatives)
    return own_negatives_loss(each, *inputs, chunk=chunk, sizes=sizes)


def _ce(target, scores, *_):
    return jnp.logaddexp(target, jax.nn.logsumexp(scores, 1)) - target


def _ce_without_hits(target, scores, labels, drawn):
    # Finite, for a position whose draws are all hits; its exponential is 0.
    return _ce(target, jnp.where(drawn == labels[:, None], _LEFT_OUT, scores))


def _check_sizes(table, items, samples):
    if not 1 <= items < table.shape[0]:
        raise ValueError(
            f"items: want 1 to {table.shape[0] - 1} for a table of shape "
            f"{table.shape}, got {items}"
        )
    if not 1 <= samples <= 65535:
        raise ValueError(f"samples: want 1 to 65535, got {samples}")


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
