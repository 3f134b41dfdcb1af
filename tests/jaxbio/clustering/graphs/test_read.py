"""Files of every form, and what is said of files that are not right."""

import gzip
import pickle
import sys
from collections import defaultdict

import numpy as np
import pytest

from jaxbio.clustering.graphs.read import read


def written(folder, name, text):
    path = folder / name
    path.write_bytes(
        gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode()
    )
    return path


@pytest.mark.parametrize("name", ["a.ungraph.txt", "a.ungraph.txt.gz", "edges.csv"])
def test_edge_lists_of_integers(tmp_path, name):
    text = "# Nodes: 4\n20\t10\n10 20\n\n7 7\n% old comment\n7,10\n-3 7\n"
    graph = read(written(tmp_path, name, text))
    assert graph.nodes.tolist() == [-3, 7, 10, 20]
    assert graph.edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert (graph.loops, graph.repeated) == (1, 1)
    assert graph.labels is None and graph.communities == ()


def test_edge_lists_of_names(tmp_path):
    graph = read(written(tmp_path, "edges.tsv", "Jörg\tbea\nbea\t12\n"))
    assert graph.nodes.tolist() == ["12", "Jörg", "bea"]
    assert graph.edges.tolist() == [[0, 2], [1, 2]]
    used = "source target\ntarget gene\n"  # words, but of the graph
    assert read(written(tmp_path, "e.txt", used)).edges.tolist() == [[0, 2], [1, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\n# a\n3 4 0.5\n", "e.txt, line 3: 3 fields, expected the two ids"),
        ("1 2\n\n3\n", "e.txt, line 3: 1 fields"),
        ("1 2 3\n4 5 6\n", "e.txt, line 1: 3 fields"),
        ("source,target\n1,2\n2,3\n", "line 1: 'source target' are no integers"),
        ("\nSource,Target\na,b\nb,c\n", "line 2: 'Source Target' .* like a header"),
        ("# nothing\n\n", "e.txt: no edges"),
    ],
)
def test_wrong_edge_lists_are_refused_by_file_and_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path, "e.txt", text))


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "e.txt").write_bytes(b"1 2\n\xff 3\n")
    with pytest.raises(ValueError, match="e.txt, line 2: not UTF-8"):
        read(tmp_path / "e.txt")
    whole = gzip.compress(b"1 2\n" * 1000)
    (tmp_path / "e.txt.gz").write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="damaged gzip"):
        read(tmp_path / "e.txt.gz")
    with pytest.raises(FileNotFoundError, match="none.txt"):
        read(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="is a directory"):
        read(tmp_path)


def test_communities_and_labels(tmp_path):
    edges = written(tmp_path, "e.txt", "5 9\n9 30\n30 4\n")
    communities = written(tmp_path, "c.cmty.txt", "9\t5 5\n30 4 9\n")
    labels = written(tmp_path, "labels.csv", "30,red\n5,blue\n4,red\n")
    graph = read(edges, communities=communities, labels=labels)
    assert graph.nodes.tolist() == [4, 5, 9, 30]
    assert [m.tolist() for m in graph.communities] == [[1, 2], [0, 2, 3]]
    assert graph.labels.tolist() == [1, 0, -1, 1]


@pytest.mark.parametrize(
    ("role", "text", "message"),
    [
        ("communities", "5 9\n\n5 31\n", "t.txt, line 3: 31 is no node"),
        ("communities", "5 x\n", "t.txt, line 1: x is no node"),
        ("communities", "# none\n", "t.txt: no communities"),
        ("labels", "5 red\n9\n", "t.txt, line 2: 1 fields"),
        ("labels", "5 red\n8 red\n", "t.txt, line 2: 8 is no node"),
        ("labels", "5 red\n9 red\n5 blue\n", "t.txt, line 3: a second label of 5"),
        ("labels", "\n", "t.txt: no labels"),
    ],
)
def test_wrong_communities_and_labels_are_refused(tmp_path, role, text, message):
    edges = written(tmp_path, "e.txt", "5 9\n9 30\n")
    with pytest.raises(ValueError, match=message):
        read(edges, **{role: written(tmp_path, "t.txt", text)})


GML = """graph [ directed 0
  node [ id 4 label "b" value 3 ] node [ id 2 label "a" value "x" ]
  node [ id 9 label "c" ]
  edge [ source 4 target 2 ] edge [ source 9 target 9 ] edge [ source 2 target 9 ]
]"""


