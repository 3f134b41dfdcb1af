"""Samples and probabilities of partitions agree with each other, and are total."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering import model as process
from jaxbio.clustering import probability, programs, sampler
from jaxbio.clustering.partitions import all_partitions, canonical
from tests.jaxbio.clustering.small import made, points


def keys(*shape, seed=0):
    return jax.random.split(jax.random.key(seed), shape)


@partial(jax.jit, static_argnames=("model", "orders", "anchors", "draws"))
def log_prob(params, model, inputs, valid, labels, own, **options):
    encoded = process.encode(params, model, inputs, valid)
    return probability.log_prob(params, model, encoded, labels, own, **options)


@partial(jax.jit, static_argnames=("model", "mode"))
def sample(params, model, inputs, valid, own, mode="posterior"):
    encoded = process.encode(params, model, inputs, valid)
    return sampler.sample(params, model, encoded, own, mode)


@pytest.mark.parametrize("variant", ["acp", "ccp"])
def test_all_partitions_of_five_points_have_probability_one(variant):
    model, params = made(variant)
    inputs, valid = points(sets=1, size=5, padded=7)
    rows = np.pad(all_partitions(5), ((0, 0), (0, 2)), constant_values=-1)
    labels = jnp.asarray(rows[None])
    options = {"orders": 200, "anchors": probability.ALL}
    found = log_prob(params, model, inputs, valid, labels, keys(1, 52), **options)
    assert np.exp(found).sum() == pytest.approx(1, abs=0.02)


def test_samples_are_as_frequent_as_their_probability():
    model, params = made("acp")
    inputs, valid = points(sets=1, size=4)
    rows = all_partitions(4)
    options = {"orders": 300, "anchors": probability.ALL}
    exact = np.exp(
        log_prob(params, model, inputs, valid, rows[None], keys(1, 15), **options)[0]
    )
    drawn = canonical(sample(params, model, inputs, valid, keys(1, 20_000))[0])
    found = np.array([(drawn == row).all(1).mean() for row in rows])
    assert found.sum() == 1
    np.testing.assert_allclose(found, exact, atol=0.015)
    assert (exact > 0.05).sum() >= 2


def test_few_anchors_estimate_what_all_give():
    model, params = made("acp")
    inputs, valid = points(sets=1, size=6)
    labels = canonical(sample(params, model, inputs, valid, keys(1, 1)))
    shared = (params, model, inputs, valid, labels, keys(1, 1))
    everything = log_prob(*shared, orders=400, anchors=probability.ALL)
    few = log_prob(*shared, orders=2000, anchors=1)
    np.testing.assert_allclose(few, everything, atol=0.1)


def test_a_gaussian_latents_probabilities_are_total():
    model, params = made("acp", "gaussian")
    inputs, valid = points(sets=1, size=3)
    labels = jnp.asarray(all_partitions(3)[None])
    options = {"orders": 200, "anchors": probability.ALL, "draws": 100}
    found = log_prob(params, model, inputs, valid, labels, keys(1, 5), **options)
    assert np.exp(found).sum() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("mode", ["posterior", "mode"])
@pytest.mark.parametrize("latent", ["mixture", "gaussian"])
def test_every_point_and_no_padding_gets_a_cluster(mode, latent):
    model, params = made("acp", latent)
    inputs, valid = points(sets=2, size=5, padded=8)
    labels = np.asarray(sample(params, model, inputs, valid, keys(2, 7), mode=mode))
    assert labels.shape == (2, 7, 8)
    assert (labels[..., 5:] == -1).all() and (labels[..., :5] >= 0).all()
    for row in labels.reshape(-1, 8):
        assert set(row[:5]) == set(range(row.max() + 1))  # none was empty


def test_pieces_and_company_change_no_sample(monkeypatch):
    """A set's samples do not depend on how many there are, nor on other sets."""
    model, params = made("acp")
    inputs, valid = points(sets=3, size=6)
    own = keys(3)
    whole = programs.sample(params, model, inputs, valid, own, 10, "posterior")
    alone = programs.sample(
        params, model, {"x": inputs["x"][1:2]}, valid[1:2], own[1:2], 4, "posterior"
    )
    np.testing.assert_array_equal(whole[1:2, :4], alone)
    labels = canonical(whole)
    options = {"orders": 3, "anchors": 2, "draws": 1}
    found = programs.log_prob(params, model, inputs, valid, labels, own, **options)
    monkeypatch.setattr(programs, "_POINTS", {"cpu": 3 * 6 * 4})
    jax.clear_caches()
    pieces = programs.sample(params, model, inputs, valid, own, 10, "posterior")
    np.testing.assert_array_equal(whole, pieces)
    again = programs.log_prob(params, model, inputs, valid, labels, own, **options)
    np.testing.assert_allclose(found, again, rtol=1e-5, atol=1e-5)
    calls = programs.in_calls(10, valid.size)
    assert calls == [(0, 10)] and programs.in_calls(40, valid.size) == [
        *((first, 14) for first in (0, 14, 28))
    ]
    later = programs.sample(params, model, inputs, valid, own, 3, "posterior", 7)
    np.testing.assert_array_equal(whole[:, 7:], later)
    rest = programs.log_prob(
        params, model, inputs, valid, labels[:, 7:], own, first=7, **options
    )
    np.testing.assert_allclose(found[:, 7:], rest, rtol=1e-5, atol=1e-5)


def test_a_drawn_member_is_uniform_and_one():
    members = jnp.asarray([[[False, True, True, False, True]]] * 30_000)
    drawn = np.asarray(sampler.draw_member(keys(30_000, 1), members))[:, 0]
    assert set(drawn) == {1, 2, 4}
    np.testing.assert_allclose(np.bincount(drawn)[[1, 2, 4]] / 30_000, 1 / 3, atol=0.02)
