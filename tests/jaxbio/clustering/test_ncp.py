"""The point by point process: total probability, samples, padding, the formula."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering import ncp
from jaxbio.clustering.model import Model
from jaxbio.clustering.partitions import all_partitions, canonical
from jaxbio.clustering.points import encoder
from tests.jaxbio.clustering.small import points


@pytest.fixture(scope="module")
def made():
    cfg = ncp.Config(dim=4, clusters_dim=6, hidden=5, slots=5)
    model = Model(cfg, encoder, encoder.Config(dim=4, hidden=5, scale=2.0))
    params = ncp.init(jax.random.key(0), model)
    rng = np.random.default_rng(0)
    return model, jax.tree.map(lambda a: a + 0.1 * rng.normal(size=a.shape), params)


def keys(*shape, seed=0):
    return jax.random.split(jax.random.key(seed), shape)


@partial(jax.jit, static_argnames=("model", "orders"))
def log_prob(params, model, inputs, valid, labels, own, orders):
    encoded = ncp.encode(params, model, inputs, valid)
    options = {"orders": orders, "anchors": 1, "draws": 1}
    return ncp.log_prob(params, model, encoded, labels, own, **options)


@partial(jax.jit, static_argnames=("model", "mode"))
def sample(params, model, inputs, valid, own, mode="posterior"):
    return ncp.sample(
        params, model, ncp.encode(params, model, inputs, valid), own, mode
    )


def test_probabilities_are_total_and_samples_are_as_frequent(made):
    model, params = made
    inputs, valid = points(sets=1, size=4, padded=5)
    rows = np.pad(all_partitions(4), ((0, 0), (0, 1)), constant_values=-1)
    shared = (params, model, inputs, valid)
    found = np.exp(log_prob(*shared, rows[None], keys(1, 15), 200)[0])
    assert found.sum() == pytest.approx(1, abs=0.02)
    drawn = canonical(sample(*shared, keys(1, 20_000))[0])
    share = np.array([(drawn == row).all(1).mean() for row in rows])
    assert share.sum() == pytest.approx(1)
    np.testing.assert_allclose(share, found, atol=0.015)
    assert (found > 0.05).sum() >= 2


def test_a_point_is_placed_by_the_formula(made):
    """Equations of the paper in numpy, for one order."""
    model, params = made
    inputs, valid = points(sets=1, size=4)
    encoded = ncp.encode(params, model, inputs, valid)
    labels = jnp.asarray([[0, 1, 0, 2]])
    order = jnp.asarray([[0, 1, 2, 3]])
    found = ncp.log_points(params, model, encoded, labels, order, jnp.arange(4)[None])
    params = jax.tree.map(lambda a: np.asarray(a, float), params)
    h, q = np.asarray(encoded.points[0], float), np.asarray(encoded.codes[0], float)

    def perceptron(net, x):
        for i in range(len(net) - 1):
            x = x @ net[str(i)]["kernel"] + net[str(i)].get("bias", 0)
            if i < len(net) - 2:
                x = np.where(x >= 0, x, net["slope"] * x)
        return x

    g, f = (partial(perceptron, params[name]) for name in "gf")
    sums = [h[0]]
    assert float(found[0, 0]) == pytest.approx(0, abs=1e-6)
    for n, label in [(1, 1), (2, 0), (3, 2)]:
        behind = q[n + 1 :].sum(0)
        logits = []
        for k in range(len(sums) + 1):
            after = [*sums, np.zeros(4)][: len(sums) + (k == len(sums))]
            after[k] = after[k] + h[n]
            logits.append(f(np.concatenate([sum(map(g, after)), behind]))[0])
        expected = logits[label] - np.log(np.exp(logits).sum())
        assert float(found[0, n]) == pytest.approx(expected, abs=1e-4)
        sums = [*sums, np.zeros(4)] if label == len(sums) else sums
        sums[label] = sums[label] + h[n]


def test_some_points_stand_for_all_without_bias(made):
    model, params = made
    inputs, valid = points(sets=1, size=5, padded=6)
    count = 3000
    inputs = {"x": jnp.tile(inputs["x"], (count, 1, 1))}
    encoded = ncp.encode(params, model, inputs, jnp.tile(valid, (count, 1)))
    labels = jnp.tile(jnp.asarray([0, 1, 0, 0, 2, -1]), (count, 1))

    @partial(jax.jit, static_argnums=0)
    def totals(steps):
        options = {"most": 5, "steps": steps, "draws": 1}
        found, weight = ncp.log_steps_of(
            params, model, encoded, labels, keys(count), **options
        )
        return (found * weight).sum(1)

    some, everything = np.asarray(totals(2)), np.asarray(totals(6))
    error = float(np.std(some)) / count**0.5
    assert some.mean() == pytest.approx(everything.mean(), abs=4 * error)


def test_more_clusters_than_slots_have_no_probability(made):
    model, params = made
    inputs, valid = points(sets=1, size=7)
    rows = np.array([[[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 4, 4]]])
    found = np.asarray(log_prob(params, model, inputs, valid, rows, keys(1, 2), 2))
    assert found[0, 0] < -1e8 < -1e3 < found[0, 1]
    labels = np.asarray(sample(params, model, inputs, valid, keys(1, 50), mode="mode"))
    assert labels.max() < 5 and labels.min() == 0


def test_impossible_configurations_are_refused():
    with pytest.raises(ValueError, match="model.slots: want 1 or more, got 0"):
        ncp.Config(slots=0)