@pytest.mark.parametrize("name", ["g.gml", "g.gml.gz"])
def test_gml(tmp_path, name):
    pytest.importorskip("networkx")
    labels = written(tmp_path, "labels.txt", "c 1\na 0\n")
    graph = read(written(tmp_path, name, GML))
    assert graph.nodes.tolist() == ["b", "a", "c"]
    assert graph.edges.tolist() == [[0, 1], [1, 2]] and graph.loops == 1
    assert graph.labels.tolist() == [0, 1, -1]
    assert read(tmp_path / name, labels=labels).labels.tolist() == [-1, 0, 1]


def test_graphml_and_a_named_attribute(tmp_path):
    networkx = pytest.importorskip("networkx")
    made = networkx.Graph([("u", "v"), ("v", "w")])
    networkx.set_node_attributes(made, {"u": 7, "w": 5}, "side")
    networkx.write_graphml(made, tmp_path / "g.graphml")
    graph = read(tmp_path / "g.graphml", attribute="side")
    assert graph.nodes.tolist() == ["u", "v", "w"]
    assert graph.labels.tolist() == [1, -1, 0]
    assert read(tmp_path / "g.graphml").labels is None
    with pytest.raises(ValueError, match="no node has an attribute 'value'.*side"):
        read(tmp_path / "g.graphml", attribute="value")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("g.gml", "graph [ node [ id 1"),
        ("g.gml", "graph [ node [ id 1 label 1 ] ]"),
        ("g.graphml", "<graphml>"),
    ],
)
def test_damaged_markup_is_refused(tmp_path, name, text):
    pytest.importorskip("networkx")
    with pytest.raises(ValueError, match=f"{name}: (cannot be read|no edges)"):
        read(written(tmp_path, name, text))


def test_the_extra_is_named_where_networkx_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(ImportError, match=r"jaxrec\[graphs\]"):
        read(written(tmp_path, "g.gml", GML))


def test_an_attribute_is_of_markup_only(tmp_path):
    with pytest.raises(ValueError, match="attribute='value' is for GML"):
        read(written(tmp_path, "e.txt", "1 2\n"), attribute="value")


def test_npz(tmp_path):
    path = tmp_path / "cora.npz"
    np.savez(path, edges=np.array([[0, 1], [2, 1]]), y=np.array([1, -1, 0]))
    graph = read(path)
    assert graph.edges.tolist() == [[0, 1], [1, 2]]
    assert graph.labels.tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"edges": np.zeros((1, 2), int)}, "no arrays 'edges' and 'y'"),
        ({"edges": np.zeros((1, 3), int), "y": np.zeros(2, int)}, r"edges \(1, 3\)"),
        ({"edges": np.array([[0, 2]]), "y": np.zeros(2, int)}, "nodes 0 to 2"),
        ({"edges": np.array([[None, 2]]), "y": np.zeros(2, int)}, "no npz file"),
    ],
)
def test_wrong_npz_files_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "g.npz", **arrays)
    with pytest.raises(ValueError, match=f"g.npz: .*{message}"):
        read(tmp_path / "g.npz")


def test_an_npz_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="g.npz: no npz file"):
        read(written(tmp_path, "g.npz", "not one"))


def original(folder, **changed):
    """Six nodes, of which 3 and 5 are test nodes and 4 has no data."""
    near = {0: [1, 1, 0], 1: [0, 3], 2: [5], 3: [1], 4: [], 5: [2]}
    parts = {
        "graph": defaultdict(list, near),
        "ally": np.eye(3, dtype=np.int32)[[0, 2, 1]],
        "ty": np.eye(3, dtype=np.int32)[[2, 0]],
    } | changed
    for part, value in parts.items():
        # As Python 2 wrote them.
        (folder / f"ind.toy.{part}").write_bytes(pickle.dumps(value, protocol=2))
    written(folder, "ind.toy.test.index", "5\n3\n")
    return folder / "ind.toy.graph"


def test_original_planetoid_files(tmp_path):
    graph = read(original(tmp_path))
    assert graph.edges.tolist() == [[0, 1], [1, 3], [2, 5]]
    assert graph.labels.tolist() == [0, 2, 1, 0, -1, 2]
    assert (graph.loops, graph.repeated) == (1, 4)


def test_pickles_run_no_code_and_damage_is_named(tmp_path):
    path = original(tmp_path, ally=print)
    with pytest.raises(ValueError, match="ally: cannot be read.*refused to make"):
        read(path)
    original(tmp_path, ty=np.eye(3)[[0]])
    with pytest.raises(ValueError, match="test.index: 2 test nodes, but .*ty has 1"):
        read(path)
    (tmp_path / "ind.toy.test.index").write_text("1\nx\n")
    with pytest.raises(ValueError, match="test.index"):
        read(path)
    (tmp_path / "ind.toy.ty").unlink()
    with pytest.raises(FileNotFoundError, match="ind.toy.ty"):
        read(path)
