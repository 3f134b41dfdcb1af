"""SAR's parameters and configuration: how they are drawn, and what is refused."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import models
from jaxrec.losses.softmax import linear_softmax_ce
from jaxrec.models import sar
from tests.jaxrec.compiling import numpy_jit

CFG = sar.SARConfig(items=20, length=12, dim=8)


def test_initial_parameters():
    cfg = dataclasses.replace(CFG, items=500, users=300)
    draw = numpy_jit(sar.init, static_argnums=1)
    params = draw(jax.random.key(0), cfg)
    values = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        if "norm" in name:
            np.testing.assert_array_equal(leaf, 1.0 if "scale" in name else 0.0)
            continue
        if "bias" in name:
            bound = 1 / math.sqrt(32 if "ffn_out" in name else 8)
        else:
            bound = math.sqrt(6 / sum(leaf.shape))
        assert np.abs(leaf).max() <= bound, name
        assert np.abs(leaf).max() > 0.5 * bound, name
        values.append(leaf.ravel() / bound)
    values = np.concatenate(values)
    assert np.unique(values).size > 0.99 * values.size
    assert values.std() == pytest.approx(1 / math.sqrt(3), rel=0.05)
    again = draw(jax.random.key(0), cfg)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    other = draw(jax.random.key(1), cfg)
    assert np.abs(other["embedding"]["table"] - params["embedding"]["table"]).max() > 0


def test_parameter_count_of_the_study():
    """ML-1M at window 200: tables, two blocks of 12 D^2 + 13 D, and a norm."""
    cfg = sar.SARConfig(items=3416, length=200)
    shapes = jax.eval_shape(lambda: sar.init(jax.random.key(0), cfg))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    d = 64
    assert count == (3418 + 200) * d + 2 * (12 * d * d + 13 * d) + 2 * d
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_decay_is_for_matrices_and_tables():
    shapes = jax.eval_shape(lambda: sar.init(jax.random.key(0), CFG))
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        assert sar.decayed(tuple(part.key for part in path)) == (len(leaf.shape) == 2)


@pytest.mark.parametrize("users", [0, 3])
def test_scores_are_products_with_the_table(users):
    cfg = dataclasses.replace(CFG, users=users)
    params = sar.init(jax.random.key(0), cfg)
    ids = np.array([[1, 2, 3]], np.int32)
    who = np.full_like(ids, 2) if users else None
    hidden = sar.encode(params, cfg, ids, users=who)
    table = np.asarray(params["embedding"]["table"])
    wanted = np.asarray(hidden)[..., : cfg.columns] @ table.T
    if users:
        wanted = wanted + np.asarray(hidden)[..., -1:]
    scores = sar.score(params, cfg, hidden)
    assert scores.shape == (1, 3, 21)
    np.testing.assert_allclose(scores, wanted[..., :21], rtol=0, atol=1e-5)


def test_rows_past_the_vocabulary_have_no_part_in_the_loss():
    params = sar.init(jax.random.key(0), CFG)
    wider = dataclasses.replace(CFG, table_multiple=8)
    assert (CFG.rows, wider.rows) == (22, 24)
    table = np.pad(params["embedding"]["table"], ((0, 2), (0, 0)), constant_values=9.0)
    padded = params | {"embedding": params["embedding"] | {"table": table}}
    hidden = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)

    def loss(params, cfg):
        head = sar.head(params, cfg)
        return linear_softmax_ce(hidden, *head, np.arange(5), np.ones(5, np.float32))

    compiled = numpy_jit(jax.value_and_grad(loss), static_argnums=1)
    value, grads = compiled(padded, wider)
    assert float(value) == pytest.approx(float(loss(params, CFG)))
    np.testing.assert_array_equal(grads["embedding"]["table"][22:], 0)
    drawn = sar.init(jax.random.key(0), wider)["embedding"]["table"]
    np.testing.assert_array_equal(drawn[:22], params["embedding"]["table"])
    np.testing.assert_array_equal(drawn[22:], 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"items": 0}, "items=0"),
        ({"blocks": 0}, "blocks=0"),
        ({"length": 0}, "length >= 1, .* length=0"),
        ({"length": 1, "causal": False}, "length >= 2, .* length=1"),
        ({"dim": 6}, "dim a multiple of 4 and of heads, got dim=6"),
        ({"heads": 3}, "of heads, got dim=8, heads=3"),
        ({"heads": 0}, "heads=0"),
        ({"windows": (1, 2)}, r"windows empty or one .* 1 heads, got \(1, 2\)"),
        ({"windows": (-2,)}, r"one of 0 or more .* got \(-2,\)"),
        ({"users": -1}, "users >= 0, got -1"),
        ({"compute_dtype": "float16"}, "compute_dtype must be .*, got 'float16'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        sar.SARConfig(**{"items": 5, "dim": 8} | fields)


def test_windows_of_a_section_become_a_tuple():
    section = {"name": "sar", "heads": 2, "windows": [0, 2]}
    assert models.config_from("sar", section, 7).windows == (0, 2)


def test_windows_of_a_model_that_has_none_are_refused():
    with pytest.raises(ValueError, match=r"config\.model\.windows: unknown key"):
        models.config_from("lru", {"windows": (0, 2)}, 7)
