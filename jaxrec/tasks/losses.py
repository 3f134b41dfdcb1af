"""The losses that a task knows by name, and which options each of them reads."""

from collections.abc import Mapping
from typing import Any

from jaxrec.core.config import nearest
from jaxrec.losses.negatives import gbce_beta

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
        raise ValueError(
            f"loss.name: {name!r} is unknown, nearest is "
            f"{nearest(name, _SAMPLES)!r}; known are {', '.join(_SAMPLES)}"
        )
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
