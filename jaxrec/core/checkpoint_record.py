"""What a checkpoint says about itself: kind, step, progress, and every array in it.

The record is JSON with a CRC of its own, so that a truncated or altered record is
seen. It is read before the arrays: whether a checkpoint is of another architecture is
known without touching them.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax

from jaxrec.core.checksums import array_checksums


def flatten(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a pytree by path, such as ``params/blocks/0/decay``.

    Raises:
        ValueError: If two leaves have the same path, or a key contains "/".
    """
    leaves = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        parts = [jax.tree_util.keystr((key,), simple=True) for key in keys]
        path = "/".join(parts)
        if path in leaves or any("/" in part for part in parts):
            raise ValueError(f"ambiguous parameter path {path!r}: rename its keys")
        leaves[path] = leaf
    return leaves


def make_record(
    kind: str, step: int, progress: Mapping[str, Any], leaves: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the record of a checkpoint, with checksums of its arrays.

    Args:
        kind: "last" or "best".
        step: Number of updates done.
        progress: The caller's own JSON.
        leaves: Arrays by path.

    Raises:
        TypeError: If `progress` holds what JSON cannot.
    """
    sums = array_checksums(list(leaves.values()))
    arrays = {
        path: [list(leaf.shape), str(leaf.dtype), f"{first:016x}{second:016x}"]
        for (path, leaf), (first, second) in zip(leaves.items(), sums, strict=True)
    }
    body = {"kind": kind, "step": step, "progress": progress, "arrays": arrays}
    body = json.loads(json.dumps(body))  # as it will be read: keys are strings
    return {"crc32": _crc(body), **body}


def check_record(record: Mapping[str, Any], kind: str, step: int) -> None:
    """Checks that a record is whole and is the one that was asked for.

    Raises:
        ValueError: If it is altered, or is of another kind or step.
    """
    body = {key: value for key, value in record.items() if key != "crc32"}
    if record.get("crc32") != _crc(body):
        raise ValueError("its record is altered (CRC differs)")
    if (record["kind"], record["step"]) != (kind, step):
        raise ValueError(
            f"it is a {record['kind']!r} checkpoint of step {record['step']}, "
            f"not {kind!r} of step {step}"
        )


def check_architecture(record: Mapping[str, Any], leaves: Mapping[str, Any]) -> None:
    """Checks that a checkpoint has the wanted arrays.

    Args:
        record: The record of the checkpoint.
        leaves: The wanted arrays by path; only shape and dtype are looked at.

    Raises:
        ValueError: Naming the first path at which they differ, with both shapes.
    """
    saved = {path: (tuple(s), d) for path, (s, d, _) in record["arrays"].items()}
    for path, leaf in leaves.items():
        wanted = (tuple(leaf.shape), str(leaf.dtype))
        if saved.get(path) != wanted:
            has = _describe(saved[path]) if path in saved else "does not have it"
            raise ValueError(
                f"{path}: the model has {_describe(wanted)}, the checkpoint {has}"
            )
    for path, spec in saved.items():
        if path not in leaves:
            raise ValueError(
                f"{path}: the checkpoint has {_describe(spec)}, "
                "the model does not have it"
            )


def check_arrays(record: Mapping[str, Any], leaves: Mapping[str, Any]) -> None:
    """Checks restored arrays against the checksums of the record.

    Raises:
        ValueError: Naming the first array that differs.
    """
    sums = array_checksums(list(leaves.values()))
    for (path, saved), (first, second) in zip(
        record["arrays"].items(), sums, strict=True
    ):
        if saved[2] != f"{first:016x}{second:016x}":
            raise ValueError(f"array {path} is altered (checksum differs)")


def _describe(spec: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = spec
    return f"{dtype}{list(shape)}"


def _crc(body: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())
