"""Graphs from files of any of the usual forms."""

import dataclasses
import os
from pathlib import Path

from jaxbio.clustering.graphs.graph import Graph, from_pairs
from jaxbio.clustering.graphs.markup import read_markup
from jaxbio.clustering.graphs.planetoid import read_npz, read_original
from jaxbio.clustering.graphs.text import read_communities, read_labels, read_pairs


def read(
    path: str | os.PathLike[str],
    *,
    communities: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    attribute: str | None = None,
) -> Graph:
    """Reads a graph; the name of its file decides the form.

    * ``*.gml`` and ``*.graphml``: `jaxbio.clustering.graphs.markup`.
    * ``*.npz`` and ``ind.NAME.graph``: `jaxbio.clustering.graphs.planetoid`.
    * any other, such as SNAP's ``*.ungraph.txt``: an edge per line.

    Text and markup may be gzip-compressed, with ``.gz`` behind the name.

    Args:
      path: the file.
      communities: file with a line of node ids per community, as SNAP's
        ``*.cmty.txt``; they may overlap.
      labels: file with a line per node, its id and its community.
      attribute: of the nodes in GML and GraphML, see `read_markup`.

    Raises:
      ValueError: a file cannot be read; it and the line, if there is one, are named.
      FileNotFoundError: a file is not there.
      ImportError: a form needs a package that is not installed.
    """
    name = Path(path).name.lower().removesuffix(".gz")
    form = name.rpartition(".")[2]
    markup = form in ("gml", "graphml")
    if attribute is not None and not markup:
        raise ValueError(
            f"{path}: attribute={attribute!r} is for GML and GraphML files"
        )
    if markup:
        graph = read_markup(path, form, attribute)
    elif form == "npz":
        graph = read_npz(path)
    elif form == "graph" and name.startswith("ind."):
        graph = read_original(path)
    else:
        graph = from_pairs(*read_pairs(path))
    return _with_truth(graph, communities, labels)


def _with_truth(graph, communities, labels):
    if labels is not None:
        graph = dataclasses.replace(graph, labels=read_labels(labels, graph.nodes))
    if communities is not None:
        found = read_communities(communities, graph.nodes)
        graph = dataclasses.replace(graph, communities=found)
    return graph
