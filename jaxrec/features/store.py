"""Item features in a file: one row per item and table, raw ids beside them.

The file is a NumPy archive without pickle:

    item_ids               (items,) unicode
    table/MODALITY         (items, dim) float32, zeros where an item lacks the modality
    encoder/MODALITY/KEY   what is needed to encode new items into the same space
"""

import dataclasses
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_IDS, _TABLE, _ENCODER = "item_ids", "table/", "encoder/"


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Feature tables of some items.

    Attributes:
        item_ids: (items,) numpy unicode raw ids, each once.
        tables: Modality to (items, dim) float32; a row of zeros where the item lacks
            the modality.
        encoders: Modality to arrays by name from which its encoder can be had again;
            a modality without encoder, such as a table of the user's, is not in it.

    Raises:
        ValueError: The arrays do not fit together, or an element is no finite number.
    """

    item_ids: np.ndarray
    tables: Mapping[str, np.ndarray]
    encoders: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(
        default_factory=dict
    )

    def __post_init__(self):
        ids = self.item_ids
        if ids.ndim != 1 or ids.dtype.kind != "U":
            raise ValueError(
                f"{_IDS} must be a list of text, got {ids.dtype} of shape {ids.shape}"
            )
        distinct, counts = np.unique(ids, return_counts=True)
        if len(distinct) < len(ids):
            raise ValueError(f"{_IDS}: {str(distinct[counts > 1][0])!r} is there twice")
        if not self.tables:
            raise ValueError(f"there is no table ({_TABLE}MODALITY)")
        for name, table in self.tables.items():
            _check_table(name, table, ids)

    def aligned(self, item_ids: np.ndarray) -> "Features":
        """The features of these items in this order, without encoders.

        Args:
            item_ids: (n,) raw ids, such as `sequences.item_ids[1:]` of a run.

        Returns:
            Features of exactly these ids; those that are not here have zeros.

        Raises:
            ValueError: None of the ids is here.
        """
        wanted = np.asarray(item_ids).astype(str)
        order = np.argsort(self.item_ids)
        places = np.searchsorted(self.item_ids, wanted, sorter=order)
        rows = order[np.minimum(places, len(order) - 1)]
        known = self.item_ids[rows] == wanted
        if not known.any():
            raise ValueError(
                "none of the items has features: their ids are such as "
                f"{_some(wanted)}, those of the features such as {_some(self.item_ids)}"
            )
        tables = {
            name: np.where(known[:, None], table[rows], np.float32(0))
            for name, table in self.tables.items()
        }
        return Features(wanted, tables)

    def missing(self) -> dict[str, int]:
        """How many items have a row of zeros, by modality."""
        return {
            name: int((~table.any(axis=1)).sum()) for name, table in self.tables.items()
        }


def save(path: str | os.PathLike, features: Features) -> None:
    """Writes the file, under another name until it is whole."""
    path = Path(path)
    arrays = {_IDS: features.item_ids}
    arrays |= {f"{_TABLE}{name}": table for name, table in features.tables.items()}
    for modality, parts in features.encoders.items():
        arrays |= {f"{_ENCODER}{modality}/{key}": part for key, part in parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as stream:  # NumPy would add .npz to a name
        np.savez(stream, **arrays)
    partial.replace(path)


def load(path: str | os.PathLike) -> Features:
    """Reads what `save` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, or an array in it is wrong; the message names
            the file and the array.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; python -m jaxrec.features makes one"
        )
    try:
        # A stream: NumPy leaves a file open that it opened itself and cannot read.
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as bad:
        told = "no NumPy file" if "pickle" in str(bad) else bad
        raise ValueError(f"{path}: not a file of item features ({told})") from bad
    if _IDS not in arrays:
        raise ValueError(
            f"{path}: {_IDS} is missing; there are {', '.join(arrays) or 'no arrays'}. "
            f"ids and vectors are taken in by jaxrec.features --table=NAME={path.name}"
        )
    tables, encoders = {}, {}
    for key, array in arrays.items():
        if key.startswith(_TABLE):
            tables[key.removeprefix(_TABLE)] = array
        elif key.startswith(_ENCODER):
            modality, _, part = key.removeprefix(_ENCODER).rpartition("/")
            encoders.setdefault(modality, {})[part] = array
    try:
        return Features(arrays[_IDS], tables, encoders)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check_table(name: str, table: np.ndarray, item_ids: np.ndarray) -> None:
    where = f"{_TABLE}{name}"
    if table.dtype != np.float32:
        raise ValueError(f"{where} must be float32, got {table.dtype}")
    if table.ndim != 2 or len(table) != len(item_ids) or table.shape[1] == 0:
        raise ValueError(
            f"{where} must have shape ({len(item_ids)}, dim) as there are "
            f"{len(item_ids)} ids, got {table.shape}"
        )
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{where}: the row of item {str(item_ids[finite.argmin()])!r} has NaN or "
            "infinite elements"
        )


def _some(ids: np.ndarray) -> str:
    return ", ".join(repr(str(item)) for item in ids[:3]) or "(none)"
