"""Titles of items from the files that come with the data sets.

movies.dat    id::title::genres                  Latin-1
u.item        id|title|release date|...          Latin-1
others        tab separated, with a header       UTF-8
"""

import os
from pathlib import Path

from jaxrec.data.options import unknown
from jaxrec.data.text import opened

# Column names in order of preference, compared without RecBole's ":type".
_ID_COLUMNS = ("item_id", "item", "asin", "movie_id", "business_id")
_TITLE_COLUMNS = ("title", "name", "keyphrase")


def read_titles(path: str | os.PathLike) -> dict[str, str]:
    """Raw item id -> title.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is too short, or the header has no id or no title column.
    """
    name = Path(path).name.lower().removesuffix(".gz")
    if name.endswith(".dat"):
        rows, id_column, title_column = _rows(path, "::", "latin-1"), 0, 1
    elif name == "u.item":
        rows, id_column, title_column = _rows(path, "|", "latin-1"), 0, 1
    else:
        rows = _rows(path, "\t", "utf-8-sig")
        if not rows:
            raise ValueError(f"{path}: the file is empty")
        header = [column.split(":")[0].lower() for column in rows.pop(0)[1]]
        id_column = _column(path, header, _ID_COLUMNS)
        title_column = _column(path, header, _TITLE_COLUMNS)
    titles = {}
    for line, row in rows:
        if len(row) <= max(id_column, title_column):
            raise ValueError(
                f"{path}, line {line}: {len(row)} fields, expected at least "
                f"{max(id_column, title_column) + 1}"
            )
        titles[row[id_column].strip()] = row[title_column].strip()
    return titles


def _rows(path, separator: str, encoding: str) -> list[tuple[int, list[str]]]:
    with opened(path) as stream:
        text = stream.read().decode(encoding, "replace")
    # str.splitlines would also split at form feeds and the like inside a title.
    lines = text.replace("\r\n", "\n").split("\n")
    return [(at, row.split(separator)) for at, row in enumerate(lines, 1) if row]


def _column(path, header: list[str], names: tuple[str, ...]) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise ValueError(f"{path}: " + unknown("header", "\t".join(header), names))
