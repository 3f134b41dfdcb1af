"""Schedules and optimisers against their formulas in float64."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec.core.optim import make_optimiser, make_schedule, path_names

CONFIG = {
    "name": "adamw",
    "lr": 0.01,
    "schedule": "constant",
    "warmup": 0,
    "final_lr": 0.0,
    "weight_decay": 0.1,
    "b1": 0.9,
    "b2": 0.99,
    "eps": 1e-9,
    "clip_norm": 5.0,
    "bias_correction": True,
}


def rates(steps, **options):
    schedule = make_schedule(CONFIG | options, steps)
    return [float(schedule(step)) for step in range(steps + 1)]


def test_constant_schedule_with_and_without_warmup():
    assert rates(3) == pytest.approx([0.01] * 4)
    assert rates(6, warmup=4) == pytest.approx(
        [0, 0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01]
    )


def test_linear_schedule():
    assert rates(4, schedule="linear", final_lr=0.002) == pytest.approx(
        [0.01, 0.008, 0.006, 0.004, 0.002]
    )


def test_cosine_schedule_after_warmup():
    got = rates(12, schedule="cosine", warmup=2, final_lr=0.001)
    cosine = [0.5 * (1 + math.cos(math.pi * k / 10)) for k in range(11)]
    assert got == pytest.approx([0, 0.005, *(0.001 + 0.009 * c for c in cosine)])


def trained(config, params, gradients, decayed):
    """Parameters after one update with each of `gradients`."""
    optimiser = make_optimiser(config, len(gradients), decayed)
    state = optimiser.init(params)

    @jax.jit
    def update(gradient, state, params):
        return optimiser.update(optimiser.pool(gradient), state, params)

    for gradient in gradients:
        params, state, _ = update(gradient, state, params)
    return params


def draw(steps):
    rng = np.random.default_rng(0)

    def tree():
        return {
            "kernel": rng.normal(size=(3, 4)).astype(np.float32),
            "norm": {"scale": rng.normal(size=4).astype(np.float32)},
        }

    params = jax.tree.map(jnp.asarray, tree())
    # Norms around 4: some gradients are clipped at 5 and some are not.
    return params, [tree() for _ in range(steps)]


def is_kernel(path):
    return path == ("kernel",)


@pytest.mark.parametrize("corrected", [True, False])
def test_adamw_is_clip_then_decoupled_decay_then_adam(corrected):
    params, gradients = draw(5)
    norms = [
        math.sqrt(sum(float((leaf.astype(float) ** 2).sum()) for leaf in leaves))
        for leaves in map(jax.tree.leaves, gradients)
    ]
    assert min(norms) < CONFIG["clip_norm"] / 1.5 < max(norms)
    config = CONFIG | {"clip_norm": CONFIG["clip_norm"] / 1.5}
    config["bias_correction"] = corrected
    got = trained(config, params, gradients, is_kernel)

    for name, wanted in [("kernel", params["kernel"]), ("scale", params["norm"])]:
        decays = name == "kernel"
        wanted = np.float64(wanted if decays else wanted["scale"])
        first, second = np.zeros_like(wanted), np.zeros_like(wanted)
        for step, (gradient, norm) in enumerate(zip(gradients, norms, strict=True), 1):
            gradient = gradient["kernel"] if decays else gradient["norm"]["scale"]
            gradient = np.float64(gradient) * min(1, config["clip_norm"] / norm)
            first = 0.9 * first + 0.1 * gradient
            second = 0.99 * second + 0.01 * gradient**2
            bias = (1 - 0.9**step, 1 - 0.99**step) if corrected else (1, 1)
            adam = (first / bias[0]) / (np.sqrt(second / bias[1]) + 1e-9)
            wanted = wanted * (1 - 0.01 * 0.1 * decays) - 0.01 * adam
        result = got["kernel"] if decays else got["norm"]["scale"]
        np.testing.assert_allclose(result, wanted, rtol=0, atol=2e-6)


def test_sgd_follows_the_schedule():
    params, gradients = draw(3)
    config = CONFIG | {
        "name": "sgd",
        "schedule": "linear",
        "weight_decay": 0.0,
        "clip_norm": 0.0,
    }
    got = trained(config, params, gradients, is_kernel)
    wanted = params["kernel"]
    for rate, gradient in zip((0.01, 0.02 / 3, 0.01 / 3), gradients, strict=True):
        wanted = wanted - rate * gradient["kernel"]
    np.testing.assert_allclose(got["kernel"], wanted, rtol=1e-6)


def test_adam_is_adamw_without_decay():
    params, gradients = draw(3)
    plain = CONFIG | {"weight_decay": 0.0}
    got = trained(plain | {"name": "adam"}, params, gradients, is_kernel)
    wanted = trained(plain, params, gradients, is_kernel)
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_decay_sees_the_path_of_every_leaf():
    seen = []
    params = {"a": {"b": jnp.ones(2)}, "c": [jnp.ones(1), jnp.ones(1)]}
    make_optimiser(CONFIG, 1, lambda path: bool(seen.append(path))).init(params)
    assert set(seen) == {("a", "b"), ("c", "0"), ("c", "1")}
    (path, _), *_ = jax.tree_util.tree_leaves_with_path(params)
    assert path_names(path) == ("a", "b")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adanw"}, "optim.name 'adanw' is unknown; did you mean 'adamw'"),
        (
            {"schedule": "cosin"},
            "optim.schedule 'cosin' is unknown; did you mean 'cosine'",
        ),
        ({"name": "adam"}, "optim.weight_decay=0.1: adam has no decay"),
        ({"name": "sgd", "bias_correction": False}, "bias_correction=False: sgd has"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_optimiser(CONFIG | options, 10, is_kernel)


def make_tree(rng):
    shapes = {"kernel": (3, 4), "table": (50, 4), "norm": {"scale": (4,), "bias": ()}}
    is_shape = lambda node: isinstance(node, tuple)  # noqa: E731
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=is_shape,
    )


@pytest.mark.parametrize("small", [0, 20, 1000])
def test_parameters_put_together_are_updated_as_if_alone(small):
    """Whatever is put together: nothing, all but the table, everything."""
    rng = np.random.default_rng(1)
    params, grads = make_tree(rng), [make_tree(rng) for _ in range(3)]

    def is_decayed(path):
        return path[0] != "norm"

    optimiser = make_optimiser(CONFIG, 3, is_decayed)
    optimiser = dataclasses.replace(optimiser, small=small)
    plain = optax.chain(
        optax.clip_by_global_norm(CONFIG["clip_norm"]),
        optax.adamw(
            CONFIG["lr"],
            CONFIG["b1"],
            CONFIG["b2"],
            CONFIG["eps"],
            weight_decay=CONFIG["weight_decay"],
            mask={"kernel": True, "table": True, "norm": False},
        ),
    )
    got, state = params, optimiser.init(params)
    wanted, plain_state = params, plain.init(params)
    for gradient in grads:
        doubled = jax.tree.map(lambda g: 2 * g, gradient)
        got, state, norms = optimiser.update(optimiser.pool(doubled), state, got, 2.0)
        updates, plain_state = plain.update(gradient, plain_state, wanted)
        wanted = optax.apply_updates(wanted, updates)
        of = {"grad_norm": gradient, "param_norm": wanted, "update_norm": updates}
        for name, tree in of.items():
            assert norms[name] == pytest.approx(float(optax.tree.norm(tree)), rel=1e-5)
    assert jax.tree.structure(got) == jax.tree.structure(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, wanted)
    mu = state[1].mu
    assert len(jax.tree.leaves(mu.large)) == {0: 4, 20: 1, 1000: 0}[small]
    sizes = {
        group: {n: v.size for n, v in by.items()} for group, by in mu.small.items()
    }
    assert (
        sizes
        == {
            0: {},
            20: {"decayed": {"float32": 12}, "other": {"float32": 5}},
            1000: {"decayed": {"float32": 212}, "other": {"float32": 5}},
        }[small]
    )


@pytest.mark.parametrize("small", [0, 1000])
def test_frozen_parameters_are_left_as_they_are(small):
    rng = np.random.default_rng(2)
    params, grads = make_tree(rng), make_tree(rng)
    optimiser = make_optimiser(
        CONFIG, 3, lambda path: True, lambda path: path == ("table",)
    )
    optimiser = dataclasses.replace(optimiser, small=small)
    got, state, norms = optimiser.update(
        optimiser.pool(grads), optimiser.init(params), params
    )
    np.testing.assert_array_equal(got["table"], params["table"])
    assert np.abs(got["kernel"] - params["kernel"]).min() > 0
    elements = sum(leaf.size for leaf in jax.tree.leaves(params))
    moments = sum(leaf.size for leaf in jax.tree.leaves(state[1].mu))
    assert moments == elements - params["table"].size
    wanted = optax.tree.norm({**grads, "table": jnp.zeros(())})
    assert norms["grad_norm"] == pytest.approx(float(wanted), rel=1e-5)


def test_l2_is_in_the_gradient_and_not_decoupled():
    """PyTorch's Adam(weight_decay): g + l2 w goes through the moments."""
    config = CONFIG | {"name": "adam", "weight_decay": 0.0, "clip_norm": 0.0, "l2": 0.3}
    params = {"kernel": jnp.array([2.0, -1.0]), "bias": jnp.array([0.5])}
    gradients = [jax.tree.map(lambda p: 0.2 * p + 0.1, params)] * 2
    found = trained(config, params, gradients, lambda path: path[-1] == "kernel")
    for name, l2 in [("kernel", 0.3), ("bias", 0.0)]:
        w = np.asarray(params[name], float)
        first, second = np.zeros_like(w), np.zeros_like(w)
        for step, gradient in enumerate(gradients, 1):
            g = np.asarray(gradient[name], float) + l2 * w
            first = 0.9 * first + 0.1 * g
            second = 0.99 * second + 0.01 * g * g
            scaled = first / (1 - 0.9**step)
            w = w - 0.01 * scaled / (np.sqrt(second / (1 - 0.99**step)) + 1e-9)
        np.testing.assert_allclose(found[name], w, rtol=1e-5)
    with pytest.raises(ValueError, match="optim.l2: want 0 or more, got -1"):
        make_optimiser(CONFIG | {"l2": -1}, 1, lambda path: True)
