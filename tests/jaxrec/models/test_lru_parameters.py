"""LRURec's parameters: how they are drawn, counted and used for scores."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.interop import lrurec_from_torch
from jaxrec.losses.softmax import linear_softmax_ce
from jaxrec.models import lru
from tests.jaxrec import oracle
from tests.jaxrec.compiling import numpy_jit

ITEMS, DIM = 20, 8
close = dict(rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    state = oracle.random_state(np.random.default_rng(0), ITEMS, DIM, 1)
    cfg, params = lrurec_from_torch(state)
    return jax.tree.map(np.asarray, params), cfg


def test_initial_parameters():
    cfg = lru.LRUConfig(items=2000, dim=8, blocks=1, r_min=0.5, r_max=0.9)
    draw = numpy_jit(lru.init, static_argnums=1)
    params = draw(jax.random.key(0), cfg)
    logs = params["block_0"]["lru"]
    radius = np.exp(-np.exp(np.asarray(logs["nu_log"], np.float64)))
    assert radius.min() > 0.5 - 1e-6 and radius.max() < 0.9 + 1e-6
    phase = np.exp(logs["theta_log"])
    assert phase.min() > 0 and phase.max() < 2 * np.pi + 1e-5
    gain = np.exp(np.asarray(logs["gamma_log"], np.float64))
    np.testing.assert_allclose(gain**2, 1 - radius**2, rtol=1e-4)
    normals = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        if "norm" in name:
            np.testing.assert_array_equal(leaf, 1.0 if "scale" in name else 0.0)
        elif "lru" not in name:
            normals.append(np.ravel(leaf))
            assert np.abs(leaf).max() <= 0.04, name
    normals = np.concatenate(normals)
    assert np.unique(normals).size > 0.99 * normals.size
    # A normal cut at two standard deviations keeps 0.880 of its own.
    assert normals.std() == pytest.approx(0.02 * 0.880, rel=0.02)
    assert abs(normals.mean()) < 5 * 0.0176 / normals.size**0.5
    again = draw(jax.random.key(0), cfg)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    other = draw(jax.random.key(1), cfg)
    assert np.abs(other["item_bias"] - params["item_bias"]).max() > 0.01


def test_parameter_count_of_the_published_model():
    cfg = lru.LRUConfig(items=3416, dim=64, blocks=2)
    shapes = jax.eval_shape(lambda: lru.init(jax.random.key(0), cfg))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    # 322,841 as torch counts, where a complex number is one parameter; of the output
    # bias we keep the real half only.
    complex_numbers = 2 * (64 * 128 + 128 + 128 * 64 + 64)
    assert count == 322_841 + complex_numbers - 2 * 64
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"items": 0}, "items=0"),
        ({"dim": 6}, "dim a multiple of 4.* dim=6"),
        ({"blocks": 0}, "blocks=0"),
        ({"r_min": 0.9, "r_max": 0.8}, "want 0 <= r_min < r_max < 1, got 0.9, 0.8"),
        ({"compute_dtype": "float16"}, "compute_dtype must be .*, got 'float16'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        lru.LRUConfig(**{"items": 5, "dim": 8} | fields)


def test_scores_are_products_with_the_table_plus_a_bias(model):
    params, cfg = model
    hidden = np.random.default_rng(11).normal(size=(2, 3, DIM)).astype(np.float32)
    table, bias = np.asarray(params["embedding"]["table"]), params["item_bias"]
    scores = lru.score(params, cfg, hidden)
    assert scores.shape == (2, 3, ITEMS + 1)
    np.testing.assert_allclose(scores, hidden @ table.T + bias, **close)


def test_rows_past_the_catalogue_have_no_part_in_loss_and_scores(model):
    params, cfg = model
    wider = dataclasses.replace(cfg, table_multiple=8)
    assert wider.rows == 24  # 21 rounded up
    table = np.pad(params["embedding"]["table"], ((0, 3), (0, 0)), constant_values=50.0)
    padded = params | {
        "embedding": params["embedding"] | {"table": table},
        "item_bias": np.pad(params["item_bias"], (0, 3), constant_values=50.0),
    }
    hidden = np.random.default_rng(12).normal(size=(5, DIM)).astype(np.float32)
    np.testing.assert_allclose(
        lru.score(padded, wider, hidden), lru.score(params, cfg, hidden), **close
    )

    def loss(params, cfg):
        head = lru.head(params, cfg)
        return linear_softmax_ce(hidden, *head, np.arange(5), np.ones(5, np.float32))

    compiled = numpy_jit(jax.value_and_grad(loss), static_argnums=1)
    value, grads = compiled(padded, wider)
    assert float(value) == pytest.approx(float(loss(params, cfg)))
    np.testing.assert_array_equal(grads["embedding"]["table"][ITEMS + 1 :], 0)
    np.testing.assert_array_equal(grads["item_bias"][ITEMS + 1 :], 0)
