"""Tables of points from files."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxrec.core.config import did_you_mean
from jaxrec.core.files import opened


def read_points(
    path: str | os.PathLike[str], columns: Sequence[str] = ()
) -> np.ndarray:
    """Points (n, d) float64 of a CSV or TSV file, gzip-compressed or not, or of .npy.

    Args:
      path: of the file. A first line that is not all numbers is a header.
      columns: names or numbers (from 0) of the columns to take; empty for all.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: naming the line, if it is not as wide as the first or holds something
        that is no finite number; or naming an unknown column.
    """
    path = Path(path)
    if path.suffix == ".npy":
        table, header, first = np.load(path, allow_pickle=False), [], 0
        if table.ndim != 2 or not np.issubdtype(table.dtype, np.number):
            raise ValueError(
                f"{path}: want a table (n, d) of numbers, got {table.dtype} of shape "
                f"{table.shape}"
            )
        rows = table.tolist()
    else:
        rows, header, first = _read_lines(path)
    width = len(rows[0]) if rows else 0
    chosen = [_column(path, name, header, width) for name in columns]
    chosen = chosen or list(range(width))
    points = np.empty((len(rows), len(chosen)))
    for line, row in enumerate(rows):
        where = f"{path}, line {line + first}" if first else f"{path}, row {line}"
        if len(row) != width:
            raise ValueError(f"{where}: {len(row)} columns, {width} before")
        for place, column in enumerate(chosen):
            points[line, place] = _number(row[column], where, column)
    if not points.size:
        raise ValueError(f"{path}: no points")
    return points


def _read_lines(path: Path) -> tuple[list[list[str]], list[str], int]:
    """Rows, the header or [], and the number of the first row's line."""
    with opened(path) as stream:
        file = io.StringIO(stream.read().decode("utf-8-sig"), newline="")
    text = file.readline()
    separator = next((s for s in ("\t", ",", ";") if s in text), None)
    file.seek(0)
    if separator is None:
        rows = [line.split() for line in file]
    else:
        rows = list(csv.reader(file, delimiter=separator))
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    if rows and not all(map(_is_number, rows[0])):
        return rows[1:], [cell.strip() for cell in rows[0]], 2
    return rows, [], 1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(value: str | float, where: str, column: int) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{where}, column {column}: {value!r} is no number") from None
    if not np.isfinite(number):
        raise ValueError(f"{where}, column {column}: {value} is not finite")
    return number


def _column(path: Path, name: str, header: list[str], width: int) -> int:
    if name in header:
        return header.index(name)
    if name.isdigit() and int(name) < width:
        return int(name)
    near = did_you_mean(name, header)
    raise ValueError(f"{path}: there is no column {name!r} of {width}{near}")
