"""What the items of a run are made of: the section `features` of its configuration.

kind          given    features from a file or of the items' own texts
              random   as many random vectors of length 1, drawn from the seed: the
                       control of the paper's Table 3
              none     every item has a trained vector and nothing else
path, modalities, text_dim, text_whitened
              which features, see `jaxrec.features.for_run`
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from jaxrec.core.config import unknown
from jaxrec.data.sequences import Sequences
from jaxrec.models import config_fields

_KINDS = ("given", "random", "none")
_NEGATIVES = ("all", "seen")
_OWN = ("kind", "negatives")


class ItemFeatures(NamedTuple):
    """Features of the items of a run.

    Attributes:
      names: of the modalities.
      dims: their dimensions.
      tables: (items, dim) float32 per modality, rows of 0 where an item lacks it; ()
        where the model's own random ones stay.
      spares_new: whether items without a training event are no negatives.
    """

    names: tuple[str, ...] = ()
    dims: tuple[int, ...] = ()
    tables: tuple[np.ndarray, ...] = ()
    spares_new: bool = False


def of_run(config: Mapping[str, Any], sequences: Sequences) -> ItemFeatures:
    """The features that a configuration asks for.

    Args:
      config: the whole configuration; reads features, data and model.name.
      sequences: the data.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an unknown kind, features for a model that has none, or features that
        do not fit the data.
    """
    options = config.get("features")
    if options is None:
        return ItemFeatures()
    name, kind = config["model"]["name"], options["kind"]
    if "features" not in config_fields(name):
        raise ValueError(
            f"config.features: model {name!r} makes no item vectors of features; leave "
            "the section out"
        )
    _check("features.kind", kind, _KINDS)
    _check("features.negatives", options["negatives"], _NEGATIVES)
    if kind == "none":
        return ItemFeatures()
    from jaxrec import features

    others = {key: options[key] for key in options if key not in _OWN}
    found = features.for_run(others, config["data"], sequences)
    names, tables = zip(*found.tables.items(), strict=True)
    dims = tuple(table.shape[1] for table in tables)
    if kind == "random":
        logging.info("Random vectors take the place of these features.")
    spares_new = options["negatives"] == "seen"
    return ItemFeatures(names, dims, tables if kind == "given" else (), spares_new)


def _check(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(unknown(key, value, known))
