"""Titles of items from the files that come with the data sets."""

import os

from jaxrec.data.items import read_items


def read_titles(path: str | os.PathLike) -> dict[str, str]:
    """Raw item id -> title, "" where the file says none.

    Args:
        path: A file in one of the formats of `jaxrec.data.items`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is too short, or the header has no id or no title column.
    """
    items = read_items(path, ("title",))
    return {item: fields.get("title", "") for item, fields in items.items()}
