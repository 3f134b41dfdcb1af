"""The losses that a task knows by name, and which options each of them reads."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxrec.core.config import unknown
from jaxrec.losses.gathered import Sizes
from jaxrec.losses.matryoshka import linear_matryoshka_ce
from jaxrec.losses.negatives import bce, bpr, draw_negatives, gbce, gbce_beta
from jaxrec.losses.sampled import sampled_softmax, uniform_negatives_ce
from jaxrec.losses.softmax import linear_softmax_ce

_CHUNK = 512  # positions per block where the loss does not choose by itself

# How many negatives a loss has where loss.samples is 0. Those of sampled_softmax are
# shared by many positions; one for BPR and BCE and 256 for gBCE are as published.
_SAMPLES = {
    "softmax": 0,
    "sampled_softmax": 1000,
    "uniform_negatives": 1000,
    "bpr": 1,
    "bce": 1,
    "gbce": 256,
}

# Per option its default, the losses that read it, and why the others do not.
_READ_BY = {
    "mask_hits": (
        False,
        ("uniform_negatives",),
        "the others leave draws of the target out always or never",
    ),
    "calibration": (0.75, ("gbce",), "the others do not weight the target's term"),
    "negatives": (
        "popularity",
        ("sampled_softmax",),
        "the others draw uniformly, or not at all",
    ),
    "catalogue_chunk": (0, ("softmax",), "the others do not score all items"),
    "samples": (
        0,
        tuple(name for name, samples in _SAMPLES.items() if samples),
        "softmax scores all items",
    ),
}


def check_loss(options: Mapping[str, Any], items: int) -> None:
    """Checks the section `loss` of a configuration for a catalogue of so many items.

    Raises:
      ValueError: an unknown loss, a value out of range, or a value other than the
        default of an option that the loss does not read.
    """
    name = options["name"]
    if name not in _SAMPLES:
        raise ValueError(unknown("loss.name", name, _SAMPLES))
    if options["negatives"] not in ("popularity", "uniform"):
        raise ValueError(
            f"loss.negatives: want popularity or uniform, got {options['negatives']!r}"
        )
    for option, (default, readers, reason) in _READ_BY.items():
        if options[option] != default and name not in readers:
            raise ValueError(
                f"loss.{option} is for {', '.join(readers)}, not for {name} "
                f"({reason}): leave it at {default!r}"
            )
    if options["samples"] < 0:
        raise ValueError(
            "loss.samples: want 1 or more, or 0 for the loss's own number, got "
            f"{options['samples']}"
        )
    if name == "gbce":
        try:
            gbce_beta(items, samples_of(options), options["calibration"])
        except ValueError as error:
            raise ValueError(f"loss.{error}") from None


def samples_of(options: Mapping[str, Any]) -> int:
    """How many negatives the loss has: loss.samples, or the loss's own number."""
    return options["samples"] or _SAMPLES[options["name"]]


def has_own_negatives(options: Mapping[str, Any]) -> bool:
    """Whether each target has negatives of its own, drawn from a number of its own."""
    return options["name"] not in ("softmax", "sampled_softmax")


def summed_loss(
    options: Mapping[str, Any],
    inputs: tuple[jax.Array, ...],
    batch: Mapping[str, jax.Array],
    key: jax.Array | None,
    *,
    items: int,
    sizes: Sizes,
    counts: np.ndarray | None,
    segments: jax.Array | None,
    is_split: bool,
) -> jax.Array:
    """The loss of a batch, summed over its targets and the sizes of a nested model.

    Args:
      options: section `loss` of the configuration, as `check_loss` accepts it.
      inputs: outputs (n, d), table (v, d), bias (v,), labels (n,) and weights (n,).
      batch: reads "labels" and "draws" of losses with negatives of their own, and
        "row" of the sampled softmax.
      key: typed key of the step, for the sampled softmax.
      items: size of the catalogue.
      sizes: widths of a nested model, each with its weight; () of others.
      counts: what the sampled softmax draws in proportion to; None draws uniformly.
      segments: of the labels, see `jaxrec.losses.negatives.draw_negatives`.
      is_split: whether the table is split over devices.
    """
    name, chunk, samples = options["name"], options["chunk"], samples_of(options)
    if name == "softmax":
        chunk = chunk or (_CHUNK if is_split else 0)
        if sizes:
            return linear_matryoshka_ce(*inputs, sizes, chunk)
        return linear_softmax_ce(*inputs, chunk, options["catalogue_chunk"])
    if name == "sampled_softmax":
        # Negatives are shared per block of positions: tie them to the first row.
        key = jax.random.fold_in(key, 1 << 20)
        return sampled_softmax(
            *inputs,
            jax.random.fold_in(key, batch["row"][0]),
            items=items,
            samples=samples,
            counts=counts,
            chunk=chunk or _CHUNK,
            sizes=sizes,
        )
    rejected = (batch["labels"], segments) if name in ("bpr", "bce") else ()
    drawn = draw_negatives(batch["draws"], *rejected, items=items, samples=samples)
    inputs = (*inputs, drawn.reshape(-1, samples))
    others = {"chunk": chunk, "sizes": sizes}
    if name == "uniform_negatives":
        mask_hits = options["mask_hits"]
        return uniform_negatives_ce(*inputs, mask_hits=mask_hits, **others)
    if name == "gbce":
        calibration = options["calibration"]
        return gbce(*inputs, items=items, calibration=calibration, **others)
    return {"bpr": bpr, "bce": bce}[name](*inputs, **others)
