"""Dropout: masks belong to rows, the scale is exact, the rate is what was asked."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.dropout import dropout, dropout_rows, row_keys

TIME, DIM = 50, 64
ones_dropout = jax.jit(
    lambda keys, rate, salt: dropout(
        jnp.ones((TIME, keys.shape[0], DIM)), rate, keys, salt
    ),
    static_argnums=(1, 2),
)


def keys_of(rows, seed=0):
    return row_keys(jax.random.key(seed), jnp.asarray(rows))


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.8])
def test_keep_probability_and_scale(rate):
    kept = round(256 * (1 - rate))
    out = np.asarray(ones_dropout(keys_of(range(40)), rate, 0))
    assert set(np.unique(out)) == {0.0, np.float32(256 / kept)}
    # 128,000 elements, four to a word: five standard deviations of their mean.
    wanted = kept / 256
    bound = 5 * math.sqrt(wanted * (1 - wanted) / out.size)
    assert abs((out != 0).mean() - wanted) < bound
    for lane in range(4):
        bound = 5 * math.sqrt(wanted * (1 - wanted) / (out.size // 4))
        assert abs((out[..., lane::4] != 0).mean() - wanted) < bound


def test_neighbours_are_independent():
    kept = np.asarray(ones_dropout(keys_of(range(40)), 0.5, 0)) != 0
    for one, other in [
        (kept[..., 0::4], kept[..., 1::4]),  # bytes of one word
        (kept[:-1], kept[1:]),  # steps
        (kept[:, :-1], kept[:, 1:]),  # rows
    ]:
        bound = 5 * math.sqrt(0.25 * 0.75 / one.size)
        assert abs((one & other).mean() - 0.25) < 2 * bound


def test_a_mask_belongs_to_its_row():
    whole = np.asarray(ones_dropout(keys_of([3, 1, 4, 5]), 0.3, 7))
    turned = np.asarray(ones_dropout(keys_of([5, 4, 1, 3]), 0.3, 7))
    np.testing.assert_array_equal(turned, whole[:, ::-1])
    alone = np.asarray(ones_dropout(keys_of([4]), 0.3, 7))
    np.testing.assert_array_equal(alone[:, 0], whole[:, 2])


def test_masks_differ_by_row_place_and_seed():
    mask = np.asarray(ones_dropout(keys_of([0, 1]), 0.5, 0))
    assert (mask[:, 0] != mask[:, 1]).mean() > 0.4
    assert (mask != np.asarray(ones_dropout(keys_of([0, 1]), 0.5, 1))).mean() > 0.4
    assert (mask != np.asarray(ones_dropout(keys_of([0, 1], 1), 0.5, 0))).mean() > 0.4


def test_gradient_is_the_mask():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 8)), jnp.float32)
    keys = keys_of([0, 1])

    @jax.jit
    def mask_and_gradient(x):
        gradient = jax.grad(lambda x: dropout(x, 0.25, keys, 0).sum())(x)
        return dropout(jnp.ones_like(x), 0.25, keys, 0), gradient

    mask, gradient = mask_and_gradient(x)
    np.testing.assert_array_equal(gradient, mask)
    assert np.unique(mask).size == 2


def test_dtype_stays_and_nan_of_a_dropped_element_goes():
    keys = keys_of([0])
    drop = jax.jit(lambda x: dropout(x, 0.5, keys, 0))
    half = drop(jnp.ones((4, 1, 8), jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    assert set(np.unique(np.float32(half))) == {0.0, 2.0}
    out = np.asarray(drop(jnp.full((4, 1, 8), jnp.nan)))
    np.testing.assert_array_equal(np.isnan(out), np.float32(half) != 0)


def test_off():
    x = jnp.ones((2, 1, 4))
    assert dropout(x, 0.5, None, 0) is x
    assert dropout(x, 0.0, keys_of([0]), 0) is x


def test_highest_rates_keep_one_in_256():
    out = np.asarray(ones_dropout(keys_of(range(40)), 0.9999, 0))
    assert set(np.unique(out)) == {0.0, 256.0}


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, math.nan])
def test_rates_outside_are_refused(rate):
    with pytest.raises(ValueError, match="dropout rate: want 0 <= rate < 1, got"):
        dropout(jnp.ones((2, 1, 4)), rate, keys_of([0]), 0)


def test_width_must_hold_whole_words():
    with pytest.raises(ValueError, match="width must be a multiple of 4, got 6"):
        dropout(jnp.ones((2, 1, 6)), 0.5, keys_of([0]), 0)


@pytest.mark.parametrize("shape", [(50, 64), (2, 33, 7), (3,)])
def test_batch_major_masks_belong_to_rows_of_any_shape(shape):
    drop = jax.jit(lambda keys: dropout_rows(jnp.ones((40, *shape)), 0.25, keys, 3))
    whole = np.asarray(drop(keys_of(range(40))))
    assert whole.shape == (40, *shape)
    assert set(np.unique(whole)) == {0.0, np.float32(256 / 192)}
    bound = 5 * math.sqrt(0.25 * 0.75 / whole.size)
    assert abs((whole != 0).mean() - 0.75) < bound
    turned = np.asarray(drop(keys_of(range(40))[::-1]))
    np.testing.assert_array_equal(turned, whole[::-1])


def test_both_layouts_have_the_same_masks():
    x = np.ones((5, 3, 8), np.float32)
    major = dropout(x, 0.5, keys_of(range(3)), 2)
    rows = dropout_rows(x.swapaxes(0, 1), 0.5, keys_of(range(3)), 2)
    np.testing.assert_array_equal(rows, np.swapaxes(major, 0, 1))


def test_batch_major_off_and_out_of_range():
    x = jnp.ones((2, 3))
    assert dropout_rows(x, 0.5, None, 0) is x
    assert dropout_rows(x, 0.0, keys_of([0, 1]), 0) is x
    with pytest.raises(ValueError, match="dropout rate: want 0 <= rate < 1, got 1.0"):
        dropout_rows(x, 1.0, keys_of([0, 1]), 0)
