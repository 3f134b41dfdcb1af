"""Programs over data sets of any sizes: padded, together, and call by call.

Sets are padded to the next power of two of points and run with others of that size, so
that few programs are compiled. What is drawn for a set depends on it and the key alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbio.clustering import programs
from jaxbio.clustering.partitions import canonical
from jaxbio.clustering.sampler import Mode
from jaxbio.clustering.stored import Stored

_SMALLEST = 8  # points
_DRAWS = 16  # of a Gaussian latent, for the probability of a step

Sets = Sequence[tuple[Any, int]]  # data sets and how many points they have
Done = Callable[[int], None]  # is told how many samples are done


def draw(
    kept: Stored,
    sets: Sets,
    key: jax.Array,
    samples: int,
    mode: Mode,
    done: Done | None = None,
) -> list[np.ndarray]:
    """Canonical labels (S, n) int32 of every set.

    Args:
      kept: a trained model.
      sets: the data sets.
      key: the same for all.
      samples: S.
      mode: see `jaxbio.clustering.sampler.sample`.
      done: is told how many samples each call made.
    """
    groups: dict[int, list[int]] = {}
    for number, (_, size) in enumerate(sets):
        groups.setdefault(_bucket(size), []).append(number)
    answers: list[Any] = [None] * len(sets)
    for bucket, members in groups.items():
        at_once = programs.samples_at_once(bucket)
        for i in range(0, len(members), at_once):
            part = members[i : i + at_once]
            inputs, valid = _stacked(kept, [sets[number] for number in part], bucket)
            keys = jnp.broadcast_to(key, len(valid))
            rows = []
            for first, size in programs.in_calls(samples, valid.size):
                found = programs.sample(
                    kept.params, kept.model, inputs, valid, keys, size, mode, first
                )
                rows.append(np.asarray(found)[:, : samples - first])
                if done:
                    done(len(part) * rows[-1].shape[1])
            for number, row in zip(part, np.concatenate(rows, 1), strict=False):
                answers[number] = canonical(row[..., : sets[number][1]])
    return answers


def log_prob(
    kept: Stored,
    sets: Sets,
    rows: Sequence[np.ndarray],
    key: jax.Array,
    orders: int,
    anchors: int,
    done: Done | None = None,
) -> list[np.ndarray]:
    """Log probabilities (S,) float64, in nats, of every set.

    Args:
      kept: a trained model.
      sets: the data sets.
      rows: labels (S, n) of each, with an S of its own.
      key: the same for all.
      orders: see `jaxbio.clustering.probability.log_prob`.
      anchors: see there.
      done: is told how many samples each call took.
    """
    answers = []
    for one, labels in zip(sets, rows, strict=True):
        bucket = _bucket(one[1])
        inputs, valid = _stacked(kept, [one], bucket)
        found = []
        for first, size in programs.in_calls(len(labels), bucket * (anchors or bucket)):
            some, full = labels[first : first + size], 1 << (size - 1).bit_length()
            padded = np.full((1, full, bucket), -1, np.int32)
            padded[0, : len(some), : one[1]] = some
            padded[0, len(some) :, : one[1]] = some[-1]
            values = programs.log_prob(
                kept.params,
                kept.model,
                inputs,
                valid,
                jnp.asarray(padded),
                key[None],
                orders=orders,
                anchors=anchors,
                draws=_DRAWS,
                first=first,
            )
            found.append(np.asarray(values, float)[0, : len(some)])
            if done:
                done(len(some))
        answers.append(np.concatenate(found))
    return answers


def _stacked(kept, sets, bucket):
    """Inputs and valid of some sets, filled up with the last to a power of two."""
    full = 1 << (len(sets) - 1).bit_length()
    sets = [*sets, *[sets[-1]] * (full - len(sets))]
    data = [one for one, _ in sets]
    inputs = kept.generator.inputs_of(data, bucket, kept.data_cfg)
    sizes = np.array([size for _, size in sets])
    return inputs, jnp.asarray(np.arange(bucket) < sizes[:, None])


def _bucket(size):
    return max(_SMALLEST, 1 << (size - 1).bit_length())
