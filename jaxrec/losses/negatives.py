"""Losses of a target against negatives of its own, and how these are drawn.

With s+ the score of the target and s- that of one of k negatives:

    bpr    mean softplus(s- - s+)                    (Rendle et al., UAI 2009)
    bce    softplus(-s+) + mean softplus(s-)         (Kang and McAuley, ICDM 2018)
    gbce   (beta softplus(-s+) + sum softplus(s-)) / (k + 1)
                                                     (Petrov and Macdonald, RecSys 2023)

gBCE undoes the overconfidence of training with few negatives. With alpha = k / (items -
1) and calibration t its beta is alpha (t (1 - 1/alpha) + 1/alpha) = 1 - t (1 - alpha),
and since log(sigmoid(s)^beta) = beta log sigmoid(s) nothing is raised to a power, for
which the released code takes float64.

Negatives are uniform and drawn with replacement, and a function of a number that
belongs to their target (`draws` of `jaxrec.data.batches.Batches`): the same in whatever
batch, on whatever device and in whatever micro-batch it stands. The AE / AR study
("Your Causal Self-Attentive Recommender Hosts a Lonely Neighborhood", WSDM 2025) draws
again what is among the targets of the user. That distribution is uniform over the items
that are left, which are numbered here: one draw does, and there is an end where few
items are left, or none.
"""

import functools

import jax
import jax.numpy as jnp

from jaxrec.core.bits import mix
from jaxrec.losses.gathered import Sizes, own_negatives_loss


def draw_negatives(
    draws: jax.Array,
    labels: jax.Array | None = None,
    segments: jax.Array | None = None,
    *,
    items: int,
    samples: int,
) -> jax.Array:
    """Items that are drawn uniformly and with replacement, for each target its own.

    The n-th negative of a target is a hash of its number and n. (The probability of an
    item is off by at most 2^-32, of the rounding of the numbers to items.)

    Args:
      draws: (b, t) uint32, uniform; see `Batches`.
      labels: (b, t) int32 targets, 0 where there is none. Given, a target is not its
        own negative; `None`: any item may be one.
      segments: (b, t) int32. Given, no target is a negative of any other in its row
        with the same segment either.
      items: the negatives are drawn from 1..items.
      samples: negatives per target.

    Returns:
      (b, t, samples) int32. 0 where no item is left to draw from, which the losses of
      this module leave out.

    Raises:
      ValueError: items or samples out of range.
    """
    if not 1 <= items < 2**31:
        raise ValueError(f"items: want 1 to 2^31 - 1, got {items}")
    if not 1 <= samples <= 65535:
        raise ValueError(f"samples: want 1 to 65535, got {samples}")
    # Two bijections: for one n uniform over targets, for one target over n.
    words = mix(draws[..., None] ^ mix(jnp.arange(1, samples + 1, dtype=jnp.uint32)))
    if labels is None:
        return _numbered(words, items)
    if segments is None:
        if items == 1:
            return jnp.zeros(words.shape, jnp.int32)
        drawn = _numbered(words, items - 1)
        return drawn + (drawn >= labels[..., None])
    return _outside(words, labels, segments, items)


def _numbered(words, most):
    """Uniform words as int32 from 1 to `most`."""
    return 1 + (words % jnp.asarray(most, jnp.uint32)).astype(jnp.int32)


def _outside(words, labels, segments, items):
    """For uniform n the n-th of the items that are no label of the segment."""
    slot = jnp.arange(labels.shape[1])
    # (b, t of another, t of one): sums over the middle are the faster ones on a CPU.
    together = segments[:, :, None] == segments[:, None, :]
    same = together & (labels[:, :, None] == labels[:, None, :])
    again = (same & (slot[:, None] < slot)).any(1)
    counted = together & ((labels > 0) & ~again)[:, :, None]  # each label once
    left = items - counted.sum(1)
    # So many of the items that are left have ids below that of the label, plus 1.
    before = labels - (counted & (labels[:, :, None] < labels[:, None, :])).sum(1)

    def pass_labels(nth):
        return nth + (counted & (before[:, :, None] <= nth[:, None, :])).sum(1)

    nth = _numbered(words, jnp.maximum(left, 1)[..., None])
    # One negative after the other, for no more than (b, t, t) at one time.
    drawn = jax.lax.map(pass_labels, jnp.moveaxis(nth, 2, 0))
    return jnp.where(left[..., None] > 0, jnp.moveaxis(drawn, 0, 2), 0)


def bpr(
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
    """Sum over positions of w mean softplus(s- - s+).

    Args:
      x: (n, d), float32 or bfloat16; products run in this dtype, sums in float32.
      table: (v, d).
      bias: (v,).
      labels: (n,) int32 in [0, v).
      weights: (n,); 0 leaves a position out.
      negatives: (n, k) int32 in [0, v); 0 is none, whose term is 0.
      chunk: most positions per block; so many times k rows are gathered at one time. 0
        chooses.
      sizes: see `jaxrec.losses.gathered.gathered_loss`.

    Returns:
      Scalar, the weighted sum, to be divided by the sum of weights. Differentiable in
      `x`, `table`, `bias` and `weights`.

    Raises:
      ValueError: negatives that are not (n, k), or a chunk below 0.
    """
    inputs = (x, table, bias, labels, weights, negatives)
    return own_negatives_loss(_bpr, *inputs, chunk=chunk, sizes=sizes)


def bce(
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
    """Sum over positions of w (softplus(-s+) + mean softplus(s-)); see `bpr`."""
    inputs = (x, table, bias, labels, weights, negatives)
    return own_negatives_loss(_bce, *inputs, chunk=chunk, sizes=sizes)


def gbce(
    x: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    negatives: jax.Array,
    *,
    items: int,
    calibration: float = 0.75,
    chunk: int = 0,
    sizes: Sizes = (),
) -> jax.Array:
    """Sum over positions of w times gBCE, as the module says; see `bpr`.

    Args:
      x, table, bias, labels, weights, negatives, chunk, sizes: as for `bpr`.
      items: size of the catalogue, more than the k of the negatives.
      calibration: t in [0, 1]; 0 is binary cross-entropy, 1 is calibrated.

    Raises:
      ValueError: as `bpr`; a calibration outside, or too many negatives.
    """
    inputs = (x, table, bias, labels, weights, negatives)
    beta = gbce_beta(items, negatives.shape[-1], calibration)
    each = functools.partial(_gbce, beta=beta)
    return own_negatives_loss(each, *inputs, chunk=chunk, sizes=sizes)


def gbce_beta(items: int, samples: int, calibration: float) -> float:
    """The weight of the target's term.

    Raises:
      ValueError: a calibration outside [0, 1], or samples not in 1..items - 1.
    """
    if not 0 <= calibration <= 1:
        raise ValueError(f"calibration: want 0 to 1, got {calibration}")
    if not 1 <= samples < items:
        raise ValueError(
            f"samples: gbce wants 1 to {items - 1} negatives of {items} items, got "
            f"{samples}"
        )
    return 1 - calibration * (1 - samples / (items - 1))


def _bpr(target, scores, _, drawn):
    return _present(scores - target[:, None], drawn).mean(1)


def _bce(target, scores, _, drawn):
    return jax.nn.softplus(-target) + _present(scores, drawn).mean(1)


def _gbce(target, scores, _, drawn, *, beta):
    total = beta * jax.nn.softplus(-target) + _present(scores, drawn).sum(1)
    return total / (1 + scores.shape[1])


def _present(scores, drawn):
    """softplus of the scores; 0 where nothing was drawn."""
    return jnp.where(drawn > 0, jax.nn.softplus(scores), 0)
