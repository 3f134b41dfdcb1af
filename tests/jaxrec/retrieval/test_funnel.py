"""Funnel search against the same two steps by sorting, in numpy float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.retrieval import funnel, topk
from jaxrec.retrieval.funnel import FunnelIndex, funnel_search

ITEMS, WIDTH, DIMS = 90, 12, 4


def problem(batch=3, levels=None, seed=0):
    """Queries, table and bias; `levels` makes all of them few integers, with ties."""
    rng = np.random.default_rng(seed)
    shapes = (batch, WIDTH), (ITEMS + 1, WIDTH), (ITEMS + 1,)
    if levels:
        return [rng.integers(0, levels, shape).astype(np.float32) for shape in shapes]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def make_index(table, bias, dims=DIMS):
    index = topk.make_index(jnp.asarray(table), jnp.asarray(bias))
    return FunnelIndex(index.columns[:dims], jnp.asarray(table), index.bias)


def by_sorting(hidden, table, bias, k, shortlist, excluded=None, dims=DIMS):
    """Scores and ids: of the best by the first coordinates the best by all of them."""
    hidden, table = hidden.astype(np.float64), table.astype(np.float64)
    allowed = np.tile(np.where(np.arange(len(table)) == 0, -np.inf, bias), (3, 1))
    for row, ids in zip(allowed, excluded or [()] * 3, strict=True):
        row[list(ids)] = -np.inf

    def best(scores, k):
        return np.argsort(-scores, axis=1, kind="stable")[:, :k]

    first = best(hidden[:, :dims] @ table[:, :dims].T + allowed, shortlist)
    scores = np.full(allowed.shape, -np.inf)
    full = hidden @ table.T + allowed
    np.put_along_axis(scores, first, np.take_along_axis(full, first, 1), 1)
    ids = best(scores, k)
    scores = np.take_along_axis(scores, ids, 1)
    return scores, np.where(scores == -np.inf, 0, ids)


def assert_same(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize(("k", "shortlist"), [(1, 1), (5, 5), (5, 20), (20, 90)])
@pytest.mark.parametrize("levels", [None, 3])
def test_equals_sorting_twice(k, shortlist, levels):
    hidden, table, bias = problem(levels=levels)
    found = funnel_search(make_index(table, bias), hidden, k, shortlist)
    assert_same(found, by_sorting(hidden, table, bias, k, shortlist))


def test_a_shortlist_leaves_out_what_the_first_coordinates_do_not_find():
    """Or the test above compares two searches by all coordinates."""
    hidden, table, bias = problem()
    index = make_index(table, bias)
    _, ids = funnel_search(index, hidden, 5, 10)
    _, exact = topk.top_k(hidden, table, bias, 5)
    assert (ids != exact).any()


@pytest.mark.parametrize("levels", [None, 3])
def test_a_shortlist_of_all_items_is_the_exact_search(levels):
    hidden, table, bias = problem(levels=levels)
    index = make_index(table, bias)
    exact = topk.search(topk.make_index(table, bias), hidden, 40)
    found = funnel_search(index, hidden, 40, ITEMS)
    np.testing.assert_array_equal(found[1], exact[1])
    if levels:  # Integers: whatever the order of summation.
        np.testing.assert_array_equal(found[0], exact[0])
    np.testing.assert_allclose(found[0], exact[0], rtol=1e-5, atol=1e-6)


def test_excluded_items_are_in_neither_step():
    hidden, table, bias = problem()
    excluded = [[3, 4, 5], [90, 1, 1], [0, 0, 0]]
    expected = by_sorting(hidden, table, bias, 10, 15, excluded)
    index = make_index(table, bias)
    assert_same(funnel_search(index, hidden, 10, 15, jnp.array(excluded)), expected)
    seen = np.zeros((3, ITEMS // 32 + 1), np.uint32)
    for row, ids in zip(seen, excluded, strict=True):
        for i in ids:
            row[i // 32] |= np.uint32(1 << i % 32)
    found = funnel_search(index, hidden, 10, 15, seen=jnp.asarray(seen))
    assert_same(found, expected)


def test_too_few_items_left():
    hidden, table, bias = problem()
    excluded = [list(range(1, 89))] * 3  # leaves 89 and 90
    scores, ids = funnel_search(
        make_index(table, bias), hidden, 5, 7, jnp.array(excluded)
    )
    assert (np.sort(ids[:, :2], 1) == [89, 90]).all()
    assert (ids[:, 2:] == 0).all()
    assert np.isneginf(scores[:, 2:]).all()


def test_many_queries_take_turns(monkeypatch):
    rng = np.random.default_rng(1)
    _, table, bias = problem()
    hidden = rng.normal(size=(50, WIDTH)).astype(np.float32)
    index = make_index(table, bias)
    expected = funnel_search(index, hidden, 5, 20)
    monkeypatch.setattr(funnel, "_GATHERED_CPU", 8 * 20 * WIDTH)
    blocks, mapped = [], funnel.map_blocks
    monkeypatch.setattr(
        funnel, "map_blocks", lambda f, n, *a: blocks.append(n) or mapped(f, n, *a)
    )
    assert_same(funnel_search(index, hidden, 5, 20), expected)
    assert blocks == [8]


@pytest.mark.parametrize(
    ("k", "shortlist", "message"),
    [
        (0, 10, r"k must be in 1\.\.127"),
        (10, 9, r"shortlist: want 10 \(k\) to 127, got 9"),
        (10, 128, r"shortlist: want 10 \(k\) to 127, got 128"),
    ],
)
def test_impossible_sizes(k, shortlist, message):
    hidden, table, bias = problem()
    with pytest.raises(ValueError, match=message):
        funnel_search(make_index(table, bias), hidden, k, shortlist)


def test_queries_of_another_width():
    hidden, table, bias = problem()
    with pytest.raises(ValueError, match=r"hidden: want \(b, 12\), got \(3, 4\)"):
        funnel_search(make_index(table, bias), hidden[:, :DIMS], 5, 10)
