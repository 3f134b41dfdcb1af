"""The item features of a training run."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from absl import logging

from jaxrec.core.config import dataclass_from, unknown
from jaxrec.core.run_directory import check_is_run, read_config
from jaxrec.data import Sequences
from jaxrec.data import load as load_data
from jaxrec.features.built_in import TEXT_DIM, text_features
from jaxrec.features.store import Features, load
from jaxrec.features.texts import texts_of


@dataclasses.dataclass(frozen=True)
class FeatureOptions:
    """The features section of a config.

    Attributes:
        path: A file that `python -m jaxrec.features` wrote; "" for the built-in
            features of the texts of the data set's own items.
        modalities: Which tables of the file, in this order; () for all.
        text_dim: Dimensions of the built-in features.
        text_whitened: Whether all of these weigh the same, see `hashed`.
    """

    path: str = ""
    modalities: tuple[str, ...] = ()
    text_dim: int = TEXT_DIM
    text_whitened: bool = False


def for_run(
    options: Mapping[str, Any], data: Mapping[str, Any], sequences: Sequences
) -> Features:
    """The features of the items of a run.

    Args:
        options: The features section of its config, see `FeatureOptions`.
        data: The data section of its config.
        sequences: The data set of the run.

    Returns:
        Features of the items 1, 2, ... of the run in this order, without encoders.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A key or modality is unknown, the file is wrong or knows none of
            the items, or the data set has no texts.
    """
    settled = dataclass_from(FeatureOptions, options, "features")
    features = _source(settled, data, sequences)
    for name in settled.modalities:
        if name not in features.tables:
            raise ValueError(unknown("features.modalities", name, features.tables))
    names = settled.modalities or tuple(features.tables)
    chosen = Features(
        features.item_ids, {name: features.tables[name] for name in names}
    )
    try:
        aligned = chosen.aligned(sequences.item_ids[1:])
    except ValueError as error:
        raise ValueError(f"{settled.path or 'built-in features'}: {error}") from None
    for name, missing in aligned.missing().items():
        logging.info(
            "Features %r: %d dimensions; %d of %d items have none.",
            name,
            aligned.tables[name].shape[1],
            missing,
            sequences.items,
        )
    return aligned


def of_workdir(workdir: str | os.PathLike[str]) -> Features:
    """The features that the items of a run are made of, with their encoders.

    Args:
        workdir: Directory of a run with a section features in its configuration.

    Raises:
        FileNotFoundError: It is no run, or the file or the data are gone.
        ValueError: Its items are not made of features.
    """
    check_is_run(workdir)
    config = read_config(workdir)
    options = config.get("features") or {"kind": "none"}
    if options["kind"] != "given":
        raise ValueError(
            f"{workdir}: the items of this run are not made of features that were given"
        )
    fields = {field.name for field in dataclasses.fields(FeatureOptions)}
    chosen = {key: value for key, value in options.items() if key in fields}
    settled = dataclass_from(FeatureOptions, chosen, "features")
    return _source(settled, config["data"], load_data(config["data"]).sequences)


def _source(
    settled: FeatureOptions, data: Mapping[str, Any], sequences: Sequences
) -> Features:
    """All features of the file, or the built-in ones, with encoders."""
    if settled.path:
        return load(settled.path)
    texts = texts_of(data, sequences)
    dim, whitened = settled.text_dim, settled.text_whitened
    return text_features(texts, dim, whitened, data.get("cache") or "")
