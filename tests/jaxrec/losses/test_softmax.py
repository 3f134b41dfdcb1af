"""The blocked softmax losses against the plain one: values, gradients and memory."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrec.losses import softmax
from jaxrec.losses.softmax import choose_blocks, linear_softmax_ce, softmax_ce
from tests.jaxrec.compiling import quick_jit


def draw(n, d, v, dtype=np.float64, scale=1.0):
    """x, table, bias, labels, weights; a third of the weights is 0."""
    rng = np.random.default_rng(n + v)
    x, table, bias = (scale * rng.normal(size=s) for s in ((n, d), (v, d), (v,)))
    labels = rng.integers(0, v, n).astype(np.int32)
    weights = rng.uniform(0.5, 2, n) * (np.arange(n) % 3 > 0)
    return *(np.asarray(a, dtype) for a in (x, table, bias)), labels, weights


def closed_form(x, table, bias, labels, weights):
    """Value and gradients (x, table, bias, weights) in numpy, float64."""
    x, table, bias = (np.asarray(a, np.float64) for a in (x, table, bias))
    logits = x @ table.T + bias
    exp = np.exp(logits - logits.max(1, keepdims=True))
    probability = exp / exp.sum(1, keepdims=True)
    onehot = np.eye(len(bias))[labels]
    each = -np.log((probability * onehot).sum(1))
    g = weights[:, None] * (probability - onehot)
    return (weights * each).sum(), (g @ table, g.T @ x, g.sum(0), each)


def value_and_gradients(loss, x, table, bias, labels, weights, **blocks):
    def scaled(x, table, bias, weights):
        return 3.0 * loss(x, table, bias, labels, weights, **blocks)

    value, grads = quick_jit(jax.value_and_grad(scaled, (0, 1, 2, 3)))(
        x, table, bias, weights
    )
    return np.asarray(value) / 3, [np.asarray(g) / g.dtype.type(3) for g in grads]


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(None, id="plain"),
        pytest.param({"chunk": 64}, id="one-block"),
        pytest.param({"chunk": 8}, id="does-not-divide"),
        pytest.param({"chunk": 8, "catalogue_chunk": 7}, id="catalogue"),
        pytest.param({"chunk": 21, "catalogue_chunk": 11}, id="catalogue-divides"),
    ],
)
def test_values_and_gradients_in_float64(blocks):
    case = draw(21, 6, 33)
    loss = softmax_ce if blocks is None else linear_softmax_ce
    with jax.enable_x64(True):
        value, grads = value_and_gradients(loss, *case, **(blocks or {}))
    wanted, wanted_grads = closed_form(*case)
    assert float(value) == pytest.approx(wanted, rel=1e-12)
    for got, gradient in zip(grads, wanted_grads, strict=True):
        np.testing.assert_allclose(got, gradient, rtol=0, atol=1e-12)


def test_value_without_gradient_is_the_same():
    case = draw(21, 6, 33, np.float32)
    wanted, _ = closed_form(*case)
    value = quick_jit(functools.partial(linear_softmax_ce, chunk=8))(*case)
    assert float(value) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("catalogue_chunk", [0, 7])
def test_weight_zero_leaves_a_position_out(catalogue_chunk):
    x, table, bias, labels, weights = draw(12, 4, 9, np.float32)
    inside = weights > 0
    whole = value_and_gradients(
        linear_softmax_ce,
        *(x, table, bias, labels, weights),
        chunk=5,
        catalogue_chunk=catalogue_chunk,
    )
    wanted, wanted_grads = closed_form(
        x[inside], table, bias, labels[inside], weights[inside]
    )
    assert float(whole[0]) == pytest.approx(wanted, rel=1e-6)
    np.testing.assert_allclose(whole[1][0][inside], wanted_grads[0], atol=1e-5)
    np.testing.assert_array_equal(whole[1][0][~inside], 0)
    np.testing.assert_allclose(whole[1][1], wanted_grads[1], atol=1e-5)


@pytest.mark.parametrize("catalogue_chunk", [0, 2])
def test_huge_logits(catalogue_chunk):
    # Logits 3e4, 0, -3e4: the loss of the second label is 3e4, of the first 0.
    x = np.full((2, 1), 300, np.float32)
    table, bias = np.float32([[100], [0], [-100]]), np.zeros(3, np.float32)
    case = (x, table, bias, np.int32([1, 0]), np.ones(2, np.float32))
    value, grads = value_and_gradients(
        linear_softmax_ce, *case, catalogue_chunk=catalogue_chunk
    )
    assert float(value) == pytest.approx(3e4)
    np.testing.assert_allclose(grads[0], [[100], [0]])
    np.testing.assert_allclose(grads[1], [[300], [-300], [0]])
    np.testing.assert_allclose(grads[2], [1, -1, 0])


@pytest.mark.parametrize("catalogue_chunk", [0, 40])
def test_bfloat16_input_is_summed_in_float32(catalogue_chunk):
    x, table, bias, labels, weights = draw(64, 16, 100, np.float32, scale=0.5)
    coarse = jnp.asarray(x, jnp.bfloat16)
    # What the products see; only the probabilities are rounded beside.
    seen = np.float32(coarse), np.float32(jnp.asarray(table, jnp.bfloat16))
    wanted, wanted_grads = closed_form(*seen, bias, labels, weights)
    value, grads = value_and_gradients(
        linear_softmax_ce,
        *(coarse, table, bias, labels, weights),
        chunk=16,
        catalogue_chunk=catalogue_chunk,
    )
    assert value.dtype == jnp.float32
    assert float(value) == pytest.approx(wanted, rel=1e-4)
    for got, gradient in zip(grads, wanted_grads, strict=True):
        largest = np.abs(gradient).max()
        np.testing.assert_allclose(got, gradient, rtol=0, atol=0.01 * largest)


def test_uniform_scores_cost_the_logarithm_of_the_catalogue():
    n, v = 10, 37
    loss = quick_jit(linear_softmax_ce)(
        np.zeros((n, 4), np.float32),
        np.ones((v, 4), np.float32),
        np.ones(v, np.float32),
        np.zeros(n, np.int32),
        np.ones(n, np.float32),
    )
    assert float(loss) == pytest.approx(n * math.log(v), rel=1e-6)


def scratch_bytes(loss, n, d, v):
    def shape(*sizes, dtype=jnp.float32):
        return jax.ShapeDtypeStruct(sizes, dtype)

    gradient = quick_jit(jax.grad(loss, (0, 1, 2)))
    compiled = gradient.lower(
        *(shape(n, d), shape(v, d), shape(v), shape(n, dtype=jnp.int32), shape(n))
    ).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_scratch_memory_has_no_array_of_all_logits():
    n, d, v, chunk = 4096, 16, 5000, 128
    logits = 4 * n * v
    assert scratch_bytes(softmax_ce, n, d, v) > logits

    inputs = 4 * (n + v) * d
    for catalogue_chunk in (0, 500):
        blocks = dict(chunk=chunk, catalogue_chunk=catalogue_chunk)
        loss = functools.partial(linear_softmax_ce, **blocks)
        # A few arrays of one block's logits and of the inputs' sizes.
        bound = 4 * inputs + 3 * 4 * chunk * (catalogue_chunk or v)
        assert bound < logits / 5
        assert scratch_bytes(loss, n, d, v) < bound


def test_rows_split_over_devices():
    x, table, bias, labels, weights = draw(24, 6, 33, np.float32)
    wanted, wanted_grads = closed_form(x, table, bias, labels, weights)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows = jax.device_put(
        (x, labels, weights.astype(np.float32)), NamedSharding(mesh, P("data"))
    )

    def loss(table, bias, x, labels, weights):
        return linear_softmax_ce(x, table, bias, labels, weights, chunk=2)

    gradient = jax.value_and_grad(loss, (0, 1, 2))

    def per_device(table, bias, *rows):
        value, (d_table, d_bias, d_x) = gradient(table, bias, *rows)
        value, d_table, d_bias = jax.lax.psum((value, d_table, d_bias), "data")
        return value, (d_table, d_bias, d_x)

    by_hand = jax.shard_map(
        per_device,
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data"), P("data")),
        out_specs=(P(), (P(), P(), P("data"))),
        check_vma=False,
    )
    for spread in (by_hand, gradient):  # three rows on each device; the partitioner
        value, (d_table, d_bias, d_x) = quick_jit(spread)(table, bias, *rows)
        assert len(value.sharding.device_set) == 8
        assert float(value) == pytest.approx(wanted, rel=1e-6)
        for got, exact in zip((d_x, d_table, d_bias), wanted_grads[:3], strict=True):
            np.testing.assert_allclose(got, exact, rtol=0, atol=1e-5)


def test_block_sizes_are_chosen_by_device_and_catalogue():
    assert choose_blocks(3_000, "cpu") == (128, 0)
    assert choose_blocks(57_000, "cpu") == (1024, 256)
    # 2^26 scores of 4 bytes are 256 MB.
    assert choose_blocks(2**16, "gpu") == (2**10, 0)
    positions, items = choose_blocks(2_000_000, "gpu")
    assert positions * items == 2**26


def test_chosen_blocks_are_the_default(monkeypatch):
    case = draw(21, 6, 33, np.float32)
    used = []

    def choose(items):
        used.append(items)
        return 8, 7

    monkeypatch.setattr(softmax, "choose_blocks", choose)
    value = quick_jit(linear_softmax_ce)(*case)
    assert float(value) == pytest.approx(closed_form(*case)[0], rel=1e-6)
    assert used == [33]
