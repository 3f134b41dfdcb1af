"""Inductive bias: measures against loops, and place against content."""

import math

import numpy as np
import pytest

from jaxrec.eval import inductive_bias
from jaxrec.eval.inductive_bias import PlaceFit, figures


def causal(n):
    return np.tril(np.ones((n, n), bool))


def both_ways(n):
    return np.ones((n, n), bool)


def uniform(mask):
    return mask / mask.sum(-1, keepdims=True)


def softmax(rng, mask, scale=2.0):
    weights = np.where(mask, np.exp(scale * rng.normal(size=mask.shape)), 0)
    return weights / weights.sum(-1, keepdims=True)


def test_identity():
    found = figures(np.eye(5), both_ways(5))
    assert found["locality_1"] == 1 and found["mean_distance"] == 0
    assert found["sparsity"] == 1 and found["over_05"] == 1
    assert found["recency_1"] == 1


def test_uniform():
    n = 9
    found = figures(uniform(both_ways(n)), both_ways(n))
    assert found["mean_distance"] == pytest.approx((n * n - 1) / (3 * n))
    assert found["sparsity"] == pytest.approx(0)
    assert found["over_05"] == n and found["recency_5"] == pytest.approx(5 / n)
    found = figures(uniform(causal(n)), causal(n))
    assert found["mean_distance"] == pytest.approx((n - 1) / 4)
    assert found["sparsity"] == pytest.approx(0)
    assert found["locality_1"] == pytest.approx(
        (1 + sum(2 / m for m in range(2, n + 1))) / n
    )
    assert found["locality_8"] == pytest.approx(1)


@pytest.mark.parametrize("mask", [causal, both_ways])
def test_measures_equal_loops(mask):
    n, rng = 11, np.random.default_rng(0)
    allowed = np.broadcast_to(mask(n), (2, 3, n, n))
    p = softmax(rng, allowed)
    found = figures(p, mask(n), history=n - 1)
    mass = inductive_bias.mass_by_distance(p)
    for place in np.ndindex(2, 3):
        a = p[place]
        wanted = {name: 0.0 for name in found}
        of_distance, several = np.zeros(n), 0
        for i in range(n):
            keys = np.flatnonzero(mask(n)[i])
            for j in keys:
                of_distance[abs(i - j)] += a[i, j] / n
                for w in inductive_bias.WIDTHS:
                    wanted[f"locality_{w}"] += a[i, j] / n * (abs(i - j) <= w)
                wanted["mean_distance"] += a[i, j] / n * abs(i - j)
                wanted["over_05"] += (a[i, j] > 0.05) / n
            if len(keys) > 1:
                h = -sum(x * math.log(x) for x in a[i, keys])
                wanted["sparsity"] += 1 - h / math.log(len(keys))
                several += 1
        wanted["sparsity"] /= several
        wanted["recency_1"] = a[-1, n - 2]
        wanted["recency_5"] = a[-1, n - 6 : n - 1].sum()
        for name, value in wanted.items():
            assert found[name][place] == pytest.approx(value), name
        np.testing.assert_allclose(mass[place], of_distance)
    np.testing.assert_allclose(mass.sum(-1), 1)


def test_short_histories():
    found = figures(uniform(causal(2)), causal(2), history=1)
    assert found["recency_1"] == found["recency_5"] == 0.5
    assert found["sparsity"] == pytest.approx(0)


def test_signed_weights_and_a_part_of_them():
    weights = np.array([[2.0, -1.0, 1.0], [0.0, 0.5, 0.5], [1.0, 1.0, 2.0]])
    p = inductive_bias.as_distributions(weights)
    np.testing.assert_allclose(p[0], [0.5, 0.25, 0.25])
    np.testing.assert_allclose(p.sum(-1), 1)
    lower = inductive_bias.not_after(p)
    np.testing.assert_allclose(lower, [[1, 0, 0], [0, 1, 0], [0.25, 0.25, 0.5]])


def test_rows_by_signed_distance():
    rows = inductive_bias.by_distance(np.arange(1, 10).reshape(3, 3))
    assert rows.tolist() == [[3, 2, 1, 0, 0], [0, 6, 5, 4, 0], [0, 0, 9, 8, 7]]


