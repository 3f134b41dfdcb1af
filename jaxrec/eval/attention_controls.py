"""Attention that nobody trained, under the mask of attention that somebody did.

A mask alone makes a matrix look like something: a causal one has few keys in its first
rows, so that these are near and peaked whatever the model. Two controls are measured
with every matrix, with the same mask:

    random    independent standard normal logits: what the mask alone does
    shuffled  the weights of each row in random order among its keys: as peaked as the
              model row by row, but anywhere
"""

import numpy as np


def random_weights(
    rng: np.random.Generator, allowed: np.ndarray, draws: int, pointwise: bool = False
) -> np.ndarray:
    """Weights (draws, ..., n, n) of standard normal logits, 0 outside the mask.

    Args:
        rng: Source of the logits.
        allowed: (..., n, n) bool, no row without a key.
        draws: How many of each.
        pointwise: SiLU of the logits instead of their softmax over a row.
    """
    logits = rng.normal(size=(draws, *allowed.shape))
    if pointwise:
        return np.where(allowed, logits / (1 + np.exp(-logits)), 0)
    weights = np.where(allowed, np.exp(logits), 0)
    return weights / weights.sum(-1, keepdims=True)


def shuffled_weights(
    rng: np.random.Generator, weights: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """`weights` (..., n, n) with those of each row in random order among its keys.

    Args:
        rng: Source of the orders.
        weights: 0 outside the mask.
        allowed: The mask, of the same shape, or one that is broadcast to it.
    """
    allowed = np.broadcast_to(allowed, weights.shape)
    places = np.argsort(~allowed, -1, kind="stable")  # A row's keys first, in order.
    keys = np.where(allowed, rng.random(weights.shape), 2)
    result = np.empty_like(weights)
    taken = np.take_along_axis(weights, np.argsort(keys, -1), -1)
    np.put_along_axis(result, places, taken, -1)
    return result
