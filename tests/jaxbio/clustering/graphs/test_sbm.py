"""Laws of the stochastic block models, the form of a draw, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.graphs import sbm, symmetric_sbm
from jaxbio.clustering.graphs.features import Features
from jaxrec.core.config import dataclass_from

FEW = Features(eigenvectors=0)


@functools.cache
def draws(module, cfg, count):
    draw = jax.jit(jax.vmap(functools.partial(module.draw, cfg=cfg)))
    drawn = draw(jax.random.split(jax.random.key(0), count))
    return jax.tree.map(np.asarray, drawn)


GENERAL = sbm.Config(min_points=20, max_points=40, features=Features(eigenvectors=4))
SYMMETRIC = symmetric_sbm.Config(min_points=20, max_points=40, features=FEW)


@pytest.mark.parametrize(
    ("module", "cfg", "width"), [(sbm, GENERAL, 6), (symmetric_sbm, SYMMETRIC, 2)]
)
def test_draws_are_graphs_that_are_zero_at_padded_nodes(module, cfg, width):
    drawn = draws(module, cfg, 400)
    drawn = jax.tree.map(lambda array: array[:8], drawn)
    adjacency, labels = drawn["inputs"]["adjacency"], drawn["labels"]
    features = drawn["inputs"]["features"]
    assert adjacency.shape == (8, 40, 40) and features.shape == (8, 40, width)
    assert labels.dtype == np.int32 and labels.max() < 12
    sizes = (labels >= 0).sum(1)
    assert sizes.min() >= 20 and len(set(sizes)) > 2
    np.testing.assert_array_equal(labels >= 0, np.arange(40) < sizes[:, None])
    np.testing.assert_array_equal(adjacency, adjacency.swapaxes(1, 2))
    assert set(np.unique(adjacency)) == {0, 1}
    assert not np.einsum("bii->bi", adjacency).any()
    assert not adjacency[labels < 0].any() and not features[labels < 0].any()
    assert adjacency.any((1, 2)).all() and features[labels >= 0].any()


def test_edges_inside_and_between_blocks_have_their_mean_probabilities():
    drawn = draws(sbm, GENERAL, 400)
    pairs = zip(drawn["labels"], drawn["inputs"]["adjacency"], strict=True)
    inside, between = [], []
    for labels, adjacency in pairs:
        # One pair of each kind per graph, so that pairs are independent.
        for edges, at in (
            (inside, labels == labels[0]),
            (between, (labels != labels[0]) & (labels >= 0)),
        ):
            others = np.flatnonzero(at[1:]) + 1
            edges.extend(adjacency[0, others[:1]])
    # Standard errors are below .025.
    assert np.mean(inside) == pytest.approx(2 / 3, abs=0.07)
    assert np.mean(between) == pytest.approx(1 / 6, abs=0.07)


def test_every_pair_of_blocks_has_its_own_probability():
    labels = jnp.array([0] * 5 + [1] * 6 + [2] * 4 + [-1] * 3)
    rates = jnp.array([[0.9, 0.2, 0.0], [0.2, 0.5, 1.0], [0.0, 1.0, 0.1]])

    @jax.vmap
    def adjacency(key):
        return sbm.graph_of(key, key, labels, rates, FEW)["inputs"]["adjacency"]

    mean = np.asarray(adjacency(jax.random.split(jax.random.key(0), 400)).mean(0))
    pairs = np.triu(np.ones((15, 15), bool), 1)
    expected = np.asarray(rates)[labels[:15, None], labels[:15]]
    np.testing.assert_allclose(mean[:15, :15][pairs], expected[pairs], atol=0.1)
    assert not mean[15:].any()


@pytest.mark.parametrize("sign", [1, -1])
def test_rates_have_the_mean_degree_and_the_ratio(sign):
    c_in, c_out = symmetric_sbm.rates(jnp.array(4), 12.0, 0.5, sign)
    assert (c_in + 3 * c_out) / 4 == pytest.approx(12, rel=1e-5)
    assert symmetric_sbm.signal_to_noise(4, c_in, c_out) == pytest.approx(0.5, rel=1e-4)
    assert sign * (c_in - c_out) > 0


def test_the_published_benchmark_is_the_one_named():
    # p = 0, q = .045, 400 nodes, 5 blocks.
    assert symmetric_sbm.signal_to_noise(5, 0, 18) == pytest.approx(0.9)
    c_in, c_out = symmetric_sbm.rates(jnp.array(5), 14.4, 0.9, -1)
    assert c_in == pytest.approx(0, abs=1e-4) and c_out == pytest.approx(18, rel=1e-5)


def test_a_ratio_that_cannot_be_had_is_the_largest_possible():
    for sign, expected in ((1, (8, 0)), (-1, (0, 8))):
        found = symmetric_sbm.rates(jnp.array(2), 4.0, 50.0, sign)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    one = symmetric_sbm.rates(jnp.array(1), 4.0, 2.0, 1)
    np.testing.assert_allclose(one, (4, 4))


def test_blocks_are_equal_and_edges_follow_the_rates():
    cfg = symmetric_sbm.Config(90, 90, (3, 3), (12.0, 12.0), (4.0, 4.0), features=FEW)
    drawn = draws(symmetric_sbm, cfg, 40)
    labels, adjacency = drawn["labels"][0], drawn["inputs"]["adjacency"]
    assert list(np.bincount(labels)) == [30, 30, 30]
    same = labels[:, None] == labels
    c_in, c_out = symmetric_sbm.rates(jnp.array(3), 12.0, 4.0, 1)
    off = ~np.eye(90, dtype=bool)
    assert adjacency[:, same & off].mean() * 90 == pytest.approx(float(c_in), rel=0.04)
    assert adjacency[:, ~same].mean() * 90 == pytest.approx(float(c_out), rel=0.1)


def test_a_configuration_is_read_from_a_mapping():
    mapping = {"max_points": 64, "within": [2.0, 2], "features": {"eigenvectors": 3}}
    cfg = dataclass_from(sbm.Config, mapping)
    assert cfg.within == (2.0, 2) and cfg.features.eigenvectors == 3
    assert symmetric_sbm.Config(clusters=(2, 7)).max_clusters == 7


@pytest.mark.parametrize(
    ("module", "values", "named"),
    [
        (sbm, {"min_points": 1}, "min_points"),
        (sbm, {"max_points": 40}, "max_points"),
        (sbm, {"within": (0.0, 1.0)}, "within"),
        (sbm, {"alpha": 0.0}, "alpha"),
        (symmetric_sbm, {"min_points": 301}, "min_points"),
        (symmetric_sbm, {"clusters": (0, 2)}, "clusters"),
        (symmetric_sbm, {"degree": (5.0, 3.0)}, "degree"),
        (symmetric_sbm, {"disassortative": 1.5}, "disassortative"),
    ],
)
def test_impossible_values_are_refused_by_name(module, values, named):
    with pytest.raises(ValueError, match=named):
        module.Config(**values)
