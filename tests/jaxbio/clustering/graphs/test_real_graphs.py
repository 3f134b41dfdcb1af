"""Counts of the real networks that the loaders are for."""

import os
from pathlib import Path

import numpy as np
import pytest

from jaxbio.clustering.graphs.communities import problems, single_labels, split
from jaxbio.clustering.graphs.graph import largest_component
from jaxbio.clustering.graphs.read import read

FOLDER = Path(os.environ.get("JAXREC_DATA_DIR", "")) / "graphs"
needs_data = pytest.mark.skipif(
    not os.environ.get("JAXREC_DATA_DIR") or not FOLDER.is_dir(),
    reason="needs JAXREC_DATA_DIR with a folder graphs",
)


@needs_data
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "largest", "sizes"),
    [
        ("small/dolphins.gml", 62, 159, 62, [19, 43]),
        ("small/polbooks.gml", 105, 441, 105, [49, 43, 13]),
        ("planetoid/cora.npz", 2708, 5278, 2485, [351, 217, 418, 818, 426, 298, 180]),
        (
            "planetoid/ind.citeseer.graph",
            3327,
            4552,
            2120,
            [249, 590, 668, 701, 596, 508],
        ),
    ],
)
def test_networks_with_labels(name, nodes, edges, largest, sizes):
    if name.endswith("gml"):
        pytest.importorskip("networkx")
    graph = read(FOLDER / name)
    assert (len(graph), len(graph.edges)) == (nodes, edges)
    assert len(largest_component(graph)) == largest
    assert sorted(np.bincount(graph.labels[graph.labels >= 0])) == sorted(sizes)


@needs_data
def test_a_network_with_communities():
    base = FOLDER / "clare"
    graph = read(
        base / "dblp-1.90.ungraph.txt.gz", communities=base / "dblp-1.90.cmty.txt"
    )
    assert (len(graph), len(graph.edges)) == (37020, 149501)
    assert len(graph.communities) == 1000
    labels = single_labels(graph)
    assert 0 < (labels >= 0).sum() < 8370
    drawn = [problems(side, 3, seed=1) for side in split(graph, 0.2, seed=0)]
    ids = [{i for graph in side for i in graph.nodes} for side in drawn]
    assert not ids[0] & ids[1]
