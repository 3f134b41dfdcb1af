"""Partitions of points into clusters: priors to draw them from, orders, enumeration.

A partition is a row of labels, int32, from 0, with -1 for padding. Which number a
cluster has means nothing; `by_first_appearance` gives it one.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

_CHUNK = 1 << 25  # comparisons at one time


def crp(
    key: jax.Array, size: jax.Array, max_size: int, alpha: float, max_clusters: int
) -> jax.Array:
    """Labels of a Chinese restaurant process, (max_size,) int32, -1 beyond `size`.

    Point n (from 0) founds a cluster with probability alpha / (n + alpha), and else
    joins that of an earlier point, each with the same probability; so clusters win
    points in proportion to their size. Who follows whom is drawn for all points at
    once, and labels are found by following twice as far in every round. Drawn again
    until there are at most `max_clusters`.

    Args:
      key: typed key.
      size: number of points, at least 1 and at most `max_size`; may be traced.
      max_size: length of the result.
      alpha: concentration, above 0.
      max_clusters: largest number of clusters.

    Raises:
      ValueError: a partition with so few clusters is too rare to be drawn.
    """
    _check_few("alpha", alpha, alpha * math.log1p(max_size / alpha), max_clusters)
    index = jnp.arange(max_size)

    def draw(key):
        founds, follows = jax.random.split(key)
        new = jax.random.uniform(founds, (max_size,)) * (index + alpha) < alpha
        new = new.at[0].set(True)
        earlier = jax.random.uniform(follows, (max_size,)) * index
        leader = jnp.where(new, index, earlier.astype(jnp.int32))
        for _ in range(max(max_size - 1, 1).bit_length()):
            leader = leader[leader]
        number = jnp.cumsum(new) - 1
        return number[leader].astype(jnp.int32), jnp.sum(new & (index < size))

    return _until_few(key, draw, index < size, max_clusters)


def mfm(
    key: jax.Array, size: jax.Array, max_size: int, rate: float, max_clusters: int
) -> jax.Array:
    """Labels of a mixture of finite mixtures, (max_size,) int32, -1 beyond `size`.

    There are 1 + Poisson(rate) components, drawn again if more than `max_clusters`,
    with weights from a flat Dirichlet distribution. Components without a point are no
    clusters, so labels may skip numbers.

    Args:
      key: typed key.
      size: number of points; may be traced.
      max_size: length of the result.
      rate: expected number of components less one.
      max_clusters: largest number of components.

    Raises:
      ValueError: so few components are too rare to be drawn.
    """
    _check_few("rate", rate, 1 + rate, max_clusters)

    def draw(key):
        count, weights, labels = jax.random.split(key, 3)
        count = 1 + jax.random.poisson(count, rate)
        weights = jnp.log(jax.random.exponential(weights, (max_clusters,)))
        weights = jnp.where(jnp.arange(max_clusters) < count, weights, -jnp.inf)
        drawn = jax.random.categorical(labels, weights, shape=(max_size,))
        return drawn.astype(jnp.int32), count

    return _until_few(key, draw, jnp.arange(max_size) < size, max_clusters)


def _check_few(name, value, expected, most):
    """Raises ValueError if one would draw again and again for ever."""
    if expected > 2 * most:
        raise ValueError(
            f"{name}={value}: about {expected:.0f} clusters, so that max_clusters="
            f"{most} would hardly ever do"
        )


def _until_few(key, draw, valid, most):
    """Draws (labels, count) until the count is at most `most`; -1 where not valid."""

    def again(state):
        key, _, _ = state
        key, use = jax.random.split(key)
        return (key, *draw(use))

    first = again((key, None, None))
    _, labels, _ = jax.lax.while_loop(lambda state: state[2] > most, again, first)
    return jnp.where(valid, labels, -1)


def by_first_appearance(labels: jax.Array, order: jax.Array, most: int) -> jax.Array:
    """Renames clusters 0, 1, ... as they first appear in an order of the points.

    For a uniformly random order this is the size-biased law: the next cluster is that
    of a point drawn uniformly from all that are left.

    Args:
      labels: (n,) int32 in [-1, most), -1 for padding.
      order: (n,) distinct numbers; points are met from the smallest on.
      most: more than the largest label.

    Returns:
      (n,) int32; -1 stays. Cluster k's point of the smallest `order` is its first.
    """
    member = labels == jnp.arange(most)[:, None]
    first = jnp.where(member, order, jnp.iinfo(jnp.int32).max).min(1)
    rank = jnp.sum(first[:, None] > first, 1)
    return jnp.where(labels < 0, -1, rank[labels]).astype(jnp.int32)


def canonical(labels: np.ndarray) -> np.ndarray:
    """Rows of labels (..., n) renamed by first appearance from the left, int32.

    Two rows are the same partition exactly if their canonical rows are equal. Any
    integers will do as labels; negative ones stay as they are.
    """
    labels = np.asarray(labels, np.int32)
    rows = labels.reshape(math.prod(labels.shape[:-1]), labels.shape[-1])
    chunk = max(1, _CHUNK // max(rows.shape[1], 1) ** 2)
    parts = [_canonical(rows[i : i + chunk]) for i in range(0, len(rows), chunk)]
    return np.concatenate([rows[:0], *parts]).reshape(labels.shape)


def _canonical(rows):
    first = (rows[:, :, None] == rows[:, None, :]).argmax(2)
    founds = (first == np.arange(rows.shape[1])) & (rows >= 0)
    number = np.cumsum(founds, 1, dtype=np.int32) - 1
    return np.where(rows < 0, rows, np.take_along_axis(number, first, 1))


def all_partitions(size: int) -> np.ndarray:
    """Every partition of `size` points, (Bell number, size) int32, canonical."""

    rows = np.zeros((1, 0), np.int32)
    for _ in range(size):
        choices = rows.max(1, initial=-1) + 2  # any cluster so far, or a new one
        ends = np.concatenate([np.arange(n, dtype=np.int32) for n in choices])
        rows = np.column_stack([np.repeat(rows, choices, 0), ends])
    return rows
