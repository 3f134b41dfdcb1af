"""fMRLRec's parameters: how they are drawn, counted and given features."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.nested import increments
from jaxrec.models import fmrlrec, frozen_of, loss_sizes_of, lru
from tests.jaxrec.compiling import numpy_jit

SIZES = (4, 12, 32)
CFG = fmrlrec.FMRLRecConfig(
    items=50, sizes=SIZES, features=(20, 8), blocks=1, r_min=0.5, r_max=0.9
)
draw = numpy_jit(fmrlrec.init, static_argnums=1)


@pytest.fixture(scope="module")
def params():
    return draw(jax.random.key(0), CFG)


def test_initial_parameters(params):
    block = params["block_0"]
    radius = np.exp(-np.exp(np.asarray(block["lru"]["nu_log"], np.float64)))
    assert radius.min() > 0.5 - 1e-6 and radius.max() < 0.9 + 1e-6
    gain = np.exp(np.asarray(block["lru"]["gamma_log"], np.float64))
    np.testing.assert_allclose(gain**2, 1 - radius**2, rtol=1e-4)
    uniform = []

    def check(leaf, inputs):
        """Uniform within 1 / sqrt(inputs)."""
        scaled = np.ravel(leaf) * inputs**0.5
        assert np.abs(scaled).max() <= 1
        uniform.append(scaled)

    for i, (begin, end) in enumerate(increments(SIZES)):
        real, imaginary = np.split(block["in"][f"kernel_{i}"], 2, axis=1)
        check(real, end)
        np.testing.assert_array_equal(imaginary, 0)
        real, imaginary = np.split(block["out"][f"kernel_{i}"], 2)
        check(real, end)
        np.testing.assert_array_equal(imaginary, 0)
        check(block["ffn_in"][f"kernel_{i}"], end)
        check(block["ffn_out"][f"kernel_{i}"], end)
        for name, parts in (("in", 1), ("out", 1), ("ffn_in", 2), ("ffn_out", 1)):
            bias = block[name]["bias"].reshape(-1, 32)
            for part in bias[:parts]:
                check(part[begin:end], end)
            np.testing.assert_array_equal(bias[parts:], 0)
    check(params["embedding"]["kernel"], 28)
    check(params["embedding"]["bias"], 28)
    uniform = np.concatenate(uniform)
    assert np.unique(uniform).size > 0.99 * uniform.size
    assert uniform.std() == pytest.approx(3**-0.5, rel=0.03)
    for name in ("norm", "ffn_norm"):
        np.testing.assert_array_equal(block[name]["scale"], 1)
        np.testing.assert_array_equal(block[name]["bias"], 0)


def test_features_that_nobody_gave_are_random_and_of_length_one(params):
    table = params["features"]["table"]
    assert table.shape == (51, 28)
    np.testing.assert_array_equal(table[0], 0)
    for part in (table[1:, :20], table[1:, 20:]):
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1, rtol=1e-5)
    other = draw(jax.random.key(1), CFG)["features"]["table"]
    assert np.abs(other - table)[1:].mean() > 0.05


def test_features_are_put_behind_a_row_of_zeros(params):
    rng = np.random.default_rng(0)
    text, image = (rng.normal(size=(50, dim)).astype(np.float32) for dim in (20, 8))
    image[6] = 0  # item 7 has none
    cfg = dataclasses.replace(CFG, table_multiple=8)
    given = fmrlrec.with_features(params, cfg, [text, image])
    table = given["features"]["table"]
    assert table.shape == (56, 28)
    np.testing.assert_array_equal(table[0], 0)
    np.testing.assert_array_equal(table[51:], 0)
    np.testing.assert_array_equal(table[1:51], np.concatenate([text, image], 1))
    projection = params["embedding"]
    items, bias = fmrlrec.head(given, cfg)
    np.testing.assert_allclose(items[0], projection["bias"], atol=1e-6)
    wanted = text[6] @ projection["kernel"][:20] + projection["bias"]
    np.testing.assert_allclose(items[7], wanted, atol=1e-5)
    np.testing.assert_array_equal(bias, [0] * 51 + [-1e9] * 5)
    with pytest.raises(
        ValueError, match=r"\(50, 20\), \(50, 8\)\], got \[\(50, 20\)\]"
    ):
        fmrlrec.with_features(params, cfg, [text])


def test_a_table_that_is_trained_itself():
    cfg = dataclasses.replace(CFG, features=(), table_multiple=4)
    params = jax.eval_shape(lambda: fmrlrec.init(jax.random.key(0), cfg))
    assert params["embedding"]["table"].shape == (52, 32)
    assert params.keys() == {"embedding", "block_0"}


def test_parameter_count_of_the_published_model():
    sizes = (8, 16, 32, 64, 128, 256, 512, 1024)
    cfg = fmrlrec.FMRLRecConfig(items=10, features=(1024, 1024), blocks=2)
    assert cfg.sizes == sizes
    shapes = jax.eval_shape(lambda: fmrlrec.init(jax.random.key(0), cfg))
    count = sum(
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
        if "kernel_" in jax.tree_util.keystr(path)
    )
    # Seven square maps a block where a complex one counts twice, two thirds of each.
    nested = 8**2 + sum(size**2 // 2 for size in sizes[1:])
    assert count == 2 * 7 * nested
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_what_is_decayed_and_what_is_frozen(params):
    groups = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        names = tuple(part.key for part in path)
        decayed, frozen = fmrlrec.decayed(names), frozen_of(fmrlrec, names)
        groups.setdefault((decayed, frozen), set()).add(names[-1])
    logs = {"nu_log", "theta_log", "gamma_log"}
    kernels = {"kernel", "kernel_0", "kernel_1", "kernel_2"}
    assert groups == {
        (True, False): logs | kernels | {"scale"},
        (False, False): {"bias"},
        (False, True): {"table"},
    }
    assert fmrlrec.decayed(("embedding", "table"))
    assert not frozen_of(fmrlrec, ("embedding", "table"))
    assert not frozen_of(lru, ("features", "table"))


def test_sizes_weigh_the_same_unless_said_otherwise():
    weights = dict(loss_sizes_of(fmrlrec, CFG))
    assert weights == {4: 1 / 3, 12: 1 / 3, 32: 1 / 3}
    other = dataclasses.replace(CFG, size_weights=(1.0, 1.0, 2.0))
    assert loss_sizes_of(fmrlrec, other)[-1] == (32, 2.0)
    assert loss_sizes_of(lru, lru.LRUConfig(7)) == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"items": 0}, "items=0"),
        ({"blocks": 0}, "blocks=0"),
        ({"sizes": (8, 12, 10)}, r"sizes: want growing multiples of 4.*\(8, 12, 10\)"),
        ({"size_weights": (1.0,)}, r"one above 0 for each of the 2 sizes.*\(1.0,\)"),
        ({"size_weights": (1.0, 0.0)}, r"size_weights: want one above 0 .*0\.0\)"),
        ({"features": (8, 0)}, r"features: want dimensions of 1 or more, got \(8, 0\)"),
        ({"r_min": 0.9, "r_max": 0.8}, "want 0 <= r_min < r_max < 1, got 0.9, 0.8"),
        ({"compute_dtype": "float16"}, "compute_dtype must be .*, got 'float16'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        fmrlrec.FMRLRecConfig(**{"items": 5, "sizes": (4, 8)} | fields)


def test_vectors_of_their_own_are_added_to_the_projected_features(params):
    cfg = dataclasses.replace(CFG, own_vectors=True)
    own = draw(jax.random.key(0), cfg)
    np.testing.assert_array_equal(own["embedding"].pop("table"), np.zeros((51, 32)))
    jax.tree.map(np.testing.assert_array_equal, own, params)
    added = np.random.default_rng(1).normal(size=(51, 32)).astype(np.float32)
    given = params | {"embedding": params["embedding"] | {"table": added}}
    ids = np.int32([[0, 7], [3, 50]])
    for part in (None, ids):
        wanted = fmrlrec.item_vectors(params, CFG, part)
        wanted = wanted + (added if part is None else added[part])
        got = fmrlrec.item_vectors(given, cfg, part)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    small_cfg, small = fmrlrec.truncate(given, cfg, 12)
    assert small_cfg.own_vectors and small["embedding"]["table"].shape == (51, 12)
    folded_cfg, folded = fmrlrec.tabulate(small, small_cfg)
    assert folded_cfg == dataclasses.replace(small_cfg, features=())
    table, _ = fmrlrec.head(given, cfg)
    np.testing.assert_allclose(
        folded["embedding"]["table"], table[:, :12], rtol=0, atol=1e-6
    )
    assert fmrlrec.decayed(("embedding", "table"))


def test_some_items_go_without_their_own_vectors_in_a_step(params):
    cfg = dataclasses.replace(CFG, own_vectors=True, dropout_own=0.4)
    added = np.ones((51, 32), np.float32)
    given = params | {"embedding": params["embedding"] | {"table": added}}
    counts = []
    for seed in range(40):
        one = fmrlrec.for_step(given, cfg, jax.random.key(seed))
        rows = np.asarray(one["embedding"].pop("table"))
        assert (rows == rows[:, :1]).all() and set(rows.ravel()) == {0, 1}
        counts.append((rows[:, 0] == 0).sum())
        np.testing.assert_array_equal(
            one["embedding"]["kernel"], given["embedding"]["kernel"]
        )
    assert np.mean(counts) == pytest.approx(0.4 * 51, abs=4 * (0.24 * 51 / 40) ** 0.5)
    for changes in ({"dropout_own": 0.0}, {"own_vectors": False}, {"features": ()}):
        assert (
            fmrlrec.for_step(given, dataclasses.replace(cfg, **changes), None) is given
        )
