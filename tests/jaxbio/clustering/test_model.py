"""One step of the process: padding, permutations, probabilities, the attention."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering import layers
from jaxbio.clustering import model as process
from jaxbio.clustering.model import Config
from jaxbio.clustering.objective import log_step
from tests.jaxbio.clustering.small import KINDS, made, of_each_kind, points


@partial(jax.jit, static_argnames=("model", "draws"))
def one_step(model, params, inputs, valid, left, inside, anchor, draws=4):
    encoded = process.encode(params, model, inputs, valid)
    seen = process.view(params, model, encoded, left, anchor)
    clusters = process.cluster_codes(params, model, encoded, valid[:, None] & ~left)
    keys = jax.vmap(lambda key: jax.random.split(key, left.shape[1]))(
        jax.random.split(jax.random.key(5), len(valid))
    )
    return log_step(params, model, seen, clusters, inside, keys, draws)


def a_step(valid, key=0):
    """Some left, some inside, an anchor inside: two rows per set."""
    rng = np.random.default_rng(key)
    shape = (valid.shape[0], 2, valid.shape[1])
    left = (rng.random(shape) < 0.7) & np.asarray(valid)[:, None]
    left[..., 0] = True
    inside = left & (rng.random(shape) < 0.5)
    inside[..., 0] = True
    return jnp.asarray(left), jnp.asarray(inside), jnp.zeros(shape[:2], jnp.int32)


@of_each_kind
def test_padding_changes_nothing(variant, latent):
    model, params = made(variant, latent)
    inputs, valid = points(size=5)
    step = a_step(valid)
    found = one_step(model, params, inputs, valid, *step)
    inputs, valid = points(size=5, padded=9)
    inputs["x"] = inputs["x"].at[:, :5].set(points(size=5)[0]["x"])
    wide = [jnp.pad(a, ((0, 0), (0, 0), (0, 4))) for a in step[:2]]
    again = one_step(model, params, inputs, valid, *wide, step[2])
    np.testing.assert_allclose(found, again, rtol=2e-5, atol=2e-5)
    assert np.ptp(np.asarray(found)) > 1e-3


@of_each_kind
def test_the_order_of_points_changes_nothing(variant, latent):
    model, params = made(variant, latent)
    inputs, valid = points(size=6)
    left, inside, anchor = a_step(valid)
    found = one_step(model, params, inputs, valid, left, inside, anchor)
    order = np.random.default_rng(3).permutation(6)
    moved = one_step(
        model,
        params,
        {"x": inputs["x"][:, order]},
        valid[:, order],
        left[..., order],
        inside[..., order],
        jnp.full_like(anchor, list(order).index(0)),
    )
    np.testing.assert_allclose(found, moved, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("variant", "latent"), [("acp", "mixture"), ("acp_s", "none"), ("ccp", "mixture")]
)
def test_a_step_is_a_distribution_over_clusters(variant, latent):
    """All sets of the points that are left, with one anchor, have probability one."""
    model, params = made(variant, latent)
    inputs, valid = points(sets=1, size=5)
    subsets = (np.arange(8)[:, None] >> np.arange(3)) & 1
    inside = np.zeros((1, 8, 5), bool)
    inside[0, :, 1] = True
    inside[0, :, 2:] = subsets
    left = jnp.asarray(np.tile([False, True, True, True, True], (1, 8, 1)))
    anchor = jnp.ones((1, 8), jnp.int32)
    found = one_step(model, params, inputs, valid, left, jnp.asarray(inside), anchor)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)


def test_a_gaussian_latent_is_estimated_without_bias():
    """The estimates' mean over all clusters is one, whatever q is."""
    model, params = made(latent="gaussian")
    inputs, valid = points(sets=1, size=4)
    subsets = (np.arange(8)[:, None] >> np.arange(3)) & 1
    inside = np.concatenate([np.ones((8, 1)), subsets], 1)[None].astype(bool)
    left, anchor = jnp.ones((1, 8, 4), bool), jnp.zeros((1, 8), jnp.int32)
    found = one_step(
        model, params, inputs, valid, left, jnp.asarray(inside), anchor, draws=20_000
    )
    assert np.exp(found).sum() == pytest.approx(1, abs=0.03)


def test_an_anchor_alone_has_nothing_to_decide():
    for variant, latent in KINDS:
        model, params = made(variant, latent)
        inputs, valid = points(sets=1, size=4)
        alone = jnp.asarray([[[False, True, False, False]]])
        anchor = jnp.ones((1, 1), jnp.int32)
        found = one_step(model, params, inputs, valid, alone, alone, anchor)
        assert np.isfinite(found).all()
        if latent != "gaussian":
            assert float(found[0, 0]) == pytest.approx(0, abs=1e-6)


