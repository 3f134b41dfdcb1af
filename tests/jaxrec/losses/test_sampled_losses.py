"""Sampled losses: where they equal the full softmax, and how they approach it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.losses.negatives import draw_negatives
from jaxrec.losses.sampled import sampled_softmax, uniform_negatives_ce
from tests.jaxrec.compiling import quick_jit
from tests.jaxrec.losses.test_softmax import closed_form

N, D, ITEMS = 22, 6, 40
COUNTS = np.random.default_rng(1).zipf(1.6, ITEMS + 1).clip(0, 12)


def draw(dtype=np.float32, rows=ITEMS + 1):
    rng = np.random.default_rng(0)
    arrays = (0.8 * rng.normal(size=s) for s in ((N, D), (rows, D), (rows,)))
    x, table, bias = (np.asarray(a, dtype) for a in arrays)
    labels = rng.integers(1, ITEMS + 1, N, dtype=np.int32)
    return x, table, bias, labels, np.asarray(np.arange(N) % 3 > 0, dtype)


def value_and_gradients(loss, *case):
    x, table, bias, labels, weights = case

    def of(x, table, bias, weights):
        return loss(x, table, bias, labels, weights)

    compiled = quick_jit(jax.value_and_grad(of, (0, 1, 2, 3)))
    return jax.tree.map(np.asarray, compiled(x, table, bias, weights))


def assert_equal(got, wanted, tolerance):
    assert float(got[0]) == pytest.approx(float(wanted[0]), rel=tolerance)
    for one, other in zip(got[1], wanted[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize(("chunk", "rounds"), [(8, 1), (64, 2)])
def test_all_items_drawn_is_the_full_softmax(chunk, rounds):
    with jax.enable_x64(True):
        case = draw(np.float64)
        loss = functools.partial(
            sampled_softmax,
            key=jax.random.key(3),
            items=ITEMS,
            samples=rounds * ITEMS,  # each item once, or each twice at half the weight
            chunk=chunk,
        )
        got = value_and_gradients(loss, *case)
        # log 1 = 0 is exact, log 2 is a float32 number.
        tolerance = 1e-12 if rounds == 1 else 1e-7
        assert_equal(got, closed_form(*case), tolerance)


def test_equal_counts_are_the_uniform_distribution():
    case = draw()
    loss = functools.partial(
        sampled_softmax,
        key=jax.random.key(0),
        items=ITEMS,
        samples=ITEMS,
        counts=np.full(ITEMS + 1, 7),
    )
    wanted = float(closed_form(*case)[0])
    assert float(quick_jit(loss)(*case)) == pytest.approx(wanted, rel=1e-6)


def gradient_errors(samples, counts, keys=200):
    """Of the gradient of the table: largest error of the mean over draws, and the root
    mean square error of one draw, both over the largest entry of the full gradient."""
    case = draw()

    def loss(table, key):
        x, _, bias, labels, weights = case
        return sampled_softmax(
            *(x, table, bias, labels, weights, key),
            items=ITEMS,
            samples=samples,
            counts=counts,
            chunk=8,
        )

    keys = jax.random.split(jax.random.key(0), keys)
    grads = quick_jit(jax.vmap(jax.grad(loss), (None, 0)))(case[1], keys)
    wanted = closed_form(*case)[1][1]
    errors = (np.asarray(grads) - wanted) / np.abs(wanted).max()
    return np.abs(errors.mean(0)).max(), np.sqrt((errors**2).mean())


def test_gradient_approaches_the_full_one():
    bias, spread = gradient_errors(39, COUNTS)
    bias_of_more, spread_of_more = gradient_errors(390, COUNTS)
    # Ten times the draws: the spread falls by the root of ten or more (they are
    # stratified), the bias by ten, less what 200 draws leave of the spread.
    assert spread_of_more < spread / 10**0.5
    assert bias_of_more < bias / 5
    assert bias_of_more < 0.05


@pytest.mark.parametrize("counts", [None, COUNTS], ids=["uniform", "popularity"])
def test_estimate_of_the_normaliser_is_unbiased(counts):
    # With one position and weight 1, exp(loss) = Z_hat / exp(s_y).
    x, table, bias, labels, _ = draw()
    case = (x[:1], table, bias, labels[:1], np.ones(1, np.float32))

    def ratio(key):
        return jnp.exp(
            sampled_softmax(*case, key, items=ITEMS, samples=5, counts=counts)
        )

    ratios = np.asarray(
        quick_jit(jax.vmap(ratio))(jax.random.split(jax.random.key(5), 4000))
    )
    wanted = np.exp(closed_form(*case)[0])
    assert ratios.std() > 0.05 * wanted
    assert abs(ratios.mean() - wanted) < 5 * ratios.std() / np.sqrt(ratios.size)


def drawn_ids(loss, keys, positions=8, **options):
    """Gradient of the bias, per key, of 16 positions in two blocks with label 0."""
    rows = ITEMS + 1
    x = jnp.ones((2 * positions, 1))

    def gradient(key):
        return jax.grad(loss, 2)(
            *(x, jnp.zeros((rows, 1)), jnp.zeros(rows)),
            jnp.zeros(2 * positions, jnp.int32),
            jnp.ones(2 * positions),
            key,
            items=ITEMS,
            chunk=positions,
            **options,
        )

    return np.asarray(quick_jit(jax.vmap(gradient))(keys))


def test_draws_follow_the_counts_and_never_leave_the_items():
    units = np.maximum(COUNTS[1:], 1)
    grads = drawn_ids(
        sampled_softmax,
        jax.random.split(jax.random.key(0), 300),
        samples=3,
        counts=COUNTS,
    )
    # Table 0 and bias 0: every score is 0, a draw of j adds 1 / (3 q_j) to Z of about
    # 41, and the gradient of its bias is that share of 16 positions, whatever q_j is.
    share = grads[:, 1:].mean(0) * (ITEMS + 1) / 16
    seen = grads[:, 1:] > 0
    expected = 1 - (1 - units / units.sum()) ** 6  # two blocks of three draws
    assert (seen.mean(0)[units > 20] > 0.5 * expected[units > 20]).all()
    assert np.corrcoef(seen.mean(0), expected)[0, 1] > 0.95
    assert abs(share.mean() - 1) < 0.5


def test_blocks_draw_their_own_negatives():
    grads = drawn_ids(
        sampled_softmax, jax.random.split(jax.random.key(0), 20), samples=2
    )
    assert ((grads[:, 1:] > 0).sum(1) > 2).mean() > 0.8
    assert ((grads[:, 1:] > 0).sum(1) <= 4).all()


def test_target_among_the_draws_is_left_out():
    # One item: the only draw is the target, and the loss is softmax over {0, target}.
    x, table, bias = (np.float32(a) for a in ([[1]], [[0], [2]], [0, 1]))
    loss = quick_jit(functools.partial(sampled_softmax, items=1, samples=5))(
        *(x, table, bias, np.int32([1]), np.float32([1]), jax.random.key(0))
    )
    assert float(loss) == pytest.approx(np.log(1 + np.exp(-3.0)), rel=1e-6)


def test_uniform_negatives_may_hit_the_target_and_are_not_corrected():
    # All 100 negatives are the target: log(101 exp(s) / exp(s)).
    x, table, bias = (np.float32(a) for a in ([[1]] * 3, [[9], [2]], [9, 1]))
    loss = quick_jit(uniform_negatives_ce)(
        *(x, table, bias, np.ones(3, np.int32), np.float32([1, 2, 0])),
        np.ones((3, 100), np.int32),
    )
    assert float(loss) == pytest.approx(3 * np.log(101), rel=1e-6)


def test_uniform_negatives_without_hits():
    # Only hits: nothing is left to tell the target from, and nothing to learn.
    x, table, bias = (np.float32(a) for a in ([[1]] * 3, [[9], [2]], [9, 1]))
    loss = functools.partial(
        uniform_negatives_ce, negatives=np.ones((3, 5), np.int32), mask_hits=True
    )
    case = (x, table, bias, np.ones(3, np.int32), np.ones(3, np.float32))
    value, grads = value_and_gradients(loss, *case)
    assert float(value) == 0
    for gradient in grads:
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("mask_hits", [False, True])
def test_uniform_negatives_gradients(mask_hits):
    with jax.enable_x64(True):
        x, table, bias, labels, weights = draw(np.float64)
        negatives = np.random.default_rng(2).integers(1, ITEMS + 1, (N, 30))
        negatives[:, :2] = labels[:, None]
        loss = functools.partial(
            uniform_negatives_ce,
            negatives=negatives.astype(np.int32),
            mask_hits=mask_hits,
            chunk=8,
        )
        got = value_and_gradients(loss, x, table, bias, labels, weights)

        exp = np.exp(x @ table.T + bias)
        target = np.eye(ITEMS + 1)[labels]
        drawn = np.eye(ITEMS + 1)[negatives].sum(1)
        share = drawn * (1 - mask_hits * target) + target
        normaliser = (share * exp).sum(1)
        each = np.log(normaliser / (target * exp).sum(1))
        g = weights[:, None] * (share * exp / normaliser[:, None] - target)
        wanted = (weights * each).sum(), (g @ table, g.T @ x, g.sum(0), each)
        assert_equal(got, wanted, 1e-12)


def test_bfloat16_input_and_table_rows_past_the_catalogue():
    x, table, bias, labels, weights = draw(rows=ITEMS + 8)
    loss = functools.partial(
        sampled_softmax, key=jax.random.key(0), items=ITEMS, samples=ITEMS, chunk=8
    )
    value, (d_x, d_table, *_) = value_and_gradients(
        loss, x.astype(jnp.bfloat16), table, bias, labels, weights
    )
    assert (value.dtype, d_x.dtype) == (jnp.float32, jnp.bfloat16)
    rows = slice(0, ITEMS + 1)
    wanted, wanted_grads = closed_form(x, table[rows], bias[rows], labels, weights)
    assert float(value) == pytest.approx(float(wanted), rel=0.01)
    largest = np.abs(wanted_grads[1]).max()
    np.testing.assert_allclose(
        d_table[rows], wanted_grads[1], rtol=0, atol=0.02 * largest
    )
    np.testing.assert_array_equal(d_table[ITEMS + 1 :], 0)


def own_negatives(x, table, bias, labels, weights, key, *, items, samples, chunk):
    draws = jax.random.bits(key, (1, len(labels)))
    negatives = draw_negatives(draws, items=items, samples=samples)[0]
    case = (x, table, bias, labels, weights, negatives)
    return uniform_negatives_ce(*case, chunk=chunk)


@pytest.mark.parametrize(
    ("loss", "samples", "most"),
    [
        # x and its gradient, and some blocks of scores, rows or both.
        (sampled_softmax, 500, lambda n, d, c, s: 3 * n * d + 4 * c * s + 4 * s * d),
        (own_negatives, 100, lambda n, d, c, s: 3 * n * d + n * s + 5 * c * s * d),
    ],
)
def test_scratch_memory_is_that_of_a_block(loss, samples, most):
    n, d, chunk, rows = 16384, 32, 128, 20_001
    shape = jax.ShapeDtypeStruct
    bound = 4 * most(n, d, chunk, samples)
    assert bound < 4 * n * samples * d / 8

    def value(x, table, bias, labels, weights):
        return loss(
            *(x, table, bias, labels, weights, jax.random.key(0)),
            items=rows - 1,
            samples=samples,
            chunk=chunk,
        )

    compiled = (
        quick_jit(jax.grad(value, (0, 1, 2)))
        .lower(
            shape((n, d), jnp.float32),
            shape((rows, d), jnp.float32),
            shape((rows,), jnp.float32),
            shape((n,), jnp.int32),
            shape((n,), jnp.float32),
        )
        .compile()
    )
    assert compiled.memory_analysis().temp_size_in_bytes < bound


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"items": ITEMS + 1},
            r"items: want 1 to 40 for a table of .*\(41, 6\), got 41",
        ),
        ({"samples": 0}, "samples: want 1 to 65535, got 0"),
        ({"samples": 70_000}, "samples: want 1 to 65535, got 70000"),
        ({"chunk": 0}, "chunk: want at least 1, got 0"),
        ({"counts": COUNTS[1:]}, r"counts: want \(41,\) integers, got \(40,\)"),
        ({"counts": COUNTS / 2}, r"counts: want \(41,\) integers, got \(41,\) float64"),
        ({"counts": -COUNTS}, "counts: want none below 0, got -"),
        ({"counts": COUNTS * 2**26}, r"counts: want a sum below 2\^31, got"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    options = {"items": ITEMS, "samples": 5} | options
    with pytest.raises(ValueError, match=message):
        sampled_softmax(*draw(), jax.random.key(0), **options)
