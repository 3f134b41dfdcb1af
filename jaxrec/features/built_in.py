"""Text features by the built-in encoder, made once and kept."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import logging

from jaxrec.core.cache_directory import cache_directory
from jaxrec.data.cache import content_hash, locked
from jaxrec.features import grams, hashed
from jaxrec.features.store import Features, load, save

MODALITY = "text"
TEXT_DIM = 512
_KEY_DIGITS = 16


def text_features(
    texts: Mapping[str, str], dim: int, whitened: bool = False, cache: str = ""
) -> Features:
    """The table "text" and its encoder.

    Args:
        texts: Raw item id -> text, "" where there is none.
        dim: Dimensions of the vectors.
        whitened: As for `hashed.fit`.
        cache: Directory for what is kept, "" for the environment's or the default.

    Raises:
        ValueError: As `hashed.fit` does.
    """
    said = json.dumps([hashed.KIND, grams.VERSION, dim, whitened, list(texts.items())])
    name = f"{hashed.KIND}-{content_hash(said)[:_KEY_DIGITS]}"
    path = cache_directory(cache) / "features" / f"{name}.npz"
    with locked(path.with_suffix(".lock")):
        if (kept := _kept(path)) is not None:
            return kept
        encoder = hashed.fit(list(texts.values()), dim, whitened)
        table = encoder.encode(list(texts.values()))
        features = Features(
            np.array(list(texts)), {MODALITY: table}, {MODALITY: encoder.arrays()}
        )
        save(path, features)
    return features


def _kept(path: Path) -> Features | None:
    try:
        return load(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        logging.warning("%s; making it again.", error)
        return None
