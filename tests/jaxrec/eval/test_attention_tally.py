"""Means over users, blocks and heads, each beside its controls."""

import json

import numpy as np
import pytest

from jaxrec.eval import inductive_bias, low_rank
from jaxrec.eval.attention_tally import Tally


def users(lengths, blocks=2, heads=3, seed=0):
    rng = np.random.default_rng(seed)
    for n in lengths:
        logits = rng.normal(size=(blocks, heads, n, n))
        weights = np.where(np.tril(np.ones((n, n))), np.exp(logits), 0)
        yield weights / weights.sum(-1, keepdims=True)


def test_means_over_users_and_heads():
    lengths = (4, 9, 6)
    tally = Tally(seed=0, draws=5)
    for weights in users(lengths):
        tally.add(weights, weights.shape[-1])
    found = tally.summary()
    json.dumps(found, allow_nan=False)
    local, rank, mass, sigma = [], [], np.zeros((2, 9)), [[], []]
    for weights in users(lengths):
        n = weights.shape[-1]
        local.append(inductive_bias.figures(weights, weights != 0)["locality_1"])
        own = low_rank.singular_values(weights)
        rank.append(low_rank.figures(own)["rank_90"])
        mass[:, :n] += inductive_bias.mass_by_distance(weights).mean(1) / 3
        sigma[0].append(own.mean(1)[0, 3])
        sigma[1] += [own.mean(1)[0, 4]] if n > 4 else []
    model = found["model"]
    for name, values in (("locality_1", local), ("rank_90", rank)):
        values = np.array(values)  # (users, blocks, heads)
        figure = model["figures"][name]
        np.testing.assert_allclose(figure["mean"], values.mean((0, 2)))
        np.testing.assert_allclose(figure["heads"], values.mean(0))
        error = values.mean(2).std(0, ddof=1) / np.sqrt(3)
        np.testing.assert_allclose(figure["se"], error)
    np.testing.assert_allclose(model["mass_by_distance"], mass)
    curve = model["singular_values"][0]
    assert curve[3] == pytest.approx(np.mean(sigma[0]))
    assert curve[4] == pytest.approx(np.mean(sigma[1]))  # of two users
    r2 = model["figures"]["position_r2"]
    assert len(r2["mean"]) == 2 and len(r2["heads"][0]) == 3 and "se" not in r2


def test_controls_are_what_untrained_attention_gives():
    tally = Tally(seed=1, draws=2)
    for weights in users([8] * 60, blocks=1, heads=2):
        tally.add(weights, 8)
    found = tally.summary()
    # The "model" is random here: it is like its controls within errors.
    names = [name for name in found["model"]["figures"] if not name.endswith("r2")]
    for name in names:
        figures = [found[kind]["figures"][name] for kind in found]
        values = [figure["mean"][0] for figure in figures]
        error = 5 * np.hypot(figures[0]["se"][0], figures[1]["se"][0]) + 1e-9
        assert values[1] == pytest.approx(values[0], abs=error), name
        assert values[2] == pytest.approx(values[0], abs=error), name
    for kind in found:
        assert found[kind]["figures"]["position_r2"]["mean"][0] < 0.03
    shuffled, model = (found[kind]["figures"] for kind in ("shuffled", "model"))
    for name in ("sparsity", "over_05"):  # the same weights in another order
        np.testing.assert_allclose(shuffled[name]["heads"], model[name]["heads"])


def test_weights_that_are_no_distribution():
    rng = np.random.default_rng(0)
    place = np.exp(-np.abs(np.subtract.outer(np.arange(6), np.arange(6))))
    tally = Tally(seed=0, draws=2, pointwise=True)
    for _ in range(8):
        tally.add(np.tril(place - 0.2)[None, None] * rng.uniform(1, 3), 6)
    figures = tally.summary()["model"]["figures"]
    # |a| over its sum, whatever the size; the ranks are those of the signed weights.
    p = inductive_bias.as_distributions(np.tril(place - 0.2))
    wanted = inductive_bias.figures(p, np.tril(np.ones((6, 6), bool)))
    assert figures["locality_1"]["mean"] == pytest.approx([wanted["locality_1"]])
    sigma = low_rank.singular_values(np.tril(place - 0.2))
    wanted = low_rank.figures(sigma)["effective_rank"]
    assert figures["effective_rank"]["mean"] == pytest.approx([wanted])
    assert 0.7 < figures["distance_r2"]["mean"][0] < 1  # its size differs by user


def test_one_user_has_no_error():
    tally = Tally(seed=0, draws=1)
    tally.add(next(users([5])), 5)
    found = tally.summary()
    json.dumps(found, allow_nan=False)
    assert "se" not in found["model"]["figures"]["rank_90"]
