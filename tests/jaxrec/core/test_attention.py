"""Attention: who sees whom, the two forms of the product, and positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.attention import (
    attend,
    attention_mask,
    attention_weights,
    segment_positions,
)
from jaxrec.core.dropout import row_keys
from tests.jaxrec.compiling import numpy_jit

SLOTS = jnp.arange(5)[None]


def seen(**options):
    mask = attention_mask(SLOTS, SLOTS, **{"causal": True} | options)
    return np.asarray(mask).astype(int)


def test_causal_and_not():
    np.testing.assert_array_equal(seen(), np.tril(np.ones((1, 1, 5, 5), int)))
    np.testing.assert_array_equal(seen(causal=False), np.ones((1, 1, 5, 5), int))


def test_padding_is_seen_by_itself_only():
    real = jnp.array([[False, False, True, True, True], [True] * 3 + [False] * 2])
    mask = seen(real=real, causal=False)
    assert mask[0, 0].tolist() == [
        [1, 0, 1, 1, 1],
        [0, 1, 1, 1, 1],
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1],
    ]
    assert mask[1, 0, 4].tolist() == [1, 1, 1, 0, 1]
    causal = seen(real=real)
    np.testing.assert_array_equal(causal, mask * np.tril(np.ones((5, 5), int)))


def test_segments_do_not_see_each_other():
    segments = jnp.array([[1, 1, 2, 2, 2]])
    mask = seen(segments=(segments, segments), causal=False)
    np.testing.assert_array_equal(mask[0, 0, :2, :2], 1)
    np.testing.assert_array_equal(mask[0, 0, 2:, 2:], 1)
    assert mask.sum() == 4 + 9


def test_windows_belong_to_heads():
    mask = seen(windows=(0, 1, 3), causal=False)[0]
    distance = np.abs(np.arange(5)[:, None] - np.arange(5))
    np.testing.assert_array_equal(mask[0], 1)
    np.testing.assert_array_equal(mask[1], distance <= 1)
    np.testing.assert_array_equal(mask[2], distance <= 3)
    assert seen(windows=(0, 0)).shape == (1, 1, 5, 5)
    with pytest.raises(ValueError, match=r"windows: want 0 or more, got \(2, -1\)"):
        seen(windows=(2, -1))


def test_some_queries_only():
    queries = jnp.array([[4, 0], [2, 2]])
    mask = np.asarray(attention_mask(queries, SLOTS, causal=True))
    assert mask.shape == (2, 1, 2, 5)
    np.testing.assert_array_equal(mask.sum(-1), [[[5, 1]], [[3, 3]]])


def draw(seed=0, q=7, k=9, heads=2, width=4):
    rng = np.random.default_rng(seed)
    shapes = ((3, q, heads, width), (3, k, heads, width), (3, k, heads, width))
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    mask = rng.random((3, heads, q, k)) < 0.5
    mask[..., 0] = True
    return (*arrays, mask)


def by_hand(q, k, v, mask):
    """In float64, one query after the other."""
    y = np.zeros(q.shape)
    for b, i, h in np.ndindex(q.shape[:3]):
        keys = np.flatnonzero(mask[b, h, i])
        scores = k[b, keys, h].astype(float) @ q[b, i, h] / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max())
        y[b, i, h] = weights @ v[b, keys, h] / weights.sum()
    return y


def outputs_and_gradients(q, k, v, mask, form):
    def total(*arrays):
        y = attend(*arrays, mask, form=form)
        return (y**2).sum(), y

    grads, y = jax.grad(total, (0, 1, 2), has_aux=True)(q, k, v)
    return y, grads


compiled = numpy_jit(outputs_and_gradients, static_argnums=4)


def test_both_forms_equal_the_definition_and_each_other():
    arrays = draw()
    y, grads = compiled(*arrays, "einsum")
    np.testing.assert_allclose(y, by_hand(*arrays), rtol=0, atol=1e-6)
    other, other_grads = compiled(*arrays, "library")
    np.testing.assert_allclose(other, y, rtol=0, atol=1e-6)
    for one, two in zip(grads, other_grads, strict=True):
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)
        assert np.abs(one).max() > 0.1
    chosen, _ = compiled(*arrays, "auto")
    np.testing.assert_array_equal(chosen, y)  # on a CPU


def test_large_scores_are_no_nan():
    q, k, v, mask = draw(1)
    y, grads = compiled(1e3 * q, 1e3 * k, v, mask, "einsum")
    for array in (y, *grads):
        assert np.isfinite(array).all()


def test_weights_are_those_of_the_product():
    q, k, v, mask = draw()
    weights = np.asarray(attention_weights(q, k, mask))
    assert weights.dtype == np.float32
    y = np.einsum("bhqk,bkhe->bqhe", weights, v)
    np.testing.assert_allclose(y, by_hand(q, k, v, mask), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(weights != 0, mask)
    # Also where a probability is below every float32.
    sharp = np.asarray(attention_weights(1e3 * q, 1e3 * k, mask))
    np.testing.assert_array_equal(sharp != 0, mask)
    np.testing.assert_allclose(sharp.sum(-1), 1, rtol=1e-6)
    half = attention_weights(q.astype(jnp.bfloat16), k.astype(jnp.bfloat16), mask)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, weights, atol=0.05)


def test_what_is_not_seen_has_no_part_in_it():
    q, k, v, mask = draw(2)
    assert mask.any((0, 1, 2)).all()
    mask = mask & ~(np.arange(9) == 5)
    y, grads = compiled(q, k, v, mask, "einsum")
    changed = v.copy()
    changed[:, 5] = 1e6
    np.testing.assert_array_equal(compiled(q, k, changed, mask, "einsum")[0], y)
    np.testing.assert_array_equal(grads[2][:, 5], 0)


def test_dropout_of_probabilities_keeps_the_mean():
    q, k, _, mask = draw(3)
    rows = 4000
    many = [np.broadcast_to(a[:1], (rows, *a.shape[1:])) for a in (q, k, mask)]
    v = np.ones((rows, 9, 2, 4), np.float32)
    keys = row_keys(jax.random.key(0), jnp.arange(rows))
    drop = numpy_jit(
        lambda q, k, v, mask: attend(q, k, v, mask, rate=0.5, dropout_keys=keys)
    )
    y = drop(many[0], many[1], v, many[2])
    # Values of 1: what is kept of the probabilities, doubled.
    assert y.max() <= 2 + 1e-5
    assert np.unique(y[:, 6, 0, 0].round(4)).size > 10
    # A weighted sum of at most 9 kept or dropped: its deviation is below 1.
    assert np.abs(y.mean(0) - 1).max() < 5 / np.sqrt(rows)
    np.testing.assert_allclose(y[..., :1] + 0 * y, y, rtol=1e-5)


def test_bfloat16_products_keep_their_dtype():
    q, k, v, mask = draw(4)
    half = [a.astype(jnp.bfloat16) for a in (q, k, v)]
    y, _ = compiled(*half, mask, "einsum")
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        y.astype(np.float32), by_hand(q, k, v, mask), rtol=0, atol=0.05
    )


def test_a_scale_and_values_of_another_width():
    q, k, v, mask = draw(5)
    wanted = by_hand(2 * q, k, v, mask)  # its scale is 1 / 2
    scaled = numpy_jit(lambda *arrays: attend(*arrays, scale=1.0))
    narrow = scaled(q, k, v[..., :3], mask)
    np.testing.assert_allclose(narrow, wanted[..., :3], rtol=0, atol=1e-6)
    library = numpy_jit(lambda *arrays: attend(*arrays, scale=1.0, form="library"))
    np.testing.assert_allclose(library(q, k, v, mask), wanted, rtol=0, atol=1e-6)


def test_adjusted_scores_are_what_the_softmax_gets():
    q, k, v, mask = draw(6)

    def adjust(scores):
        return 3 * scores + 1

    wanted = by_hand(3 * q, k, v, mask)  # a constant moves no softmax
    adjusted = numpy_jit(lambda *arrays: attend(*arrays, adjust=adjust))
    np.testing.assert_allclose(adjusted(q, k, v, mask), wanted, rtol=0, atol=1e-6)
    weights = np.asarray(attention_weights(q, k, mask, adjust=adjust))
    y = np.einsum("bhqk,bkhe->bqhe", weights, v)
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(weights != 0, mask)


def test_impossible_forms():
    q, k, v, mask = draw()
    with pytest.raises(ValueError, match="has no adjusted scores"):
        attend(q, k, v, mask, form="library", adjust=jnp.negative)
    with pytest.raises(ValueError, match="one width of keys and values, got 4 and 3"):
        attend(q, k, v[..., :3], mask, form="library")
    with pytest.raises(ValueError, match="form: want one of .* got 'flash'"):
        attend(q, k, v, mask, form="flash")
    keys = row_keys(jax.random.key(0), jnp.arange(3))
    with pytest.raises(ValueError, match="has no dropout"):
        attend(q, k, v, mask, form="library", rate=0.1, dropout_keys=keys)


def test_positions_count_items_of_a_sequence():
    ids = jnp.array([[0, 0, 5, 6, 7], [5, 6, 7, 0, 0], [0, 5, 6, 0, 7]])
    assert segment_positions(ids).tolist() == [
        [0, 0, 0, 1, 2],
        [0, 1, 2, 2, 2],
        [0, 0, 1, 1, 2],
    ]
    segments = jnp.array([[1, 1, 1, 2, 2], [1, 2, 2, 3, 4], [1, 1, 1, 2, 2]])
    assert segment_positions(ids, segments).tolist() == [
        [0, 0, 0, 0, 1],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 0, 0],
    ]
