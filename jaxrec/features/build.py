"""From texts, images and tables to one set of features, a part per modality."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from jaxrec.core.cache_directory import cache_directory
from jaxrec.features import blocks, encoders, hashed, images, store
from jaxrec.features.built_in import text_features
from jaxrec.features.tables import read_table

_KEY_DIGITS = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """The vectors of one modality.

    Attributes:
        item_ids: (n,) numpy unicode raw ids of the items that have it.
        vectors: (n, dim) float32.
        source: What made them, for people.
        encoder: What is kept of the encoder, see `store.Features.encoders`.
    """

    item_ids: np.ndarray
    vectors: np.ndarray
    source: str
    encoder: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def built_in_texts(texts: Mapping[str, str], dim: int, whitened: bool) -> Part:
    """Texts by the built-in encoder, fitted on them."""
    features = text_features(texts, dim, whitened)
    (table,), (encoder,) = features.tables.values(), features.encoders.values()
    return Part(features.item_ids, table, "built-in", encoder)


def model_texts(texts: Mapping[str, str], encoder: encoders.Encoder) -> Part:
    """Texts by a trained encoder.

    Raises:
        ValueError: No item has a text.
    """
    told = {item: text for item, text in texts.items() if text}
    if not told:
        raise ValueError(f"none of {len(texts)} items has a text to encode")
    directory = cache_directory() / "features" / encoder.key[:_KEY_DIGITS]
    vectors = blocks.encode(list(told.values()), encoder.encode, directory, "texts")
    kept = _kept(encoders.KIND, encoder)
    return Part(np.array(list(told)), vectors, encoder.name, kept)


def model_images(
    files: Mapping[str, Path], encoder: encoders.Encoder, skip_bad: bool
) -> Part:
    """Images by a trained encoder."""
    # An image left out must not be taken for an encoded one where none may be bad.
    name = encoder.key[:_KEY_DIGITS] + "-skip_bad" * skip_bad
    directory = cache_directory() / "features" / name
    vectors = blocks.encode(list(files.values()), encoder.encode, directory, "images")
    kept = _kept(images.KIND, encoder)
    return Part(np.array(list(files)), vectors, encoder.name, kept)


def table(path: str, item_ids: Iterable[str]) -> Part:
    """A table of the user's; see `jaxrec.features.tables`.

    Raises:
        ValueError: None of its items is one of `item_ids`, where there are any.
    """
    known = list(item_ids)
    ids, vectors = read_table(path, known)
    if known and not set(known).intersection(ids.tolist()):
        raise ValueError(
            f"{path}: none of its items ({ids[0]!s}, ...) is in the item file "
            f"({known[0]}, ...)"
        )
    return Part(ids, vectors, Path(path).name)


def again(
    modality: str,
    arrays: Mapping[str, np.ndarray],
    texts: Mapping[str, str],
    files: Mapping[str, Path],
    skip_bad: bool,
) -> Part | None:
    """New items in the space of old ones, None if there is nothing to encode.

    Args:
        modality: Name of the old table.
        arrays: What was kept of its encoder.
        texts: Raw item id -> text of the new items.
        files: Raw item id -> image of the new items.
        skip_bad: As for `images.image_encoder`.

    Raises:
        ValueError: The encoder is of an unknown kind, or another by now.
    """
    kind = str(arrays.get("kind", ""))
    if kind not in (hashed.KIND, encoders.KIND, images.KIND):
        raise ValueError(f"encoder/{modality}: the kind {kind!r} is unknown")
    if not (files if kind == images.KIND else texts):
        return None
    if kind == hashed.KIND:
        try:
            encoder = hashed.from_arrays(arrays)
        except ValueError as error:
            raise ValueError(f"encoder/{modality}: {error}") from None
        vectors = encoder.encode(list(texts.values()))
        return Part(np.array(list(texts)), vectors, "built-in", arrays)
    name = str(arrays.get("name", ""))
    if kind == encoders.KIND:
        encoder = encoders.text_encoder(name)
    else:
        encoder = images.image_encoder(name, skip_bad)
    if encoder.key != str(arrays.get("key", "")):
        raise ValueError(
            f"{name} is not the model that made the features {modality!r}: its files "
            "have changed"
        )
    if kind == encoders.KIND:
        return model_texts(texts, encoder)
    return model_images(files, encoder, skip_bad)


def joined(
    parts: Mapping[str, Part],
    item_ids: Iterable[str],
    dims: Mapping[str, int] | None = None,
) -> store.Features:
    """The parts as tables of the same rows.

    Args:
        parts: By modality.
        item_ids: Items that have a row in any case, in this order; those that are in a
            part alone follow.
        dims: Dimensions per modality where they are given; a modality without a part
            has zeros.

    Raises:
        ValueError: A part has other dimensions.
    """
    ids = dict.fromkeys(item_ids)
    for part in parts.values():
        ids.update(dict.fromkeys(part.item_ids.tolist()))
    row_of = {item: row for row, item in enumerate(ids)}
    wanted = dims or {name: part.vectors.shape[1] for name, part in parts.items()}
    tables = {
        name: np.zeros((len(ids), dim), np.float32) for name, dim in wanted.items()
    }
    for name, part in parts.items():
        got = part.vectors.shape[1]
        if wanted.get(name) != got:
            raise ValueError(
                f"{name!r} has {got} dimensions here; wanted are "
                f"{', '.join(f'{key!r} of {dim}' for key, dim in wanted.items())}"
            )
        rows = [row_of[item] for item in part.item_ids.tolist()]
        tables[name][rows] = part.vectors
    kept = {name: part.encoder for name, part in parts.items() if part.encoder}
    return store.Features(np.array(list(ids), str), tables, kept)


def _kept(kind: str, encoder: encoders.Encoder) -> dict[str, np.ndarray]:
    told = {"kind": kind, "name": encoder.name, "key": encoder.key}
    return {name: np.array(value) for name, value in told.items()}
