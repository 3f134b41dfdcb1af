"""Reading a file of interactions, whatever its format.

    sequences   user item item ...        one line per user, oldest first
    pairs       user item                 one line per event
    movielens   user::item::rating::time  ratings.dat
    u.data      user, item, rating, time  tab separated, not in order of time
    csv, tsv    a header and separated fields
    parquet     named columns

Every text format may be compressed with gzip.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxrec.core.files import opened
from jaxrec.data import delimited, parquet
from jaxrec.data.tables import Table, table_from_blocks
from jaxrec.data.text import Block, separated, tokens

_MOVIELENS_ROLES = ["user", "item", "rating", "time"]


def read(
    path: str | os.PathLike,
    form: str = "auto",
    columns: Mapping[str, str] | None = None,
) -> Table:
    """Reads interactions.

    Args:
        path: The file.
        form: One of the formats above, or "auto" to look at the name and first lines.
        columns: For csv, tsv and parquet: role ("user", "item", "time", "rating") to
            column name. Roles left out are looked for under their usual names; time
            and rating are optional.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file does not have the format; messages name file and line.
    """
    path = os.fspath(path)
    columns = dict(columns or {})
    if form == "auto":
        form = detect(path)
    if columns and form not in ("csv", "tsv", "parquet"):
        raise ValueError(
            f"{path}: data.columns is set but the format {form!r} has no column names"
        )
    if form == "parquet":
        return parquet.read(path, columns)
    if form in ("csv", "tsv"):
        return delimited.read(path, form, columns)
    if form == "sequences":
        return table_from_blocks(path, ["user", "item"], _sequences(path))
    if form == "pairs":
        return table_from_blocks(path, ["user", "item"], _pairs(path))
    separator = {"movielens": "::", "u.data": "\t"}[form]
    blocks = separated(path, separator, list(range(4)), width=4)
    return table_from_blocks(path, _MOVIELENS_ROLES, blocks)


def detect(path: str | os.PathLike) -> str:
    """Finds the format from the name and the first lines.

    Raises:
        ValueError: The file is empty, or its lines have three or four words each, so
            that sequences cannot be told from columns.
    """
    name = Path(path).name.lower().removesuffix(".gz")
    lines = first_lines(path, 100)
    if not lines:
        raise ValueError(f"{path}: the file is empty")
    if name.endswith((".parquet", ".pq")):
        return "parquet"
    if name == "u.data":
        return "u.data"
    if name.endswith((".tsv", ".inter")):
        return "tsv"
    if name.endswith(".csv"):
        return "csv"
    if "::" in lines[0]:
        return "movielens"
    if "," in lines[0]:
        return "csv"
    words = [line.split() for line in lines]
    if "\t" in lines[0]:
        if all(len(row) == 4 and row[3].isdigit() for row in words):
            return "u.data"
        if delimited.looks_like_header(lines[0].split("\t")):
            return "tsv"
    counts = {len(row) for row in words}
    if counts == {2}:
        return "pairs"
    if len(words) > 1 and counts in ({3}, {4}):
        raise ValueError(
            f"{path}: every line has {counts.pop()} words; set data.format to "
            "'sequences' if they are a user and items, or add a header and use 'csv'"
        )
    return "sequences"


def first_lines(path: str | os.PathLike, count: int) -> list[str]:
    """Up to `count` lines that are not blank, undecodable bytes replaced."""
    lines = []
    with opened(path) as stream:
        while len(lines) < count and (line := stream.readline(1 << 20)):
            text = line.decode("utf-8-sig", "replace").rstrip("\r\n")
            if text.strip():
                lines.append(text)
    return lines


def _sequences(path: str) -> Iterator[Block]:
    for words, counts, lines in tokens(path):
        short = np.flatnonzero(counts < 2)
        if len(short):
            raise ValueError(
                f"{path}, line {lines[short[0]]}: 1 word, expected a user and at "
                "least one item"
            )
        first = np.cumsum(counts) - counts
        is_item = np.ones(len(words), bool)
        is_item[first] = False
        repeats = counts - 1
        fields = [np.repeat(words[first], repeats), words[is_item]]
        yield Block(fields, np.repeat(lines, repeats))


def _pairs(path: str) -> Iterator[Block]:
    for words, counts, lines in tokens(path):
        wrong = np.flatnonzero(counts != 2)
        if len(wrong):
            raise ValueError(
                f"{path}, line {lines[wrong[0]]}: {counts[wrong[0]]} words, expected "
                "a user and an item"
            )
        yield Block([words[0::2], words[1::2]], lines)
