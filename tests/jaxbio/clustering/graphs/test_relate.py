"""What is known of a node relative to an anchor."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxbio.clustering.graphs import encoding, sage
from tests.jaxbio.clustering.graphs.planted import planted

CFG = sage.Config(features=5)
relate = jax.jit(encoding.relate, static_argnums=0)


def batch(count=3, length=30):
    """Inputs and labels of graphs of 20 to 25 nodes."""
    graphs = [planted(20 + seed % 6, length, seed) for seed in range(count)]
    adjacency, valid, labels = (np.stack(part) for part in zip(*graphs, strict=True))
    x = np.random.default_rng(0).normal(size=(count, length, 5)) * valid[..., None]
    return {"features": jnp.asarray(x), "adjacency": jnp.asarray(adjacency)}, labels


def test_columns_are_edges_correlations_and_distances():
    inputs, _ = batch()
    anchor = jnp.array([[0, 4], [7, 7], [2, 19]])
    found = np.asarray(relate(CFG, inputs, anchor))
    assert found.shape == (3, 2, 30, sage.related_dim(CFG))
    for graph, row in np.ndindex(3, 2):
        at = int(anchor[graph, row])
        adjacency = np.asarray(inputs["adjacency"][graph], np.float64)
        features = np.asarray(inputs["features"][graph])
        tied = adjacency.any(1)
        near = adjacency[at] @ adjacency
        columns = found[graph, row]
        np.testing.assert_array_equal(columns[:, 0], adjacency[at])
        np.testing.assert_array_equal(columns[:, 3:], np.abs(features - features[at]))
        for column, vector in ((1, adjacency[at]), (2, near)):
            for node in np.flatnonzero(tied):
                pair = vector[tied], adjacency[node, tied]
                expected = np.corrcoef(*pair)[0, 1] * tied.sum() ** 0.5
                np.testing.assert_allclose(columns[node, column], expected, atol=1e-3)


def test_more_padding_changes_nothing():
    inputs, _ = batch()
    anchor = jnp.array([[0], [3], [5]])
    wider = {
        "features": jnp.pad(inputs["features"], ((0, 0), (0, 6), (0, 0))),
        "adjacency": jnp.pad(inputs["adjacency"], ((0, 0), (0, 6), (0, 6))),
    }
    padded = relate(CFG, wider, anchor)
    np.testing.assert_allclose(
        padded[:, :, :30], relate(CFG, inputs, anchor), atol=1e-5
    )


def test_nodes_of_one_block_are_nearer_than_others():
    inputs, labels = batch(8)
    found = np.asarray(relate(CFG, inputs, jnp.zeros((8, 1), int)))
    same, other = [], []
    for columns, blocks in zip(found, labels, strict=True):
        alike = columns[0, 1:, 2]
        same.extend(alike[blocks[1:] == blocks[0]])
        other.extend(alike[(blocks[1:] != blocks[0]) & (blocks[1:] >= 0)])
    assert np.mean(same) > np.mean(other) + 1
