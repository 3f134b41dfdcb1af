"""Steps of partitions, their weights, and the doubly reparametrised gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering import model as process
from jaxbio.clustering import objective
from jaxbio.clustering.partitions import canonical
from tests.jaxbio.clustering.small import made, of_each_kind, points
from tests.jaxrec.compiling import quick_jit


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


LABELS = jnp.asarray([[0, 1, 0, 2, 1, -1], [0, 0, 0, 0, 0, 0]])


def test_all_steps_of_a_partition():
    rows, labels = objective.choose_steps(keys(2), LABELS, 4, 4)
    np.testing.assert_array_equal(canonical(labels), canonical(LABELS))
    # Every cluster once, but for a last cluster of one point.
    for b in range(2):
        sizes = np.bincount(np.asarray(labels[b])[np.asarray(LABELS[b]) >= 0])
        live = len(sizes) - (sizes[-1] == 1)
        np.testing.assert_array_equal(rows.weight[b], np.arange(4) < live)
        for k, size in enumerate(sizes):
            assert rows.inside[b, k].sum() == size
            assert rows.left[b, k].sum() == sizes[k:].sum()
            assert rows.inside[b, k, rows.anchor[b, k]]


def test_orders_are_size_biased_and_anchors_uniform():
    count = 20_000
    labels = jnp.tile(LABELS[:1], (count, 1))
    rows, renamed = objective.choose_steps(keys(count), labels, 3, 3)
    first = np.asarray(jnp.take_along_axis(labels, rows.anchor[:, :1], 1))[:, 0]
    shares = np.bincount(first) / count
    np.testing.assert_allclose(shares, [0.4, 0.4, 0.2], atol=4 * 0.5 / count**0.5)
    anchors = np.asarray(rows.anchor[:, 0])[first == 0]
    assert (anchors == 0).mean() == pytest.approx(
        0.5, abs=4 * 0.5 / len(anchors) ** 0.5
    )


def test_some_steps_stand_for_all_without_bias():
    count = 4000
    labels = jnp.tile(LABELS[:1], (count, 1))
    few, _ = objective.choose_steps(keys(count), labels, 4, 1)
    everything, _ = objective.choose_steps(keys(count), labels, 4, 4)

    def worth(rows):  # any function of a step
        return (np.asarray(rows.weight) * np.asarray(rows.left).sum(-1) ** 1.5).sum(1)

    a, b = worth(few), worth(everything)
    assert a.mean() == pytest.approx(b.mean(), abs=4 * a.std() / count**0.5)
    two, _ = objective.choose_steps(keys(50), labels[:50], 4, 2)
    numbers = np.asarray(two.number)
    assert (numbers[:, 0] != numbers[:, 1]).all()


@of_each_kind
def test_steps_at_once_are_the_steps_one_after_the_other(variant, latent):
    model, params = made(variant, latent)
    inputs, valid = points(size=5, padded=6)
    labels = jnp.asarray([[0, 1, 0, 2, 1, -1], [0, 0, 1, 1, 1, -1]])

    @quick_jit
    def at_once(params):
        encoded = process.encode(params, model, inputs, valid)
        return objective.log_steps_of(
            params, model, encoded, labels, keys(2), most=3, steps=3, draws=3
        )

    @quick_jit
    def one_by_one(params):
        encoded = process.encode(params, model, inputs, valid)
        both = jax.vmap(jax.random.split)(keys(2))
        rows, renamed = objective.choose_steps(both[:, 0], labels, 3, 3)
        clusters = jnp.zeros((2, 1, 8))
        steps = []
        for k in range(3):
            cut = slice(k, k + 1)
            seen = process.view(
                params, model, encoded, rows.left[:, cut], rows.anchor[:, cut]
            )
            own = jax.vmap(lambda key, k=k: jax.random.fold_in(key, k))(both[:, 1])
            one = objective.log_step(
                params, model, seen, clusters, rows.inside[:, cut], own[:, None], 3
            )
            steps.append(jnp.where(rows.weight[:, k] > 0, one[:, 0], 0))
            inside = renamed[:, None] == k
            clusters += process.cluster_codes(params, model, encoded, inside)
        return jnp.stack(steps, 1), rows.weight

    (found, weight), (expected, wanted) = at_once(params), one_by_one(params)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(weight, wanted)


def test_the_gradient_is_the_two_pass_form():
    """z_s = sg(z) + w (z - sg(z)), with w from a first pass, and the loss -sum w lw."""
    model, params = made(latent="gaussian")
    inputs, valid = points(size=5)
    labels = jnp.asarray([[0, 1, 0, 1, 1], [0, 0, 1, 1, 2]])
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)), params)
        inputs = {"x": jnp.asarray(np.asarray(inputs["x"], np.float64))}
        rows, renamed = objective.choose_steps(keys(2), labels, 3, 3)
        noise = jax.random.normal(jax.random.key(4), (6, 2, 3, 2), jnp.float64)

        def pieces(params):
            encoded = process.encode(params, model, inputs, valid)
            before = objective.clusters_before(params, model, encoded, renamed, 3)
            seen = process.view(params, model, encoded, rows.left, rows.anchor)
            about = process.posterior(params, model.cfg, seen, before, rows.inside)
            mean, log_scale = jnp.split(about, 2, -1)
            z = mean + jnp.exp(log_scale) * noise
            theta = (params, seen, before, rows.inside, jax.lax.stop_gradient(about))
            return theta, z

        def one_pass(params):
            return -objective.log_mean_weight(
                objective._log_weights, *pieces(params)
            ).sum()

        def two_pass(params):
            theta, z = pieces(params)
            stopped = jax.lax.stop_gradient
            first = stopped(objective._log_weights(theta, stopped(z)))
            w = jax.nn.softmax(first, 0)
            shifted = stopped(z) + w[..., None] * (z - stopped(z))
            return -(w * objective._log_weights(theta, shifted)).sum()

        ours, theirs = (jax.jit(jax.grad(f))(params) for f in (one_pass, two_pass))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        assert max(float(abs(a).max()) for a in jax.tree.leaves(ours)) > 1e-2


def test_a_bound_gets_tighter_with_more_draws():
    model, params = made(latent="gaussian")
    inputs, valid = points(sets=64, size=5)
    labels = jnp.tile(jnp.asarray([0, 1, 0, 1, 1]), (64, 1))
    encoded = process.encode(params, model, inputs, valid)

    @partial(jax.jit, static_argnums=0)
    def mean(draws):
        found, weight = objective.log_steps_of(
            params, model, encoded, labels, keys(64), most=2, steps=2, draws=draws
        )
        return (found * weight).sum() / 64

    assert mean(1) < mean(50) - 0.01
