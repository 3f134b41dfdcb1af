"""HSTU's parameters and configuration: how they are drawn, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import models
from jaxrec.models import hstu
from tests.jaxrec.compiling import numpy_jit

CFG = hstu.HSTUConfig(items=20, length=12, dim=8, heads=2, dim_qk=3, dim_v=5)
draw = numpy_jit(hstu.init, static_argnums=1)
score = numpy_jit(hstu.score, static_argnums=1)


def test_initial_parameters():
    cfg = dataclasses.replace(CFG, items=400, length=300, dim=16, dim_qk=20, dim_v=20)
    params = draw(jax.random.key(0), cfg)
    cut = 0.8796  # standard deviation of a normal cut at two of its own
    block = params["block_1"]
    for leaf, std in (
        (params["embedding"]["table"], 0.02 * cut),
        (params["embedding"]["position"], cut / 4),
        (block["uvqk"]["kernel"], 0.02),
        (block["relative_bias"], 0.02),
        (block["out"]["kernel"], (6 / 56 / 3) ** 0.5),
    ):
        assert leaf.std() == pytest.approx(std, rel=0.12)
    assert np.abs(block["out"]["bias"]).max() <= 40**-0.5
    assert np.abs(block["uvqk"]["kernel"] - params["block_0"]["uvqk"]["kernel"]).max()


def test_parameter_count_of_the_published_setting():
    """ML-1M: tables, and two blocks of a map to 4 x 50, one of 50 and 200 distances."""
    shapes = jax.eval_shape(
        lambda: hstu.init(jax.random.key(0), hstu.HSTUConfig(items=3416))
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == (3417 + 200) * 50 + 2 * (50 * 200 + 51 * 50 + 200)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_decay_is_for_matrices_and_tables():
    shapes = jax.eval_shape(lambda: hstu.init(jax.random.key(0), CFG))
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        assert hstu.decayed(tuple(part.key for part in path)) == (len(leaf.shape) == 2)


def test_scores_are_cosines_over_the_temperature():
    params = draw(jax.random.key(2), CFG)
    table = params["embedding"]["table"]
    turned = dataclasses.replace(CFG, temperature=0.1)
    scores = score(params, turned, table[7] / np.linalg.norm(table[7]))
    assert scores.shape == (21,)
    assert float(scores[7]) == pytest.approx(10, rel=1e-5)
    assert int(scores.argmax()) == 7 and float(np.abs(scores).max()) <= 10 + 1e-4
    wider = dataclasses.replace(CFG, table_multiple=16)
    rows, bias = hstu.head(draw(jax.random.key(2), wider), wider)
    assert rows.shape == (32, 8)
    np.testing.assert_array_equal(bias, [0.0] * 21 + [-1e9] * 11)


def test_a_vector_of_zeros_has_finite_scores_and_gradients():
    cfg = dataclasses.replace(CFG, table_multiple=16)  # rows past the items are 0
    params = draw(jax.random.key(3), cfg)

    def loss(params):
        hidden = hstu.encode(params, cfg, jnp.zeros((1, 2), jnp.int32))
        return jnp.square(hstu.score(params, cfg, hidden)).sum()

    for block in (params["block_0"], params["block_1"]):
        block["out"]["bias"] = np.zeros(8, np.float32)
    value, grads = numpy_jit(jax.value_and_grad(loss))(params)
    assert float(value) == 0
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim_qk": 0}, "HSTUConfig: want dim_qk >= 1, got 0"),
        ({"blocks": 0}, "HSTUConfig: want blocks >= 1, got 0"),
        ({"temperature": 0.0}, "HSTUConfig: want temperature > 0, got 0.0"),
        ({"compute_dtype": "float16"}, "must be float32 or bfloat16, got 'float16'"),
        ({"time_bias": True}, r"config\.model\.time_bias: unknown key"),
        ({"causal": False}, r"config\.model\.causal: unknown key"),
    ],
)
def test_impossible_configurations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        models.config_from("hstu", fields, 7)


def test_rows_longer_than_the_positions_are_refused():
    with pytest.raises(ValueError, match="rows of 13 slots, .* has 12 positions"):
        hstu.encode({}, CFG, np.ones((1, 13), np.int32))
