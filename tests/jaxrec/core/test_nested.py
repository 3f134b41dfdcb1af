"""Nested linear maps: the dense masked product, and what depends on what."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec.core import nested
from jaxrec.core.nested import check_sizes, cut_linear, increments, nested_linear
from tests.jaxrec.compiling import numpy_jit

SIZES = (4, 8, 20)
DIM = SIZES[-1]


def draw(vectors=1, made=1, seed=0):
    """Parameters of a map and inputs (3, 2, vectors * DIM), float64."""
    rng = np.random.default_rng(seed)
    params = {
        f"kernel_{i}": rng.normal(size=(vectors * end, made * (end - begin)))
        for i, (begin, end) in enumerate(increments(SIZES))
    }
    params["bias"] = rng.normal(size=made * DIM)
    return params, rng.normal(size=(3, 2, vectors * DIM))


def dense(params, vectors, made):
    """The same kernel as one matrix, and the mask of what is connected in it."""
    kernel = np.zeros((vectors, DIM, made, DIM))
    mask = np.zeros(kernel.shape, bool)
    for i, (begin, end) in enumerate(increments(SIZES)):
        part = params[f"kernel_{i}"].reshape(vectors, end, made, end - begin)
        kernel[:, :end, :, begin:end] = part
        mask[:, :end, :, begin:end] = True
    shape = vectors * DIM, made * DIM
    return kernel.reshape(shape), mask.reshape(shape)


@pytest.mark.parametrize("merged", [0, 8, 128])
@pytest.mark.parametrize(("vectors", "made"), [(1, 1), (2, 1), (1, 2)])
def test_the_dense_masked_product(monkeypatch, vectors, made, merged):
    monkeypatch.setattr(nested, "_MERGED", merged)
    params, x = draw(vectors, made)
    kernel, mask = dense(params, vectors, made)
    weight = np.random.default_rng(1).normal(size=(3, 2, made * DIM))

    def fast(params, x):
        y = nested_linear(params, x, SIZES, jnp.float64, vectors=vectors)
        return (weight * y).sum(), y

    with jax.enable_x64(True):
        run = numpy_jit(jax.value_and_grad(fast, (0, 1), has_aux=True))
        (_, y), (d_params, d_x) = run(params, x)
    np.testing.assert_allclose(y, x @ (kernel * mask) + params["bias"], atol=1e-12)
    np.testing.assert_allclose(d_x, weight @ (kernel * mask).T, atol=1e-12)
    d_kernel, _ = dense(d_params, vectors, made)
    wanted = mask * np.einsum("abi,abo->io", x, weight)
    np.testing.assert_allclose(d_kernel, wanted, atol=1e-12)
    np.testing.assert_allclose(d_params["bias"], weight.sum((0, 1)), atol=1e-12)


def test_nothing_wider_reaches_the_first_outputs_however_long_it_is_trained():
    params, x = jax.tree.map(np.float32, draw(2, 2))
    optimiser = optax.adamw(0.1, weight_decay=0.5)

    def apply(params, x):
        y = nested_linear(params, x, SIZES, jnp.float32, vectors=2)
        return y.reshape(3, 2, 2, DIM)

    def update(carry, _):
        params, state = carry
        grads = jax.grad(lambda p: (apply(p, x) ** 2).sum())(params)
        updates, state = optimiser.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    @numpy_jit
    def train(params):
        carry = params, optimiser.init(params)
        return jax.lax.scan(update, carry, length=5)[0][0]

    @numpy_jit
    def slopes(params, x, size):
        inside = jnp.arange(DIM) < size
        return jax.grad(lambda x: (apply(params, x) * inside).sum())(x)

    run = numpy_jit(apply)
    for trained in (params, train(params)):
        for size in SIZES:
            other = x.reshape(3, 2, 2, DIM).copy()
            other[..., size:] = 1e6
            one, two = run(trained, x), run(trained, other.reshape(x.shape))
            np.testing.assert_array_equal(one[..., :size], two[..., :size])
            slope = slopes(trained, x, size).reshape(3, 2, 2, DIM)
            np.testing.assert_array_equal(slope[..., size:], 0)
            assert (slope[..., :size] != 0).all()


def test_only_what_is_connected_is_stored():
    sizes = (8, 16, 32, 64, 128, 256, 512, 1024)
    stored = sum(end * (end - begin) for begin, end in increments(sizes))
    assert stored / 1024**2 == pytest.approx(2 / 3, rel=1e-4)
    params, _ = draw()
    assert (
        sum(leaf.size for leaf in params.values()) == dense(params, 1, 1)[1].sum() + 20
    )


def test_a_narrower_map_is_cut_out():
    params, x = jax.tree.map(np.float32, draw(2, 2))
    parts = x.reshape(3, 2, 2, DIM)
    wanted = nested_linear(params, x, SIZES, jnp.float32, vectors=2)
    wanted = wanted.reshape(parts.shape)
    for keep, size in enumerate(SIZES, 1):
        small = cut_linear(params, SIZES, keep)
        seen = parts[..., :size].reshape(3, 2, -1)
        got = nested_linear(small, seen, SIZES[:keep], jnp.float32, vectors=2)
        np.testing.assert_allclose(
            got.reshape(3, 2, 2, size), wanted[..., :size], atol=1e-5
        )


@pytest.mark.parametrize("sizes", [(), (8, 8), (8, 4), (4, 6), (0, 4), (4.0, 8), (2,)])
def test_sizes_that_do_not_grow_in_fours_are_refused(sizes):
    with pytest.raises(ValueError, match="here: want growing multiples of 4, got"):
        check_sizes(sizes, "here")
    check_sizes((4, 8, 20), "here")