LENGTHS = (5, 3, 8, 8, 6)


def fitted(make, mask, lengths=LENGTHS, heads=1):
    """R^2 of users whose y (1, heads, n, n) `make` gives."""
    fit = PlaceFit()
    for n in lengths:
        allowed = np.broadcast_to(mask(n), (heads, n, n))
        fit.add(make(n)[None], allowed)
    return {name: value[0] for name, value in fit.r2().items()}


def dummies_r2(ys, masks):
    """The same by least squares with one column per row and place, all users."""
    targets, centred, columns = [], [], {"distance_r2": [], "position_r2": []}
    for user, (y, mask) in enumerate(zip(ys, masks, strict=True)):
        for i in range(len(y)):
            keys = np.flatnonzero(mask[i])
            targets.extend(y[i, keys])
            centred.extend(y[i, keys] - y[i, keys].mean())
            for j in keys:
                columns["distance_r2"].append([("row", user, i), i - j])
                columns["position_r2"].append([("row", user, i), (i, j)])
    found = {}
    for name, chosen in columns.items():
        known = {c: k for k, c in enumerate(dict.fromkeys(sum(chosen, [])))}
        design = np.zeros((len(targets), len(known)))
        for row, pair in enumerate(chosen):
            design[row, [known[c] for c in pair]] = 1
        fit = design @ np.linalg.lstsq(design, np.array(targets), rcond=None)[0]
        left = np.square(np.array(targets) - fit).sum()
        found[name] = 1 - left / np.square(centred).sum()
    return found


def local(n):
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 2


@pytest.mark.parametrize("mask", [causal, both_ways, local])
def test_place_fit_equals_least_squares_with_dummies(mask):
    rng = np.random.default_rng(0)
    curve = rng.normal(size=20)
    place = np.subtract.outer(np.arange(8), np.arange(8)) + 9
    ys = [curve[place[:n, :n]] + rng.normal(size=(n, n)) for n in LENGTHS]
    queue = list(ys)
    found = fitted(lambda n: queue.pop(0)[None], mask)
    wanted = dummies_r2(ys, [mask(n) for n in LENGTHS])
    for name, value in wanted.items():
        assert 0.1 < value < 0.99
        np.testing.assert_allclose(found[name], [value], rtol=1e-9)


@pytest.mark.parametrize("mask", [causal, both_ways, local])
def test_attention_by_place_only(mask):
    rng = np.random.default_rng(1)
    curve, places = rng.normal(size=20), rng.normal(size=(8, 8))
    distance = np.subtract.outer(np.arange(8), np.arange(8)) + 9

    def make(n):  # Rows may differ by anything: a softmax does not see it.
        y = np.stack([curve[distance], places])[:, :n, :n]
        return y + rng.normal(size=(2, n, 1))

    found = fitted(make, mask, heads=2)
    np.testing.assert_allclose(found["distance_r2"][0], 1)
    np.testing.assert_allclose(found["position_r2"], 1)
    assert found["distance_r2"][1] < 0.9


def test_attention_by_content_only():
    rng = np.random.default_rng(2)
    users, heads = 60, 20

    def make(n):
        return rng.normal(size=(heads, n, n))

    found = fitted(make, both_ways, [9] * users, heads)
    # Free parameters over free weights, of which a row of 9 has 8.
    assert found["position_r2"].mean() == pytest.approx(1 / users, rel=0.1)
    free = 16 / (users * 72)
    assert found["distance_r2"].mean() == pytest.approx(free, rel=0.3)


def test_nothing_varies_and_heads_with_other_masks():
    n = 6
    fit = PlaceFit()
    rng = np.random.default_rng(3)
    y = np.stack([np.zeros((n, n)), rng.normal(size=(n, n))])[None]
    fit.add(y, np.stack([both_ways(n), local(n)]))
    assert fit.r2()["position_r2"].tolist() == [[0, pytest.approx(1)]]
    alone = PlaceFit()
    alone.add(y[:, 1:], local(n)[None])
    np.testing.assert_allclose(
        fit.r2()["distance_r2"][:, 1:], alone.r2()["distance_r2"]
    )