@of_each_kind
def test_gradients_are_finite_with_empty_rows(variant, latent):
    model, params = made(variant, latent)
    inputs, valid = points(sets=2, size=4)
    left, inside, anchor = a_step(valid)
    left, inside = left.at[0, 0].set(False), inside.at[0, 0].set(False)

    def total(params):
        return one_step(model, params, inputs, valid, left, inside, anchor).sum()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(params)):
        assert np.isfinite(leaf).all()


def plain_attention(block, x, y, mask, heads, scale):
    """MAB(x, y) in float64, a loop over heads, as in the paper."""
    block = jax.tree.map(lambda a: np.asarray(a, float), block)

    def mapped(name, rows):
        return rows @ block[name]["kernel"] + block[name]["bias"]

    q, k, v = mapped("query", x), mapped("key", y[mask]), mapped("value", y[mask])
    size = q.shape[1] // heads
    parts = []
    for h in range(heads):
        cut = slice(h * size, (h + 1) * size)
        scores = q[:, cut] @ k[:, cut].T * scale
        weights = np.exp(scores - scores.max(1, keepdims=True))
        parts.append(weights / weights.sum(1, keepdims=True) @ v[:, cut])
    x = q + np.concatenate(parts, 1)
    x = x + np.maximum(mapped("out", x), 0)
    if "norm" in block:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        x = x * block["norm"]["scale"] + block["norm"]["bias"]
    return x


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_pools_and_induced_attention_are_the_papers(norm, shared):
    rng = np.random.default_rng(0)
    params = layers.induced_init(jax.random.key(0), 8, 3, norm)
    params = jax.tree.map(lambda a: a + 0.3 * rng.normal(size=a.shape), params)
    x = rng.normal(size=(2, 6, 8) if shared else (2, 2, 6, 8))
    mask = rng.random((2, 2, 6)) < 0.6
    mask[0, 0] = False
    mask[1, 1, :2] = True
    pooled = layers.pool(params["pool"], jnp.asarray(x), jnp.asarray(mask), 2, 0.4)
    for b, r in [(0, 1), (1, 0), (1, 1)]:
        rows = x[b] if shared else x[b, r]
        block, seeds = (
            params["pool"]["block"],
            np.asarray(params["pool"]["seeds"], float),
        )
        expected = plain_attention(block, seeds, rows, mask[b, r], 2, 0.4)
        np.testing.assert_allclose(pooled[b, r], expected, rtol=1e-4, atol=1e-5)
        if not shared:
            found = layers.induced(params, jnp.asarray(x), jnp.asarray(mask), 2, 0.4)
            everything = np.ones(len(expected), bool)
            full = plain_attention(params["block"], rows, expected, everything, 2, 0.4)
            np.testing.assert_allclose(found[b, r], full, rtol=1e-4, atol=1e-5)
    assert (np.asarray(pooled[0, 0]) == 0).all()


def test_the_shift_by_the_anchor_is_a_mab_with_one_key():
    model, params = made("acp", relative=False)
    rng = np.random.default_rng(1)
    block = dict(params["shift"])
    x, anchor = rng.normal(size=(5, 8)), rng.normal(size=(1, 8))
    block["key"] = layers.linear_init(jax.random.key(9), 8, 8)
    expected = plain_attention(block, x, anchor, np.ones(1, bool), 2, 0.4)
    shifted = layers.linear(block["query"], jnp.asarray(x))
    shifted += layers.linear(block["value"], jnp.asarray(anchor))
    found = layers.finish(block, shifted)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_prelu_has_the_gradient_of_its_formula():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(4, 3, 5)))

    def plain(slope, x):
        return jnp.where(x >= 0, x, slope * x)

    def total(function):
        return lambda slope, x: (function(slope, x) ** 2 * jnp.arange(5)).sum()

    slope = jnp.array(0.3)
    ours = jax.grad(total(layers.prelu), (0, 1))(slope, x)
    theirs = jax.grad(total(plain), (0, 1))(slope, x)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_impossible_configurations_are_refused():
    with pytest.raises(ValueError, match="heads=3 does not divide model.dim=64"):
        Config(heads=3)
    with pytest.raises(ValueError, match="model.components: want 1 or more, got 0"):
        Config(components=0)
