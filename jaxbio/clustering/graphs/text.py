"""Edge lists and lists of communities in text files, plain or gzip-compressed."""

import io
import os
from collections.abc import Iterator

import numpy as np

from jaxrec.core.files import opened

_COMMENTS = ("#", "%")
_ENDS = frozenset(
    "source target src dst from to head tail node1 node2 node_1 node_2 node_a node_b "
    "id1 id2 id_1 id_2 fromnodeid tonodeid from_node to_node".split()
)


def read_pairs(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Reads a line per edge, two ids with white space or a comma between them.

    Lines that are empty or begin with "#" or "%" are skipped. Ids are integers if all
    are, else text.

    Returns:
      `(nodes, pairs)`: ids (n,) in increasing order and positions (m, 2).

    Raises:
      ValueError: no edges, a line without exactly two ids, a header, or damaged data.
      FileNotFoundError: there is no such file.
    """
    text = _text(path).replace(",", " ")
    if next(_lines(text), None) is None:
        raise ValueError(f"{path}: no edges")
    ids = _integers(text)
    if ids is None:
        ids = _by_line(path, text)
    nodes, positions = np.unique(ids, return_inverse=True)
    return nodes, positions.reshape(-1, 2)


def _integers(text: str) -> np.ndarray | None:
    """All ids (m, 2) if the text is of nothing but pairs of integers, else `None`."""
    try:
        ids = np.loadtxt(io.StringIO(text), np.int64, comments=_COMMENTS, ndmin=2)
    except ValueError:
        return None
    return ids if ids.shape[1] == 2 else None


def _by_line(path, text) -> np.ndarray:
    numbers, ids = [], []
    for number, fields in _lines(text):
        if len(fields) != 2:
            raise ValueError(
                f"{path}, line {number}: {len(fields)} fields, expected the two ids of "
                "an edge (weights are not read)"
            )
        numbers.append(number)
        ids.append(fields)
    text_at = [i for i, pair in enumerate(ids) if not all(map(_is_integer, pair))]
    if text_at == [0] and len(ids) > 1:
        raise ValueError(
            f"{path}, line {numbers[0]}: {' '.join(ids[0])!r} are no integers, as all "
            "other ids are; put # before a header"
        )
    if _is_header(ids):
        raise ValueError(
            f"{path}, line {numbers[0]}: {' '.join(ids[0])!r} are in no other line, "
            "and look like a header; put # before it"
        )
    return np.array(ids, str if text_at else np.int64)


def _is_header(pairs) -> bool:
    first, *others = pairs
    words = {field.lower() for field in first}
    named = len(words) == 2 and words <= _ENDS and bool(others)
    return named and all(set(first).isdisjoint(pair) for pair in others)


def read_communities(
    path: str | os.PathLike[str], nodes: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Reads a line per community, the ids of its members with white space between.

    Args:
      path: the file.
      nodes: (n,) distinct ids.

    Returns:
      Positions (int32) of the members of each, increasing, each once.

    Raises:
      ValueError: no communities, or an id that is no node; file and line are named.
      FileNotFoundError: there is no such file.
    """
    order = np.argsort(nodes)
    found = [
        _positions(path, number, fields, nodes, order)
        for number, fields in _lines(_text(path))
    ]
    if not found:
        raise ValueError(f"{path}: no communities")
    return tuple(found)


def read_labels(path: str | os.PathLike[str], nodes: np.ndarray) -> np.ndarray:
    """Reads a node's id and its label per line, white space or a comma between.

    Returns:
      (n,) int32, labels numbered in increasing order of their text; -1 for the nodes
      that have no line.

    Raises:
      ValueError: no labels, a line without exactly two fields, an id that is no node or
        that had a label before; file and line are named.
      FileNotFoundError: there is no such file.
    """
    order = np.argsort(nodes)
    names = {}
    for number, fields in _lines(_text(path).replace(",", " ")):
        if len(fields) != 2:
            raise ValueError(
                f"{path}, line {number}: {len(fields)} fields, expected an id and a "
                "label"
            )
        (at,) = _positions(path, number, fields[:1], nodes, order)
        if at in names:
            raise ValueError(f"{path}, line {number}: a second label of {fields[0]}")
        names[at] = fields[1]
    if not names:
        raise ValueError(f"{path}: no labels")
    labels = np.full(len(nodes), -1, np.int32)
    labels[list(names)] = np.unique(list(names.values()), return_inverse=True)[1]
    return labels


def _positions(path, number, fields, nodes, order):
    """Increasing positions of ids, each once; `order` sorts the nodes."""
    integer = nodes.dtype.kind in "iu"
    strange = [field for field in fields if integer and not _is_integer(field)]
    if not strange:
        ids = np.array(fields, np.int64 if integer else str)
        at = np.searchsorted(nodes, ids, sorter=order)
        at = order[np.minimum(at, len(nodes) - 1)]
        strange = ids[nodes[at] != ids]
    if len(strange):
        raise ValueError(f"{path}, line {number}: {strange[0]} is no node of the graph")
    return np.unique(at).astype(np.int32)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Numbers and fields of the lines that are neither empty nor comments."""
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if fields and not fields[0].startswith(_COMMENTS):
            yield number, fields


def _is_integer(field: str) -> bool:
    return field.removeprefix("-").isdecimal() and len(field) <= 18


def _text(path) -> str:
    with opened(path) as stream:
        data = stream.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 text") from error
