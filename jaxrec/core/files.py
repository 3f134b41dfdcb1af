"""Opening files of users."""

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a plain or gzip-compressed file; the first bytes decide, not the name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is a directory, or the compressed data are damaged.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a directory, a file was expected")
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    with path.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if compressed else path.open("rb") as stream:
        try:
            yield stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file ({error})") from error
