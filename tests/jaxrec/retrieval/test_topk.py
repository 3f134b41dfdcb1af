"""Exact search: equality with a sort, ties, exclusion, too few items, bad arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.retrieval import topk


def problem(items=50, batch=3, width=4, seed=0, levels=None):
    """Hidden vectors, table and bias; `levels` makes scores few integers, with ties."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(batch, width)).astype(np.float32)
    table = rng.normal(size=(items + 1, width)).astype(np.float32)
    bias = rng.normal(size=items + 1).astype(np.float32)
    if levels:
        hidden = np.ones_like(hidden)
        table = np.zeros_like(table)
        bias = rng.integers(0, levels, items + 1).astype(np.float32)
    return hidden, table, bias


def limits(plain, queries, items):
    return topk._CPU._replace(plain=plain, queries=queries, items=items)


top_k = jax.jit(topk.top_k, static_argnames=("k", "block"))


def by_sorting(hidden, table, bias, k, excluded=None):
    """Scores and ids by sorting: higher score first, then lower id; 0 never."""
    scores = np.asarray(hidden @ table.T + bias)
    scores[:, 0] = -np.inf
    for row, ids in zip(scores, excluded or [()] * len(scores), strict=True):
        row[list(ids)] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, 1)
    return best, np.where(best == -np.inf, 0, order)


