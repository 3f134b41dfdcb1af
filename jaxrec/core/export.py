"""Functions as portable files: compiled by JAX on any machine, without their code.

A file is a zip archive:

    manifest.json               what the caller says about it, and an entry per program
    programs/<name>.<n>         a `jax.export` serialisation (StableHLO), for the
                                platforms that the manifest lists
    arrays/<path>.npy           arrays by path, such as the parameters

One name may stand for several programs, each for other platforms. JAX reads programs
that were serialised by versions up to six months older; keep what a file was made from.
"""

import dataclasses
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

FORMAT = "jaxrec portable 1"
PLATFORMS = ("cpu", "cuda", "tpu")


@dataclasses.dataclass(frozen=True)
class Program:
    """A function to export.

    Attributes:
        name: Its name in the file.
        function: A traceable function.
        arguments: Per argument a pytree (dict, list or tuple) of arrays or
            `jax.ShapeDtypeStruct`, whose shapes may be symbolic (`jax.export`).
        platforms: What it is compiled for, of `PLATFORMS`.
    """

    name: str
    function: Callable[..., Any]
    arguments: Sequence[Any]
    platforms: Sequence[str] = PLATFORMS


@dataclasses.dataclass(frozen=True)
class Portable:
    """A file as read.

    Attributes:
        functions: By name, to be called, or used inside `jax.jit`.
        arrays: By path.
        manifest: What the caller said about the file.
    """

    functions: Mapping[str, Callable[..., Any]]
    arrays: Mapping[str, np.ndarray]
    manifest: Mapping[str, Any]


def save(
    path: str | os.PathLike[str],
    programs: Sequence[Program],
    arrays: Mapping[str, np.ndarray],
    manifest: Mapping[str, Any],
) -> None:
    """Exports programs and writes them with arrays into one file.

    The file appears by one rename, complete.

    Args:
        path: File to write.
        programs: What to export.
        arrays: Arrays by path.
        manifest: Anything that JSON holds.

    Raises:
        ValueError: An unknown platform, or a program exported twice for one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    entries = _entries(programs)
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            for entry, program in zip(entries, programs, strict=True):
                exported = jax.export.export(
                    jax.jit(program.function), platforms=tuple(program.platforms)
                )(*program.arguments)
                archive.writestr(entry["file"], exported.serialize())
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, np.asarray(array), allow_pickle=False)
                archive.writestr(f"arrays/{name}.npy", buffer.getbuffer())
            head = {"format": FORMAT, "jax": jax.__version__, "programs": entries}
            text = json.dumps({**head, "about": dict(manifest)}, indent=1)
            archive.writestr("manifest.json", text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], platform: str | None = None) -> Portable:
    """Reads a file that `save` wrote.

    Args:
        path: The file.
        platform: One of `PLATFORMS`; None is the one this process runs on.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, is damaged, or has nothing for the platform.
    """
    platform = platform or jax.export.default_export_platform()
    try:
        with zipfile.ZipFile(path) as archive:
            head = json.loads(archive.read("manifest.json"))
            if head.get("format") != FORMAT:
                raise ValueError(f"format is {head.get('format')!r}, not {FORMAT!r}")
            functions = {
                entry["name"]: jax.export.deserialize(
                    bytearray(archive.read(entry["file"]))
                ).call
                for entry in head["programs"]
                if platform in entry["platforms"]
            }
            names = [n for n in archive.namelist() if n.startswith("arrays/")]
            arrays = {
                name.removeprefix("arrays/").removesuffix(".npy"): np.load(
                    io.BytesIO(archive.read(name)), allow_pickle=False
                )
                for name in names
            }
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a readable portable file: {error}") from error
    if not functions:
        known = sorted({p for entry in head["programs"] for p in entry["platforms"]})
        raise ValueError(f"{path}: nothing for platform {platform!r}, only {known}")
    return Portable(functions, arrays, head["about"])


def flat(tree: Any, prefix: str) -> dict[str, Any]:
    """Leaves of a nested dict by path, `prefix/key/key`.

    Raises:
        ValueError: A key is no string, or has a "/" in it.
    """
    if not isinstance(tree, dict):
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if not isinstance(key, str) or "/" in key:
            raise ValueError(
                f"{prefix}: a key must be a string without '/', got {key!r}"
            )
        leaves |= flat(value, f"{prefix}/{key}")
    return leaves


def nested(leaves: Mapping[str, Any], prefix: str) -> Any:
    """The tree whose `flat` form with this prefix is in `leaves`."""
    if prefix in leaves:
        return leaves[prefix]
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        if path.startswith(f"{prefix}/"):
            *parents, name = path.removeprefix(f"{prefix}/").split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = leaf
    return tree


def _entries(programs: Sequence[Program]) -> list[dict[str, Any]]:
    entries, taken = [], set()
    for program in programs:
        for platform in program.platforms:
            if platform not in PLATFORMS:
                raise ValueError(
                    f"{program.name}: unknown platform {platform!r}; known: "
                    f"{', '.join(PLATFORMS)}"
                )
            if (program.name, platform) in taken:
                raise ValueError(f"{program.name} is exported twice for {platform}")
            taken.add((program.name, platform))
        same = sum(entry["name"] == program.name for entry in entries)
        file = f"programs/{program.name}.{same}"
        platforms = list(program.platforms)
        entries.append({"name": program.name, "file": file, "platforms": platforms})
    return entries
