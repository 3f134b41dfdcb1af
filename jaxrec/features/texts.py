"""The text that stands for an item: what an encoder of texts is given.

As in fMRLRec (Wang et al., EMNLP 2024 Findings) it has a line for each of these, if the
item has it:

    Title: ...
    Price: ...
    Brand: ...
    Categories: ...
    Description: ...

The description is our addition. An item of which nothing is known has no text, where
the paper has "Untitled Item".
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxrec.data import Sequences, catalog
from jaxrec.data.items import FIELDS, read_items
from jaxrec.data.options import from_config

# Data sets that are generated rather than found in files.
GENERATED = ("synthetic", "walks")


def text_of(fields: Mapping[str, str]) -> str:
    """The text of an item, "" if there are no fields.

    Args:
        fields: Field to text, names as in `jaxrec.data.items.FIELDS`.
    """
    lines = [
        f"{name.capitalize()}: {fields[name]}" for name in FIELDS if name in fields
    ]
    return "\n".join(lines)


def read_texts(path: str | os.PathLike) -> dict[str, str]:
    """Raw item id -> text, in the order of the file; see `jaxrec.data.items`."""
    return {item: text_of(fields) for item, fields in read_items(path).items()}


def item_file(data: Mapping[str, Any]) -> Path | None:
    """The file of a data set that says what its items are, if there is one.

    Args:
        data: The data section of a config; see `jaxrec.data.load`.

    Raises:
        FileNotFoundError, ValueError: As `jaxrec.data.catalog.find` does.
    """
    if data.get("name") in GENERATED:
        return None
    entry = catalog.entry_of(data.get("name", ""))
    return catalog.find(from_config(data, entry.preset)).titles


def texts_of(data: Mapping[str, Any], sequences: Sequences) -> dict[str, str]:
    """Raw item id -> text, for a data set that has been loaded.

    Where there is no file (a data set that was fetched or generated) the titles that
    came with the sequences are used.

    Raises:
        ValueError: There are no texts; the message says what to do.
    """
    if (path := item_file(data)) is not None:
        return read_texts(path)
    if sequences.titles is None:
        raise ValueError(
            f"{without(data.get('name', ''))}; name a file that has (data.titles), or "
            "make features from something else with python -m jaxrec.features and "
            "name them (features.path)"
        )
    pairs = zip(sequences.item_ids[1:].tolist(), sequences.titles[1:], strict=True)
    return {item: text_of({"title": str(t)} if t else {}) for item, t in pairs}


def without(name: str) -> str:
    """That a data set has no texts, and the file that would have them, if any."""
    said = f"the data set {name!r} has no texts of its items"
    candidates = catalog.CATALOG[name].titles if name in catalog.CATALOG else ()
    return said + (f", {' or '.join(candidates)} is not there" if candidates else "")
