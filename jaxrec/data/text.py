"""Text files to columns of fields, a block of whole lines at a time.

A column is gathered as a matrix of characters, one row per line, so that digits
become numbers column by column of that matrix rather than field by field.
"""

import dataclasses
import os
from collections.abc import Iterator

import numpy as np

from jaxrec.core.files import opened

BLOCK_BYTES = 1 << 23
_NEWLINE, _SPACE, _TAB, _MINUS, _ZERO = (ord(char) for char in "\n \t-0")
_MOST_DIGITS = 18  # 10 ** 18 - 1 is the largest such number; int64 holds it.


@dataclasses.dataclass(frozen=True)
class Block:
    """Some consecutive lines of a file.

    Attributes:
        fields: One (n,) numpy bytes array per wanted column.
        lines: (n,) int64 line number of each row, the first line of a file is 1.
    """

    fields: list[np.ndarray]
    lines: np.ndarray


def whole_lines(
    path: str | os.PathLike, skip: int = 0
) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (characters, line): uint8 blocks ending in a newline and the number of
    their first line. The first `skip` lines of the file are left out."""
    with opened(path) as stream:
        for _ in range(skip):
            stream.readline()
        line = skip + 1
        while chunk := stream.read(BLOCK_BYTES):
            if not chunk.endswith(b"\n"):
                chunk += stream.readline()
            if line == 1:
                chunk = chunk.removeprefix(b"\xef\xbb\xbf")
            if b"\r" in chunk:
                chunk = chunk.replace(b"\r\n", b"\n")
            if not chunk.endswith(b"\n"):
                chunk += b"\n"
            yield np.frombuffer(chunk, np.uint8), line
            line += chunk.count(b"\n")


def separated(
    path: str | os.PathLike,
    separator: str,
    wanted: list[int],
    width: int,
    skip: int = 0,
) -> Iterator[Block]:
    """Columns of lines with a fixed number of separated fields.

    Args:
        path: The file.
        separator: What stands between two fields, such as "," or "::".
        wanted: Numbers of the columns to return, from 0.
        width: Number of fields that every line must have. Blank lines are passed.
        skip: Lines at the top to leave out.

    Raises:
        ValueError: A line has another number of fields; the message names the line.
    """
    mark = ord(separator[0])
    for characters, first_line in whole_lines(path, skip):
        if len(separator) > 1:
            text = characters.tobytes().replace(
                separator.encode(), separator[:1].encode()
            )
            characters = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(characters == _NEWLINE)
        starts = np.concatenate([[0], ends[:-1] + 1])
        lines = first_line + np.arange(len(ends))
        marks = np.flatnonzero(characters == mark)
        counts = np.diff(
            np.searchsorted(marks, np.concatenate([starts, [len(characters)]]))
        )
        filled = ends > starts
        wrong = np.flatnonzero(filled & (counts != width - 1))
        if len(wrong):
            line = int(lines[wrong[0]])
            raise ValueError(
                f"{path}, line {line}: {counts[wrong[0]] + 1} fields separated by "
                f"{separator!r}, expected {width}"
            )
        starts, ends, lines = starts[filled], ends[filled], lines[filled]
        if not len(starts):
            continue
        bounds = np.concatenate(
            [starts[:, None] - 1, marks.reshape(-1, width - 1), ends[:, None]], axis=1
        )
        fields = [
            gather(characters, bounds[:, column] + 1, bounds[:, column + 1])
            for column in wanted
        ]
        yield Block(fields, lines)


def tokens(
    path: str | os.PathLike,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Words between spaces or tabs.

    Yields:
        (words, counts, lines): numpy bytes words of some lines in reading order, the
        (n,) number of words on each line that is not blank, and its line number.
    """
    for characters, first_line in whole_lines(path):
        newline = characters == _NEWLINE
        gap = newline | (characters == _SPACE) | (characters == _TAB)
        word = np.diff(np.concatenate([[True], gap]).astype(np.int8))
        starts, ends = np.flatnonzero(word == -1), np.flatnonzero(word == 1)
        line_of_word = np.searchsorted(np.flatnonzero(newline), starts)
        filled, counts = np.unique(line_of_word, return_counts=True)
        if len(starts):
            yield gather(characters, starts, ends), counts, first_line + filled


def gather(characters: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(n,) numpy bytes of characters[starts:ends], blanks around them removed."""
    width = max(1, int((ends - starts).max(initial=1)))
    place = np.arange(width)
    source = np.minimum(starts[:, None] + place, len(characters) - 1)
    matrix = characters[source]
    matrix[place >= (ends - starts)[:, None]] = 0
    fields = np.ascontiguousarray(matrix).view(f"S{width}").ravel()
    if (matrix == _SPACE).any():
        fields = np.char.strip(fields)
    return fields


def plain_integers(fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads integers written plainly: an optional minus, no leading zero, 18 digits.

    Args:
        fields: (n,) numpy bytes.

    Returns:
        values: (n,) int64, meaningless where not `plain`.
        plain: (n,) bool, whether the field is such an integer.
    """
    size = fields.dtype.itemsize
    matrix = np.ascontiguousarray(fields).view(np.uint8).reshape(len(fields), size)
    lengths = np.char.str_len(fields)
    negative = matrix[:, 0] == _MINUS
    digits = lengths - negative
    plain = (digits >= 1) & (digits <= _MOST_DIGITS)
    first = matrix[np.arange(len(fields)), np.minimum(negative, size - 1).astype(int)]
    plain &= (first != _ZERO) | ((digits == 1) & ~negative)
    values = np.zeros(len(fields), np.int64)
    for column in range(min(size, _MOST_DIGITS + 1)):
        digit = matrix[:, column] - np.uint8(_ZERO)
        inside = column < lengths
        if column == 0:
            inside &= ~negative
        plain &= (digit < 10) | ~inside
        values = np.where(inside, values * 10 + digit, values)
    return np.where(negative, -values, values), plain
