"""What is said about items in the files that come with the data sets.

movies.dat       id::title::genres                              Latin-1
u.item           id|title|release date|...|19 genres, 0 or 1    Latin-1
.json, .jsonl    an object keyed by item id, or a line per item; the Python literals
                 of the Amazon metadata of 2014 are read too    UTF-8
.csv             comma separated, with a header                 UTF-8
others           tab separated, with a header                   UTF-8

".gz" of any.
"""

import ast
import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxrec.core.config import unknown
from jaxrec.core.files import opened

# Names of columns and keys in order of preference, compared without RecBole's ":type".
ID_NAMES = ("item_id", "item", "asin", "movie_id", "business_id", "id")
FIELDS = {
    "title": ("title", "name", "keyphrase"),
    "price": ("price",),
    "brand": ("brand",),
    "categories": ("categories", "category", "genres"),
    "description": ("description",),
}
# The columns of u.item from the sixth on.
_GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama "
    "Fantasy Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()

Items = dict[str, dict[str, str]]


def read_items(path: str | os.PathLike, fields: Sequence[str] = tuple(FIELDS)) -> Items:
    """Raw item id -> field -> text, without the fields that are empty.

    Args:
        path: The file.
        fields: Which of `FIELDS` to read. Categories are joined by ", "; of a tree of
            categories it is the first path.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, or has no ids or none of the fields; the
            message names the line where there is one.
    """
    name = Path(path).name.lower().removesuffix(".gz")
    if name.endswith(".dat"):
        rows = _split(_text(path, "latin-1"), "::")
        columns = {"title": 1, "categories": 2}
        return _from_rows(path, rows, 0, _only(columns, fields), "|")
    if name == "u.item":
        rows = _split(_text(path, "latin-1"), "|")
        items = _from_rows(path, rows, 0, _only({"title": 1}, fields))
        return _with_genres(items, rows) if "categories" in fields else items
    text = _text(path, "utf-8-sig")
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    if name.endswith((".json", ".jsonl")):
        return _from_json(path, text, fields)
    rows = _comma_separated(text) if name.endswith(".csv") else _split(text, "\t")
    header = [column.split(":")[0].strip().lower() for column in rows.pop(0)[1]]
    item = _column(path, header, ID_NAMES)
    columns = {
        field: _column(path, header, FIELDS[field])
        for field in fields
        if not set(header).isdisjoint(FIELDS[field])
    }
    if not columns:
        names = [name for field in fields for name in FIELDS[field]]
        raise ValueError(f"{path}: " + unknown("header", "\t".join(header), names))
    return _from_rows(path, rows, item, columns)


def _text(path, encoding: str) -> str:
    with opened(path) as stream:
        text = stream.read().decode(encoding, "replace")
    return text.replace("\r\n", "\n")


def _split(text: str, separator: str) -> list[tuple[int, list[str]]]:
    # str.splitlines would also split at form feeds and the like inside a title.
    lines = text.split("\n")
    return [(at, row.split(separator)) for at, row in enumerate(lines, 1) if row]


def _comma_separated(text: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text))
    return [(reader.line_num, row) for row in reader if row]


def _column(path, header: list[str], names: Sequence[str]) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise ValueError(f"{path}: " + unknown("header", "\t".join(header), names))


def _only(columns: Mapping[str, int], fields: Sequence[str]) -> dict[str, int]:
    return {field: columns[field] for field in columns if field in fields}


def _from_rows(
    path,
    rows: list[tuple[int, list[str]]],
    item: int,
    columns: Mapping[str, int],
    category_separator: str = "",
) -> Items:
    width = 1 + max(item, *columns.values())
    items = {}
    for line, row in rows:
        if len(row) < width:
            raise ValueError(
                f"{path}, line {line}: {len(row)} fields, expected at least {width}"
            )
        found = {field: row[place].strip() for field, place in columns.items()}
        if category_separator and "categories" in found:
            parts = found["categories"].split(category_separator)
            found["categories"] = ", ".join(parts)
        items[row[item].strip()] = {key: text for key, text in found.items() if text}
    return items


def _with_genres(items: Items, rows: list[tuple[int, list[str]]]) -> Items:
    for _, row in rows:
        flags = zip(_GENRES, row[5:], strict=False)
        if genres := ", ".join(genre for genre, flag in flags if flag == "1"):
            items[row[0].strip()]["categories"] = genres
    return items


def _from_json(path, text: str, fields: Sequence[str]) -> Items:
    try:
        whole = json.loads(text)
    except ValueError as error:
        # One object over several lines that has a mistake, not a line per item.
        if text.partition("\n")[0].strip() == "{":
            raise ValueError(f"{path}: not JSON ({error})") from None
        whole = None
    if isinstance(whole, dict) and all(isinstance(v, dict) for v in whole.values()):
        return {str(item): _fields_of(entry, fields) for item, entry in whole.items()}
    items = {}
    for line, entry in _objects(path, text):
        names = [name for name in ID_NAMES if name in entry]
        if not names:
            raise ValueError(
                f"{path}, line {line}: no item id; one of {', '.join(ID_NAMES)} is "
                f"wanted, there are {', '.join(map(str, entry)) or 'no keys'}"
            )
        items[str(entry[names[0]])] = _fields_of(entry, fields)
    return items


def _objects(path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for at, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            try:
                entry = ast.literal_eval(line.strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                raise ValueError(f"{path}, line {at}: not JSON ({error})") from None
        if not isinstance(entry, dict):
            raise ValueError(f"{path}, line {at}: not a JSON object")
        yield at, entry


def _fields_of(entry: Mapping[str, Any], fields: Sequence[str]) -> dict[str, str]:
    found = {}
    for field in fields:
        values = (entry[name] for name in FIELDS[field] if entry.get(name))
        text = _plain(next(values, ""), ", " if field == "categories" else " ")
        if text:
            found[field] = text
    return found


def _plain(value: Any, joint: str) -> str:
    """A value of JSON as one text; of a list of lists the first list."""
    if isinstance(value, str) and value.startswith("["):
        # Some files hold a list printed as text.
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value.strip()
    if isinstance(value, list):
        if value and isinstance(value[0], list):
            value = value[0]
        return joint.join(filter(None, (str(part).strip() for part in value)))
    return str(value).strip()
