"""Negatives and their losses, against plain forms in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.losses.gathered import choose_chunk
from jaxrec.losses.negatives import bce, bpr, draw_negatives, gbce, gbce_beta
from tests.jaxrec.compiling import quick_jit

N, D, ITEMS, K = 22, 6, 40, 3


def mixed(x):
    """The hash of `jaxrec.core.bits`, in Python's integers."""
    x = (x ^ x >> 16) * 0x7FEB352D % 2**32
    x = (x ^ x >> 15) * 0x846CA68B % 2**32
    return x ^ x >> 16


def plain_negatives(draws, labels, segments, items, samples):
    """The list of the items that are left, for every target anew."""
    drawn = np.zeros((*draws.shape, samples), np.int32)
    for row, slot, nth in np.ndindex(drawn.shape):
        own = labels[row, slot : slot + 1]
        if segments is not None:
            own = labels[row, segments[row] == segments[row, slot]]
        left = sorted(set(range(1, items + 1)) - set(own.tolist()))
        word = mixed(int(draws[row, slot]) ^ mixed(nth + 1))
        drawn[row, slot, nth] = left[word % len(left)] if left else 0
    return drawn


def rows(seed=0, b=3, t=17, items=9):
    """Draws, labels with repeats and gaps, and segments in no order."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, 2**32, (b, t), dtype=np.uint32)
    labels = rng.integers(0, items + 1, (b, t), dtype=np.int32)
    segments = np.array([5, 0, 9], np.int32)[np.sort(rng.integers(0, 3, (b, t)))]
    return draws, labels, segments


@pytest.mark.parametrize("samples", [1, 4])
def test_targets_of_the_segment_are_no_negatives(samples):
    draws, labels, segments = rows()
    segments[0] = 1
    labels[0, :9] = np.arange(1, 10)  # Nothing is left to this row.
    draw = functools.partial(draw_negatives, items=9, samples=samples)
    wanted = plain_negatives(draws, labels, segments, 9, samples)
    assert (wanted[0] == 0).all() and (wanted[1:] > 0).all()
    np.testing.assert_array_equal(quick_jit(draw)(draws, labels, segments), wanted)


def test_a_target_is_not_its_own_negative():
    draws, labels, _ = rows()
    labels = np.maximum(labels, 1)
    draw = quick_jit(functools.partial(draw_negatives, items=9, samples=4))
    got = draw(draws, labels)
    np.testing.assert_array_equal(got, plain_negatives(draws, labels, None, 9, 4))
    alone = draw_negatives(draws, labels, items=1, samples=4)
    np.testing.assert_array_equal(alone, np.zeros((3, 17, 4)))
    assert alone.dtype == got.dtype == jnp.int32


def test_any_item_is_drawn_equally_often_and_by_the_number_alone():
    draws = np.random.default_rng(0).integers(0, 2**32, (20, 500), dtype=np.uint32)
    draw = quick_jit(functools.partial(draw_negatives, items=40, samples=8))
    drawn = np.asarray(draw(draws))
    counts = np.bincount(drawn.reshape(-1), minlength=41)
    assert counts[0] == 0 and counts.size == 41
    # Chi-square of 39 degrees of freedom: mean 39, standard deviation 9.
    expected = drawn.size / 40
    assert abs(((counts[1:] - expected) ** 2 / expected).sum() - 39) < 5 * 9
    agree = (drawn[..., :-1] == drawn[..., 1:]).mean()
    assert abs(agree - 1 / 40) < 0.003
    few = draw_negatives(draws.T[::-1], items=40, samples=2)
    np.testing.assert_array_equal(few, drawn.transpose(1, 0, 2)[::-1, :, :2])


def case(dtype=np.float64):
    rng = np.random.default_rng(0)
    arrays = (rng.normal(size=s) for s in ((N, D), (ITEMS + 1, D), (ITEMS + 1,)))
    x, table, bias = (np.asarray(a, dtype) for a in arrays)
    labels = rng.integers(1, ITEMS + 1, N, dtype=np.int32)
    weights = np.asarray(rng.uniform(0.5, 2, N) * (np.arange(N) % 3 > 0), dtype)
    negatives = rng.integers(1, ITEMS + 1, (N, K), dtype=np.int32)
    negatives[4], negatives[5, 0] = 0, 0  # nothing drawn
    negatives[7] = negatives[7, 0]
    return x, table, bias, labels, weights, negatives


def plain_form(name, calibration, x, table, bias, labels, weights, negatives):
    """Value and gradients (x, table, bias, weights), from those of the scores."""
    scores = x @ table.T + bias
    rows = np.arange(len(x))
    there = negatives > 0
    target = scores[rows, labels]
    drawn = scores[rows[:, None], negatives]

    def sigmoid(s):
        return 1 / (1 + np.exp(-s))

    if name == "bpr":
        difference = drawn - target[:, None]
        each = (there * np.log1p(np.exp(difference))).mean(1)
        d_drawn = there * sigmoid(difference) / K
        d_target = -d_drawn.sum(1)
    else:
        positive, share, beta = 1.0, 1 / K, 1.0
        if name == "gbce":
            alpha = K / (ITEMS - 1)
            beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
            positive = share = 1 / (K + 1)
        each = -positive * np.log(sigmoid(target) ** beta)
        each -= share * (there * np.log(1 - sigmoid(drawn))).sum(1)
        d_target = -positive * beta * sigmoid(-target)
        d_drawn = share * there * sigmoid(drawn)
    g = np.zeros_like(scores)
    np.add.at(g, (rows, labels), weights * d_target)
    np.add.at(g, (rows[:, None], negatives), weights[:, None] * d_drawn)
    return (weights * each).sum(), (g @ table, g.T @ x, g.sum(0), each)


@pytest.mark.parametrize(
    ("name", "calibration", "chunk"),
    [
        ("bpr", None, 8),
        ("bce", None, 8),
        ("bce", None, 0),
        ("gbce", 0.0, 8),
        ("gbce", 0.75, 8),
        ("gbce", 1.0, 8),
    ],
)
def test_values_and_gradients(name, calibration, chunk):
    loss = {"bpr": bpr, "bce": bce}.get(name) or functools.partial(
        gbce, items=ITEMS, calibration=calibration
    )
    with jax.enable_x64(True):
        x, table, bias, labels, weights, negatives = case()

        def scaled(x, table, bias, weights):
            arrays = (x, table, bias, labels, weights, negatives)
            return 3.0 * loss(*arrays, chunk=chunk)

        both = quick_jit(jax.value_and_grad(scaled, (0, 1, 2, 3)))
        value, grads = both(x, table, bias, weights)
        wanted = plain_form(name, calibration, *case())
        assert float(value) / 3 == pytest.approx(wanted[0], rel=1e-12)
        for got, reference in zip(grads, wanted[1], strict=True):
            np.testing.assert_allclose(np.asarray(got) / 3, reference, atol=1e-12)


@pytest.mark.parametrize("score", [-300.0, 300.0])
def test_large_scores_stay_finite_in_float32(score):
    x, table = np.ones((1, 1), np.float32), np.float32([[0], [score], [0]])
    arrays = np.zeros(3, np.float32), np.int32([1]), np.ones(1, np.float32)
    loss = functools.partial(gbce, negatives=np.int32([[2]]), items=3)
    value, d_x = quick_jit(jax.value_and_grad(loss))(x, table, *arrays)
    beta = 1 - 0.75 / 2
    wanted = (beta * max(-score, 0) + np.log(2)) / 2
    assert float(value) == pytest.approx(wanted, rel=1e-6)
    assert float(d_x[0, 0]) == pytest.approx(-beta * score / 2 * (score < 0))


def test_beta_is_that_of_the_paper():
    assert gbce_beta(101, 25, 0.0) == 1
    assert gbce_beta(101, 25, 1.0) == 0.25
    assert gbce_beta(101, 25, 0.5) == 0.25 * (0.5 * (1 - 4) + 4)


def test_blocks_get_smaller_with_more_negatives():
    assert [choose_chunk(k, "cpu") for k in (1, 64, 256, 60_000)] == [512, 512, 128, 16]
    assert choose_chunk(256, "gpu") == 512


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": -0.1}, "calibration: want 0 to 1, got -0.1"),
        ({"calibration": 1.5}, "calibration: want 0 to 1, got 1.5"),
        ({"calibration": float("nan")}, "calibration: want 0 to 1, got nan"),
        ({"items": K}, "samples: gbce wants 1 to 2 negatives of 3 items, got 3"),
        ({"negatives": np.zeros(N, np.int32)}, r"want \(22, at least 1\), got \(22,\)"),
        ({"negatives": np.zeros((N - 1, K), np.int32)}, r"at least 1\), got \(21, 3\)"),
        ({"chunk": -1}, "chunk: want at least 1, got -1"),
    ],
)
def test_what_makes_no_loss_is_refused(options, message):
    *arrays, negatives = case(np.float32)
    options = {"items": ITEMS, "negatives": negatives} | options
    with pytest.raises(ValueError, match=message):
        gbce(*arrays, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": 0}, r"items: want 1 to 2\^31 - 1, got 0"),
        ({"samples": 0}, "samples: want 1 to 65535, got 0"),
        ({"samples": 70_000}, "samples: want 1 to 65535, got 70000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        draw_negatives(
            np.zeros((1, 2), np.uint32), **{"items": 5, "samples": 1, **options}
        )
