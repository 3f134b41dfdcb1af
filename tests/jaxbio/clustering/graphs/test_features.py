"""Eigenvectors against LAPACK's in float64, padding, signs, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.graphs.features import Features
from jaxbio.clustering.graphs.features import node_features as plain_node_features
from tests.jaxbio.clustering.graphs.planted import planted

# Compiled, which takes less time than one by one the operations.
node_features = jax.jit(plain_node_features, static_argnames="cfg")


def reference(adjacency, operator, count):
    """Magnitudes and eigenvectors in float64, and Laplacian eigenvalues increasing."""
    degree = np.maximum(adjacency.sum(1), 1).astype(np.float64)
    if operator == "regularised":
        degree = adjacency.sum(1) + adjacency.sum() / len(adjacency) / 4
    normalised = adjacency / np.sqrt(degree[:, None] * degree)
    matrix = adjacency.astype(np.float64) if operator == "adjacency" else normalised
    values, vectors = np.linalg.eigh(matrix)
    if operator == "laplacian":
        return values[::-1][1 : count + 1], vectors[:, ::-1][:, 1 : count + 1]
    order = np.argsort(-np.abs(values))[:count]
    vectors = vectors[:, order]
    if operator == "regularised":
        vectors = vectors * np.sqrt(degree.mean() / degree)[:, None]
    return np.abs(values[order]), vectors


def same_up_to_sign(one, other, tolerance):
    signs = np.sign((one * other).sum(0))
    np.testing.assert_allclose(one, other * signs, atol=tolerance)


@pytest.mark.parametrize(
    "operator", ["laplacian", "normalised", "adjacency", "regularised"]
)
@pytest.mark.parametrize("length", [60, 75])
def test_exact_eigenvectors_are_those_of_float64(operator, length):
    adjacency, valid, _ = planted(length=length)
    cfg = Features(6, operator, "none", iterations=0, degree=False)
    found = np.asarray(node_features(jnp.asarray(adjacency), jnp.asarray(valid), cfg))
    _, vectors = reference(adjacency[:60, :60], operator, 6)
    same_up_to_sign(found[:60], vectors, 2e-4)
    assert not found[60:].any()


@pytest.mark.parametrize("operator", ["normalised", "adjacency"])
def test_iterations_find_the_eigenvectors_beyond_the_bulk(operator):
    adjacency, valid, _ = planted(length=70)
    cfg = Features(20, operator, "none", degree=False)
    found = np.asarray(node_features(jnp.asarray(adjacency), jnp.asarray(valid), cfg))
    _, vectors = reference(adjacency[:60, :60], operator, 3)
    same_up_to_sign(found[:60, :3], vectors, 2e-4)


def test_weights_are_the_root_of_the_size_and_the_eigenvalues():
    adjacency, valid, _ = planted(length=64)
    values, vectors = reference(adjacency[:60, :60], "normalised", 5)
    for weighting, weight in (
        ("root_size", np.ones(5)),
        ("eigenvalue", values / values[0]),
    ):
        cfg = Features(5, weighting=weighting, iterations=0, degree=False)
        found = node_features(jnp.asarray(adjacency), jnp.asarray(valid), cfg)
        same_up_to_sign(np.asarray(found)[:60], vectors * 60**0.5 * weight, 2e-3)


def test_degrees_are_standardised_and_relative_to_the_size():
    adjacency, valid, _ = planted(length=64)
    cfg = Features(eigenvectors=0)
    found = np.asarray(node_features(jnp.asarray(adjacency), jnp.asarray(valid), cfg))
    log = np.log(adjacency[:60].sum(1))
    np.testing.assert_allclose(found[:60, 0], (log - log.mean()) / log.std(), atol=2e-2)
    np.testing.assert_allclose(found[:60, 1], log - np.log(60), atol=1e-5)
    assert not found[60:].any()


@pytest.mark.parametrize("iterations", [0, 8])
def test_a_graph_smaller_than_the_columns_or_without_edges_is_finite(iterations):
    cfg = Features(eigenvectors=8, iterations=iterations)
    adjacency = jnp.zeros((12, 12)).at[0, 1].set(1).at[1, 0].set(1)
    for graph in (adjacency, jnp.zeros((12, 12)), adjacency[:4, :4]):
        valid = jnp.arange(len(graph)) < 4
        found = np.asarray(node_features(graph, valid, cfg, jax.random.key(0)))
        assert found.shape == (len(graph), 10) and np.isfinite(found).all()
        assert not found[:, 4:8].any() and not found[4:].any()


def test_a_key_draws_signs_and_noise_and_nothing_else():
    adjacency, valid, _ = planted()
    cfg = Features(eigenvectors=12, random=3)
    graph = jnp.asarray(adjacency), jnp.asarray(valid)
    plain = np.asarray(node_features(*graph, cfg))
    drawn = np.asarray(node_features(*graph, cfg, jax.random.key(1)))
    signs = np.sign((plain * drawn)[:, :12].sum(0))
    assert {-1, 1} == set(signs)
    np.testing.assert_array_equal(drawn[:, :12], plain[:, :12] * signs)
    np.testing.assert_array_equal(drawn[:, 12:14], plain[:, 12:14])
    assert not np.allclose(drawn[:, 14:], plain[:, 14:])
    np.testing.assert_array_equal(plain, node_features(*graph, cfg))
    assert plain.shape[1] == cfg.width == 17


@pytest.mark.parametrize(
    "values", [{"eigenvectors": -1}, {"eigenvectors": 0, "degree": False}]
)
def test_what_no_columns_can_be_made_of_is_refused(values):
    with pytest.raises(ValueError, match="eigenvectors"):
        Features(**values)


def test_regularised_eigenvectors_do_not_show_degrees():
    """Two blocks of unequal nodes: the second column is constant in each block."""
    rng = np.random.default_rng(0)
    theta = rng.uniform(0.2, 1.0, 60)
    block = np.arange(60) % 2
    rates = np.where(block[:, None] == block, 0.9, 0.1) * np.outer(theta, theta)
    adjacency = rates - np.diag(np.diag(rates))
    valid = np.ones(60, bool)
    spread = {}
    for operator in ("normalised", "regularised"):
        cfg = Features(2, operator, "root_size", iterations=0, degree=False)
        column = np.asarray(node_features(jnp.asarray(adjacency), valid, cfg))[:, 1]
        means = np.array([column[block == k].mean() for k in (0, 1)])
        assert means[0] * means[1] < 0
        spread[operator] = (column - means[block]).std() / abs(means[0])
    assert spread["regularised"] < 0.6 * spread["normalised"]
