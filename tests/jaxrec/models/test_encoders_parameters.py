"""Parameters and configurations of the encoders: draws, counts and refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import models
from tests.jaxrec.compiling import numpy_jit

NAMES = ("bert", "albert", "gpt2", "llama", "transformer_xl")
by_name = pytest.mark.parametrize("name", NAMES)
D, N, LENGTH = 64, 3416, 200
LAYER = 12 * D * D + 13 * D  # four maps, two of the feed-forward part, two norms
COUNTS = {
    "bert": (N + 2) * D + (LENGTH + 3) * D + 2 * LAYER,
    "albert": (N + 2) * D + (LENGTH + 3) * D + (D + 1) * D + LAYER,
    "gpt2": (N + 2) * D + LENGTH * D + 2 * LAYER + 2 * D,
    "llama": (N + 2) * D + 2 * (16 * D * D + 2 * D) + D,
    "transformer_xl": (N + 2) * D + 2 * (LAYER - 4 * D + D * D) + 2 * D,
}


def shapes_of(name, **fields):
    cfg = models.config_from(name, {"length": LENGTH, **fields}, N)
    return jax.eval_shape(
        lambda: models.model_module(name).init(jax.random.key(0), cfg)
    )


@by_name
def test_parameter_count_at_the_sizes_of_the_study(name):
    leaves = jax.tree.leaves(shapes_of(name))
    assert sum(leaf.size for leaf in leaves) == COUNTS[name]
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_a_narrower_embedding():
    count = sum(
        leaf.size for leaf in jax.tree.leaves(shapes_of("albert", dim_embedding=16))
    )
    factors = (N + 2 + LENGTH + 3) * 16 + (16 + 1) * D + (D + 1) * 16
    assert count == factors + LAYER


@by_name
def test_decay_is_for_what_is_no_bias_and_no_norm(name):
    decayed = models.model_module(name).decayed
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes_of(name)):
        path = tuple(part.key for part in path)
        matrix = len(leaf.shape) == 2 and "bias" not in path[-1]
        assert decayed(path) == (matrix or path[-1] == "token_type"), path


@functools.cache
def drawn(name, **fields):
    cfg = models.config_from(name, {"dim": 16, **fields}, 500)
    init = numpy_jit(models.model_module(name).init, static_argnums=1)
    return cfg, init(jax.random.key(0), cfg)


@pytest.mark.parametrize("name", ["albert", "gpt2"])
def test_initial_parameters(name):
    _, params = drawn(name)
    cut = 0.8796 if name == "albert" else 1.0  # of a normal cut at two of its own
    values = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = tuple(part.key for part in path)
        if path[-1] in ("scale", "bias"):
            np.testing.assert_array_equal(leaf, float(path[-1] == "scale"))
            continue
        added = name == "gpt2" and path[1] in ("out", "ffn_out")
        std = cut * 0.02 * (0.5 if added else 1.0)
        assert leaf.std() == pytest.approx(std, rel=6 * (2 * leaf.size) ** -0.5), path
        values.append(leaf.ravel())
    values = np.concatenate(values)
    assert np.unique(values).size > 0.99 * values.size


def test_rounding_the_rows_changes_neither_draws_nor_scores():
    (plain, params), (wider, padded) = drawn("gpt2"), drawn("gpt2", table_multiple=16)
    model = models.model_module("gpt2")
    table, bias = model.head(padded, wider)
    assert table.shape == (512, 16)
    np.testing.assert_array_equal(table[502:], 0)
    np.testing.assert_array_equal(bias, [0.0] * 502 + [-1e9] * 10)
    cut = padded | {"embedding": padded["embedding"] | {"table": table[:502]}}
    jax.tree.map(np.testing.assert_array_equal, params, cut)
    hidden = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    scores = model.score(params, plain, hidden)
    np.testing.assert_allclose(scores, (hidden @ table[:501].T), rtol=0, atol=1e-6)


@by_name
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blocks": 0}, "Config: want items >= 1, blocks >= 1, .* blocks=0"),
        ({"length": 1, "causal": False}, "length >= 2, .* length=1"),
        ({"dim": 6}, "dim a multiple of 4 and of heads, got dim=6"),
        ({"heads": 3}, "of heads, got dim=64, heads=3"),
        ({"inner_ratio": 0}, "Config: want inner_ratio >= 1, got 0"),
        ({"compute_dtype": "float16"}, "must be float32 or bfloat16, got 'float16'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        models.config_from(name, fields, 7)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "llama",
            {"dim": 12, "heads": 4},
            "heads of an even width, got dim=12, heads=4",
        ),
        ("llama", {"dropout": 0.1}, r"config\.model\.dropout: unknown key"),
        ("albert", {"dim_embedding": -1}, "want dim_embedding >= 0, got -1"),
        ("bert", {"dim_embedding": 8}, r"config\.model\.dim_embedding: unknown key"),
    ],
)
def test_what_an_architecture_does_not_have_is_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        models.config_from(name, fields, 7)


@by_name
def test_rows_longer_than_the_positions_are_refused(name):
    cfg = models.config_from(name, {"length": 12}, 7)
    with pytest.raises(ValueError, match="rows of 13 slots, .* has 12 positions"):
        models.model_module(name).encode({}, cfg, np.ones((1, 13), np.int32))


def test_what_an_architecture_is_by_default():
    causal = {name: models.config_from(name, {}, 7).causal for name in NAMES}
    assert causal == {
        "bert": False,
        "albert": False,
        "gpt2": True,
        "llama": True,
        "transformer_xl": True,
    }
