"""Citation networks in the two forms that Planetoid's data come in.

The original files of Yang, Cohen and Salakhutdinov, ICML 2016, are pickles of Python 2,
``ind.NAME.graph`` and its neighbours. A pickle can run any code when it is read; here
only arrays, dicts and lists are made from one.
"""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from jaxbio.clustering.graphs.graph import Graph, from_pairs
from jaxbio.clustering.graphs.text import opened


def read_npz(path: str | os.PathLike[str]) -> Graph:
    """Reads "edges" (m, 2) and classes "y" (n,), -1 if not known, of an npz file.

    Raises:
      ValueError: no such arrays, or edges to nodes beyond the classes.
      FileNotFoundError: there is no such file.
    """
    with opened(path) as stream:
        try:
            arrays = np.load(stream, allow_pickle=False)
            edges, labels = arrays["edges"], arrays["y"]
        except (ValueError, OSError, AttributeError, IndexError) as error:
            raise ValueError(f"{path}: no npz file of arrays ({error})") from error
        except KeyError as error:
            raise ValueError(f"{path}: has no arrays 'edges' and 'y'") from error
    if edges.ndim != 2 or edges.shape[1] != 2 or labels.ndim != 1:
        raise ValueError(
            f"{path}: edges {edges.shape} and y {labels.shape}, expected (m, 2), (n,)"
        )
    if edges.size and not 0 <= edges.min() <= edges.max() < len(labels):
        raise ValueError(
            f"{path}: edges of nodes {edges.min()} to {edges.max()}, but y has "
            f"{len(labels)}"
        )
    return from_pairs(np.arange(len(labels)), edges, labels.astype(np.int32))


def read_original(path: str | os.PathLike[str]) -> Graph:
    """Reads ``ind.NAME.graph`` with ``.ally``, ``.ty`` and ``.test.index`` beside it.

    Nodes are training nodes and then test nodes in the order of their numbers. A test
    node without data, as Citeseer has 15, has label -1.

    Raises:
      ValueError: a file is damaged or holds more than arrays, dicts and lists.
      FileNotFoundError: one of the files is not there.
    """
    base = Path(path).with_suffix("")
    parts = {part: Path(f"{base}.{part}") for part in ("graph", "ally", "ty")}
    loaded = {part: _unpickled(file) for part, file in parts.items()}
    index = Path(f"{base}.test.index")
    with opened(index) as stream:
        try:
            tests = np.array([int(line) for line in stream.read().split()])
        except ValueError as error:
            raise ValueError(f"{index}: {error}") from error
    ally, ty = np.asarray(loaded["ally"]), np.asarray(loaded["ty"])
    if len(tests) != len(ty):
        raise ValueError(
            f"{index}: {len(tests)} test nodes, but {parts['ty']} has {len(ty)}"
        )
    neighbours = loaded["graph"]
    size = max(len(neighbours), len(ally), tests.max(initial=-1) + 1)
    labels = np.full(size, -1, np.int32)
    labels[: len(ally)] = ally.argmax(1)
    labels[tests] = ty.argmax(1)
    pairs = [(node, other) for node, near in neighbours.items() for other in near]
    return from_pairs(np.arange(size), np.array(pairs), labels)


class _Unpickler(pickle.Unpickler):
    """Makes arrays, dicts and lists, and refuses anything else."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")
        module = module.replace("__builtin__", "builtins")
        allowed = {
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("collections", "defaultdict"),
            ("builtins", "list"),
            ("_codecs", "encode"),  # The bytes of an array that Python 3 wrote.
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"refused to make a {module}.{name}")
        return super().find_class(module, name)


def _unpickled(path: Path) -> Any:
    with opened(path) as stream:
        try:
            return _Unpickler(stream, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}: cannot be read ({error})") from error