def assert_same(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("k", [1, 7, 50])
@pytest.mark.parametrize("block", [None, 0, 32])
def test_equals_sorting(k, block):
    hidden, table, bias = problem()
    found = top_k(hidden, table, bias, k, block=block)
    assert_same(found, by_sorting(hidden, table, bias, k))


@pytest.mark.parametrize("block", [0, 32])
def test_equal_scores_go_to_the_lower_id(block):
    hidden, table, bias = problem(items=200, levels=3)
    found = top_k(hidden, table, bias, 100, block=block)
    np.testing.assert_array_equal(found[1], by_sorting(hidden, table, bias, 100)[1])


def test_padding_never_wins():
    hidden, table, bias = problem()
    bias[0] = 1e6
    _, ids = top_k(hidden, table, bias, 50)
    assert (np.sort(ids, 1) == np.arange(1, 51)).all()


@pytest.mark.parametrize("block", [0, 32])
def test_excluded_ids_are_left_out(block):
    hidden, table, bias = problem()
    excluded = [[3, 4, 5], [50, 1, 1], [0, 0, 0]]
    found = top_k(hidden, table, bias, 10, jnp.array(excluded), block=block)
    assert_same(found, by_sorting(hidden, table, bias, 10, excluded))


@pytest.mark.parametrize("block", [0, 32])
def test_bit_sets_are_left_out(block):
    hidden, table, bias = problem(items=70)
    excluded = [[31, 32, 70], [1, 64], []]
    seen = np.zeros((3, 70 // 32 + 1), np.uint32)
    for row, ids in zip(seen, excluded, strict=True):
        for i in ids:
            row[i // 32] |= np.uint32(1 << i % 32)
    found = top_k(hidden, table, bias, 20, seen=jnp.asarray(seen), block=block)
    assert_same(found, by_sorting(hidden, table, bias, 20, excluded))


def test_short_bit_sets_exclude_nothing_beyond_their_end():
    hidden, table, bias = problem(items=70, batch=1)
    seen = jnp.full((1, 1), 0xFFFFFFFF, jnp.uint32)  # items 1..31
    _, ids = top_k(hidden, table, bias, 39, seen=seen)
    assert sorted(ids[0].tolist()) == list(range(32, 71))


@pytest.mark.parametrize("block", [0, 32])
def test_too_few_items_left(block):
    hidden, table, bias = problem()
    excluded = [list(range(1, 49))] * 3  # leaves 49 and 50
    scores, ids = top_k(hidden, table, bias, 5, jnp.array(excluded), block=block)
    assert (np.sort(ids[:, :2], 1) == [49, 50]).all()
    assert (ids[:, 2:] == 0).all()
    assert np.isneginf(scores[:, 2:]).all()


@pytest.mark.parametrize("limits", [topk._CPU, topk._ACCELERATOR])
@pytest.mark.parametrize("levels", [None, 5])
@pytest.mark.parametrize("padded", [True, False])
def test_the_filter_of_large_catalogues_is_exact(monkeypatch, levels, padded, limits):
    monkeypatch.setattr(topk, "_limits", lambda: limits)
    hidden, table, bias = problem(items=40_000, batch=2, levels=levels)
    excluded = jnp.array([[7, 8, 9], [40_000, 39_999, 1]])
    assert 40_001 >= limits.filter_from
    if padded:
        index = topk.make_index(table, bias)
        assert index.columns.shape == (4, 40_064)  # the next multiple of 64
        found = topk.search(index, hidden, 30, excluded)
    else:
        found = topk.top_k(hidden, table, bias, 30, excluded)
    expected = by_sorting(hidden, table, bias, 30, excluded.tolist())
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("axis", [0, 1])
def test_products_in_parts_are_as_exact_as_float32(axis):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 64)).astype(np.float32)
    table = rng.normal(size=(64, 500)).astype(np.float32)
    exact = rows.astype(np.float64) @ table.astype(np.float64)
    found = jax.jit(topk.exact_product, static_argnums=2)(
        rows, table.T if axis else table, axis
    )
    assert np.square(found - exact).mean() <= np.square(rows @ table - exact).mean()


def test_many_queries_on_bfloat16_hardware(monkeypatch):
    monkeypatch.setattr(topk, "multiplies_bfloat16", lambda: True)
    hidden, table, bias = problem(items=200, batch=topk._MANY_QUERIES)
    expected = by_sorting(hidden, table, bias, 7)
    assert_same(topk.top_k(hidden, table, bias, 7), expected)
    index = topk.make_index(table, bias)
    assert_same(topk.search(index, hidden, 7), expected)


def test_an_index_gives_what_the_table_gives():
    hidden, table, bias = problem()
    index = topk.make_index(table, bias)
    for block in (0, 32):
        assert_same(
            topk.search(index, hidden, 50, block=block),
            top_k(hidden, table, bias, 50),
        )


def test_many_scores_are_not_held():
    hidden, table, bias = problem(items=5000, batch=8)

    def memory(block):
        def function(hidden, table, bias):
            return topk.top_k(hidden, table, bias, 10, block=block)

        compiled = jax.jit(function).lower(hidden, table, bias).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    all_scores = 8 * 5001 * 4
    assert memory(0) >= all_scores
    assert memory(512) < all_scores


def test_few_queries_of_a_large_catalogue_take_blocks_of_items(monkeypatch):
    hidden, table, bias = problem(items=500)
    expected = by_sorting(hidden, table, bias, 5)
    monkeypatch.setattr(topk, "_CPU", limits(3 * 500, 31 * 500, 3 * 128))
    blocks = []
    blocked = topk._search_blocks
    monkeypatch.setattr(
        topk, "_search_blocks", lambda *a: blocks.append(a[-1]) or blocked(*a)
    )
    assert_same(topk.top_k(hidden, table, bias, 5), expected)
    assert blocks == [128]


@pytest.mark.parametrize("mask", ["none", "exclude", "seen", "both"])
def test_many_queries_take_turns(monkeypatch, mask):
    rng = np.random.default_rng(4)
    hidden, table, bias = problem(items=50, batch=200)
    exclude = jnp.asarray(rng.integers(0, 51, (200, 6)), jnp.int32)
    seen = jnp.asarray(rng.integers(0, 2**32, (200, 2), np.uint32))
    masks = {
        "exclude": exclude if mask in ("exclude", "both") else None,
        "seen": seen if mask in ("seen", "both") else None,
    }
    expected = topk.top_k(hidden, table, bias, 9, **masks)
    monkeypatch.setattr(topk, "_CPU", limits(199 * 51, 40 * 51, 0))
    sizes, best = [], topk._best
    monkeypatch.setattr(
        topk, "_best", lambda scores, k: sizes.append(scores.shape) or best(scores, k)
    )
    assert_same(topk.top_k(hidden, table, bias, 9, **masks), expected)
    assert sizes == [(25, 51)]


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (0, r"k must be in 1\.\.50 \(the catalogue\), got 0"),
        (51, r"k must be in 1\.\.50 \(the catalogue\), got 51"),
        (2.0, "k must be an integer, got 2.0"),
        (True, "k must be an integer, got True"),
    ],
)
def test_impossible_k(k, message):
    hidden, table, bias = problem()
    with pytest.raises(ValueError, match=message):
        topk.top_k(hidden, table, bias, k)


def test_shapes_that_do_not_belong_together():
    hidden, table, bias = problem()
    with pytest.raises(
        ValueError, match=r"table and bias: .* got \(51, 4\) and \(50,\)"
    ):
        topk.top_k(hidden, table, bias[1:], 5)
    with pytest.raises(ValueError, match=r"hidden: want \(b, 4\), got \(3, 3\)"):
        topk.top_k(hidden[:, :3], table, bias, 5)
    with pytest.raises(ValueError, match=r"exclude: want \(3, n\), got \(2, 1\)"):
        topk.top_k(hidden, table, bias, 5, jnp.zeros((2, 1), jnp.int32))
    with pytest.raises(ValueError, match=r"seen: want \(3, n\), got \(3,\)"):
        topk.top_k(hidden, table, bias, 5, seen=jnp.zeros(3, jnp.uint32))
