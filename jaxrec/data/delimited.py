"""CSV and TSV files: header, column names, quoting."""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping

import numpy as np
from absl import logging

from jaxrec.core.config import unknown
from jaxrec.core.files import opened
from jaxrec.data.options import ROLES
from jaxrec.data.tables import Table, table_from_blocks
from jaxrec.data.text import BLOCK_BYTES, Block, separated

# The usual names of each role, compared in lower case without "_" and without the
# type that RecBole writes behind a colon ("user_id:token").
ALIASES = {
    "user": "user userid uid reviewerid customerid visitorid sessionid",
    "item": "item itemid iid asin parentasin movieid productid videoid businessid "
    "trackid artistid bookid songid newsid articleid",
    "time": "timestamp time timems unixreviewtime ts unixtime",
    "rating": "rating score stars overall",
}

_ROWS = 1 << 17
_ENCODING = ("utf-8", "surrogateescape")


def read(path: str, form: str, columns: Mapping[str, str]) -> Table:
    """Reads a table with a header line.

    The separator is a comma ("csv") or a tab ("tsv"); a csv file whose header has no
    comma but tabs or semicolons is read with those. Quoted fields are understood.
    When every name in `columns` is a number that the first line does not contain,
    the file has no header and the numbers are positions from 0.

    Args:
        path: The file, plain or gzip.
        form: "csv" or "tsv".
        columns: Role to column name.

    Raises:
        ValueError: A column is not there, a line has another number of fields, or a
            field cannot be read.
    """
    with opened(path) as stream:
        header = stream.readline().decode("utf-8-sig", "replace").rstrip("\r\n")
    if not header.strip():
        raise ValueError(f"{path}: no header in line 1 (is the file empty?)")
    separator = "\t" if form == "tsv" else _separator(header)
    names = next(csv.reader([header], delimiter=separator))
    positions, skip = find_columns(path, names, columns)
    roles = list(positions)
    wanted = list(positions.values())
    if _has_quotes(path):
        blocks = _quoted(path, separator, wanted, len(names), skip)
    else:
        blocks = separated(path, separator, wanted, len(names), skip)
    return table_from_blocks(path, roles, blocks)


def find_columns(
    path: str, names: list[str], columns: Mapping[str, str]
) -> tuple[dict[str, int], int]:
    """Positions of the roles, and the number of header lines (1, or 0 if none).

    Raises:
        ValueError: A named column is not there, or user or item cannot be guessed.
    """
    listed = [name.strip() for name in names]
    positional = (
        bool(columns)
        and all(re.fullmatch(r"\d{1,4}", name) for name in columns.values())
        and not set(columns.values()) <= set(listed)
    )
    if positional:
        for role, name in columns.items():
            if int(name) >= len(names):
                raise ValueError(
                    f"{path}: data.columns.{role}={name} but line 1 has {len(names)} "
                    "fields, numbered from 0"
                )
        positions = {role: int(name) for role, name in columns.items()}
    else:
        positions = {
            role: listed.index(columns[role])
            if columns.get(role) in listed
            else _guess(path, role, listed, columns)
            for role in ROLES
        }
    for role in ("user", "item"):
        if positions.get(role) is None:
            raise ValueError(
                f"{path}: no column for {role} among {', '.join(listed)}; name it with "
                f"data.columns.{role} (a position from 0 if there is no header)"
            )
    positions = {role: at for role, at in positions.items() if at is not None}
    _tell(path, listed, positions)
    return positions, 0 if positional else 1


def _tell(path: str, names: list[str], positions: Mapping[str, int]) -> None:
    """Says which column became what: a time column that is missed goes unnoticed."""
    used = ", ".join(
        f"{role} = {names[positions[role]]}" if role in positions else f"no {role}"
        for role in ROLES
    )
    left = [name for at, name in enumerate(names) if at not in positions.values()]
    message = f"{path}: columns {used}"
    if "time" not in positions:
        message += " (events stay in the order of the file)"
    if left:
        message += f"; not read: {', '.join(left)}; data.columns.ROLE names one"
    (logging.warning if left and "time" not in positions else logging.info)(message)


def looks_like_header(names: list[str]) -> bool:
    """Whether user and item can be found among the names."""
    return all(_alias(role, names) is not None for role in ("user", "item"))


def _guess(path, role, names, columns) -> int | None:
    if role in columns:
        raise ValueError(
            f"{path}: " + unknown(f"data.columns.{role}", columns[role], names)
        )
    return _alias(role, names)


def _alias(role: str, names: list[str]) -> int | None:
    plain = [name.split(":")[0].strip().lower().replace("_", "") for name in names]
    for alias in ALIASES[role].split():
        if alias in plain:
            return plain.index(alias)
    return None


def _separator(header: str) -> str:
    return next((mark for mark in ",\t;" if mark in header), ",")


def _has_quotes(path: str) -> bool:
    with opened(path) as stream:
        while chunk := stream.read(BLOCK_BYTES):
            if b'"' in chunk:
                return True
    return False


def _quoted(
    path: str, separator: str, wanted: list[int], width: int, skip: int
) -> Iterator[Block]:
    """As `text.separated`, for quoted fields; line numbers are where a row ends."""
    rows = _quoted_rows(path, separator, width, skip)
    while chunk := list(itertools.islice(rows, _ROWS)):
        lines = np.array([line for line, _ in chunk])
        fields = [
            np.array(
                [row[column].strip().encode(*_ENCODING) for _, row in chunk], np.bytes_
            )
            for column in wanted
        ]
        yield Block(fields, lines)


def _quoted_rows(
    path: str, separator: str, width: int, skip: int
) -> Iterator[tuple[int, list[str]]]:
    with opened(path) as binary:
        # Bytes that are not UTF-8 pass through here and are refused with their line.
        stream = io.TextIOWrapper(binary, "utf-8-sig", "surrogateescape", newline="")
        reader = csv.reader(stream, delimiter=separator)
        try:
            for row in itertools.islice(reader, skip, None):
                if not row:
                    continue
                if len(row) != width:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {len(row)} fields separated "
                        f"by {separator!r}, expected {width}"
                    )
                yield reader.line_num, row
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
