"""Parquet files, through pyarrow (the extra `parquet`)."""

from collections.abc import Mapping

import numpy as np

from jaxrec.core.files import opened
from jaxrec.data.delimited import find_columns
from jaxrec.data.tables import Table, table_from_blocks
from jaxrec.data.text import Block


def read(path: str, columns: Mapping[str, str]) -> Table:
    """Reads the columns of a Parquet file; see `formats.read`.

    Integer columns are taken as they are. A column of time stamps gives integers in
    the unit of the file.

    Raises:
        ImportError: pyarrow is not installed.
        FileNotFoundError: There is no such file.
        ValueError: A column is not there, has an empty cell, or cannot be read; rows
            are counted from 1.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"{path}: reading Parquet needs pyarrow; pip install 'jaxrec[parquet]'"
        ) from error
    with opened(path):  # A missing file or a directory: the usual error.
        pass
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({error})") from error
    with file:
        positions, header = find_columns(path, file.schema_arrow.names, columns)
        if not header:
            raise ValueError(
                f"{path}: data.columns must be names, not positions, for Parquet"
            )
        names = {role: file.schema_arrow.names[at] for role, at in positions.items()}
        table = file.read(columns=list(names.values()))
    fields = [_field(path, pyarrow, name, table[name]) for name in names.values()]
    lines = np.arange(1, table.num_rows + 1)
    blocks = [Block(fields, lines)] if table.num_rows else []
    return table_from_blocks(path, list(names), iter(blocks))


def _field(path, pyarrow, name, column) -> np.ndarray:
    """One column as int64, float64 or numpy bytes."""
    if column.null_count:
        row = column.is_null().to_numpy().argmax() + 1
        raise ValueError(f"{path}, line {row}: column {name!r} is empty")
    types = pyarrow.types
    if types.is_integer(column.type) or types.is_timestamp(column.type):
        return column.cast(pyarrow.int64()).to_numpy()
    if types.is_floating(column.type):
        return column.cast(pyarrow.float64()).to_numpy()
    if not types.is_binary(column.type):
        column = column.cast(pyarrow.string()).cast(pyarrow.binary())
    return np.array(column.to_pylist(), dtype=np.bytes_)
