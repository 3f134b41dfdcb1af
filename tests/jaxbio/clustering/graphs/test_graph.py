"""The record of a graph, its parts, and its padded arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from jaxbio.clustering.graphs import sbm
from jaxbio.clustering.graphs.features import Features, node_features
from jaxbio.clustering.graphs.graph import from_pairs, induced, largest_component
from jaxbio.clustering.graphs.inputs import as_graph

compiled = jax.jit(node_features, static_argnames="cfg")


def small():
    """Components {0, 1, 2} and {3, 4, 5, 6}; 7 is alone."""
    pairs = [(0, 1), (2, 1), (1, 2), (3, 3), (5, 4), (6, 5), (3, 6), (4, 5)]
    return from_pairs(
        np.array(list("abcdefgh")),
        np.array(pairs),
        np.array([0, 0, 1, 2, 2, 1, 1, -1], np.int32),
        (np.array([0, 3, 4], np.int32), np.array([1, 2], np.int32)),
    )


def test_pairs_are_unique_and_undirected_and_what_is_left_out_is_counted():
    graph = small()
    assert graph.edges.tolist() == [[0, 1], [1, 2], [3, 6], [4, 5], [5, 6]]
    assert (graph.loops, graph.repeated) == (1, 2)
    assert graph.edges.dtype == np.int32 and len(graph) == 8
    dense = graph.matrix().toarray()
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_array_equal(np.argwhere(np.triu(dense)), graph.edges)
    assert set(np.unique(dense)) == {0, 1}


def test_an_induced_graph_keeps_ids_labels_and_communities():
    part = induced(small(), np.array([6, 4, 5, 0]))
    assert part.nodes.tolist() == list("gefa")
    assert part.edges.tolist() == [[0, 2], [1, 2]]
    assert part.labels.tolist() == [1, 2, 1, 0]
    assert [m.tolist() for m in part.communities] == [[3, 1]]


def test_the_largest_component_is_found():
    part = largest_component(small())
    assert part.nodes.tolist() == list("defg")
    assert part.edges.tolist() == [[0, 3], [1, 2], [2, 3]]
    with pytest.raises(ValueError, match="without nodes"):
        largest_component(from_pairs(np.zeros(0, int), np.zeros((0, 2))))


def test_inputs_are_those_of_training_padded():
    cfg = sbm.Config(features=Features(eigenvectors=3, iterations=0))
    graph = small()
    inputs = jax.tree.map(lambda x: x[0], sbm.inputs_of([graph], 11, cfg))
    expected = np.zeros((11, 11))
    expected[:8, :8] = graph.matrix().toarray()
    np.testing.assert_array_equal(inputs["adjacency"], expected)
    valid = jnp.arange(11) < 8
    features = compiled(jnp.asarray(expected), valid, cfg.features)
    np.testing.assert_allclose(inputs["features"], features, atol=1e-5)
    assert sbm.size_of(graph) == 8
    with pytest.raises(ValueError, match="8 nodes has no place among 7"):
        sbm.inputs_of([graph], 7, cfg)


@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist, sparse.csr_matrix])
def test_a_matrix_is_a_graph(form):
    matrix = np.array([[2.0, 0, 0, 0], [0.5, 0, 0, -1], [0, 0, 0, 0], [0, 1, 0, 0]])
    graph = as_graph(form(matrix))
    assert len(graph) == 4 and graph.edges.tolist() == [[0, 1], [1, 3]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 3)), r"shape \(n, n\), got \(2, 3\)"),
        (np.zeros((0, 0)), r"got \(0, 0\)"),
        (np.full((2, 2), np.nan), "not finite"),
        ("karate", "got str"),
        (from_pairs(np.zeros(0, int), np.zeros((0, 2))), "no nodes"),
    ],
)
def test_what_is_no_graph_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        as_graph(given)
