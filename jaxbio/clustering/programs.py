"""Compiled programs over many sets and many samples, in pieces that fit.

A piece is as many rows (a sample of a set) as make a certain number of points: on a CPU
what its caches hold, elsewhere enough to fill it. Pieces run one after the other inside
one program.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxbio.clustering.layers import Params
from jaxbio.clustering.model import Model
from jaxbio.clustering.processes import process_of
from jaxbio.clustering.sampler import Mode

_POINTS = {"cpu": 1 << 14}
_POINTS_ELSEWHERE = 1 << 20
_PIECES = 4  # in a call


def samples_at_once(points: int) -> int:
    """Samples in a piece, of all its sets together that have so many points."""
    room = _POINTS.get(jax.default_backend(), _POINTS_ELSEWHERE)
    return max(1, room // points)


def in_calls(samples: int, points: int) -> list[tuple[int, int]]:
    """The first sample and how many of each call, for work that shows how far it is.

    Calls are of one size, a few pieces, so that they are one program; the last one may
    go beyond what is wanted.

    Args:
      samples: S of each set.
      points: of all sets together.
    """
    calls = -(-samples // (_PIECES * max(1, samples_at_once(points))))
    size = -(-samples // calls)
    return [(first, size) for first in range(0, samples, size)]


@partial(jax.jit, static_argnames=("model", "samples", "mode"))
def sample(
    params: Params,
    model: Model,
    inputs: Any,
    valid: jax.Array,
    keys: jax.Array,
    samples: int,
    mode: Mode,
    first: int = 0,
) -> jax.Array:
    """Partitions (B, S, N) int32, see `jaxbio.clustering.sampler.sample`.

    Args:
      params: of the model.
      model: the model.
      inputs: B sets of N points.
      valid: (B, N) bool.
      keys: (B,) typed keys; what is drawn for a set depends on its own only.
      samples: S.
      mode: see `sampler.sample`.
      first: how many samples of each set were drawn before; its number in the whole
        decides what a sample is.
    """
    process = process_of(model)
    encoded = process.encode(params, model, inputs, valid)
    size, count = _pieces(valid, samples)

    def piece(number):
        here = _keys(keys, first + number * size, size)
        return process.sample(params, model, encoded, here, mode)

    return _joined(piece, count)[:, :samples]


@partial(jax.jit, static_argnames=("model", "orders", "anchors", "draws"))
def log_prob(
    params: Params,
    model: Model,
    inputs: Any,
    valid: jax.Array,
    labels: jax.Array,
    keys: jax.Array,
    orders: int,
    anchors: int,
    draws: int,
    first: int = 0,
) -> jax.Array:
    """Log probabilities (B, S) of labels (B, S, N), see `probability.log_prob`; `first`
    is the number of the first of them in the whole."""
    process = process_of(model)
    encoded = process.encode(params, model, inputs, valid)
    samples = labels.shape[1]
    rows = anchors or labels.shape[2]
    size, count = _pieces(valid, samples, rows)
    padded = jnp.pad(labels, ((0, 0), (0, size * count - samples), (0, 0)), mode="edge")

    def piece(number):
        here = _keys(keys, first + number * size, size)
        part = jax.lax.dynamic_slice_in_dim(padded, number * size, size, 1)
        return process.log_prob(
            params,
            model,
            encoded,
            part,
            here,
            orders=orders,
            anchors=anchors,
            draws=draws,
        )

    return _joined(piece, count)[:, :samples]


def _pieces(valid, samples, rows=1):
    """Samples in a piece, and how many pieces make `samples` of every set."""
    sets, points = valid.shape
    size = min(samples, max(1, samples_at_once(points) // (sets * rows)))
    return size, -(-samples // size)


def _keys(keys, first, count):
    """Keys (B, count) of samples from `first` on, of the keys (B,) of the sets."""
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    return jax.vmap(fold, (0, None))(keys, first + jnp.arange(count))


def _joined(piece: Callable[[jax.Array], jax.Array], count: int) -> jax.Array:
    """Pieces (B, s, ...) put together along the second axis."""
    if count == 1:
        return piece(jnp.zeros((), jnp.int32))
    made = jnp.moveaxis(jax.lax.map(piece, jnp.arange(count)), 0, 1)
    return made.reshape(made.shape[0], -1, *made.shape[3:])
