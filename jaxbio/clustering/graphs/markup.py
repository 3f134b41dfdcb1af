"""GML and GraphML files, through networkx."""

import os
from types import ModuleType

import numpy as np

from jaxbio.clustering.graphs.graph import Graph, from_pairs
from jaxbio.clustering.graphs.text import opened

_USUAL = ("value", "group", "community", "club", "class")


def read_markup(
    path: str | os.PathLike[str], form: str, attribute: str | None = None
) -> Graph:
    """Reads a graph; directions and weights of edges are not kept.

    Args:
      path: the file, plain or gzip-compressed.
      form: "gml" or "graphml".
      attribute: the nodes' that says which community they are in; a node without it
        gets label -1. `None`: the first that there is of value, group, community, club
        and class, or no labels.

    Returns:
      Nodes are called by their "label", if all have one of their own, else by id.

    Raises:
      ImportError: networkx is not installed.
      ValueError: the file cannot be read, has no edges, or no node has the attribute.
      FileNotFoundError: there is no such file.
    """
    networkx = _networkx()
    with opened(path) as stream:
        try:
            if form == "gml":
                read = networkx.read_gml(stream, label="id")
            else:
                read = networkx.read_graphml(stream)
        # GraphML's parser raises a SyntaxError for damaged XML.
        except (networkx.NetworkXException, SyntaxError, ValueError, KeyError) as error:
            raise ValueError(f"{path}: cannot be read as {form}: {error}") from error
    if not read.number_of_edges():
        raise ValueError(f"{path}: no edges")
    ids, data = list(read.nodes), list(read.nodes.values())
    position = {node: i for i, node in enumerate(ids)}
    pairs = np.array([(position[u], position[v]) for u, v in read.edges()])
    names = [str(fields.get("label", "")) for fields in data]
    if "" not in names and len(set(names)) == len(names):
        ids = names
    return from_pairs(np.array(ids), pairs, _labels(path, data, attribute))


def _labels(path, data, attribute):
    known = {name for fields in data for name in fields}
    if attribute is None:
        attribute = next((name for name in _USUAL if name in known), None)
        if attribute is None:
            return None
    if attribute not in known:
        raise ValueError(
            f"{path}: no node has an attribute {attribute!r}; nodes have "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    has = np.array([attribute in fields for fields in data])
    values = [str(fields[attribute]) for fields in data if attribute in fields]
    labels = np.full(len(data), -1, np.int32)
    labels[has] = np.unique(values, return_inverse=True)[1]
    return labels


def _networkx() -> ModuleType:
    try:
        import networkx
    except ImportError as error:
        raise ImportError(
            "GML and GraphML files need networkx, which is not installed: "
            "pip install 'jaxrec[graphs]'"
        ) from error
    return networkx
