"""The softmax kernels, interpreted on a CPU, against the plain form.

The interpreter does not multiply on tensor cores, so the two products are replaced by
plain ones; all else is the kernel's: tiles, copies ahead, the online normaliser, parts.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.losses import softmax, softmax_gpu
from jaxrec.losses.softmax import linear_softmax_ce, softmax_ce
from tests.jaxrec.compiling import quick_jit
from tests.jaxrec.gpu_kernels import interpreted, lowered_for_gpu


def draw(positions, items, width):
    """x (bfloat16), table, bias, labels, weights; a fifth of the weights is 0."""
    rng = np.random.default_rng(items)
    normal = rng.standard_normal
    x = jnp.asarray(normal((positions, width), np.float32), jnp.bfloat16)
    table = 0.5 * normal((items, width), np.float32)
    labels = rng.integers(0, items, positions).astype(np.int32)
    weights = np.float32(1.5) * (np.arange(positions) % 5 > 0)
    return x, table, normal(items, np.float32), labels, weights


def value_and_gradients(loss, x, table, bias, labels, weights):
    def scaled(x, table, bias, weights):
        return 3 * loss(x, table, bias, labels, weights)

    return jax.value_and_grad(scaled, (0, 1, 2, 3))(x, table, bias, weights)


def plain(x, table, bias, labels, weights):
    """The plain form in float32, of the numbers that the kernels multiply."""
    table = table.astype(jnp.bfloat16).astype(jnp.float32)
    return softmax_ce(x.astype(jnp.float32), table, bias, labels, weights)


@pytest.fixture
def without_tensor_cores(monkeypatch):
    def float32(ref):
        return ref[...].astype(jnp.float32)

    def add_product(total, weights, columns):
        return total + float32(weights.astype(jnp.bfloat16)) @ float32(columns)

    monkeypatch.setattr(
        softmax_gpu, "_logits", lambda rows, columns: float32(rows) @ float32(columns).T
    )
    monkeypatch.setattr(softmax_gpu, "_add_product", add_product)


@pytest.mark.parametrize(
    ("positions", "items", "width", "tiles", "many"),
    [
        pytest.param(64, 128, 64, 1, 8192, id="one-tile"),
        pytest.param(70, 700, 40, 24, 8192, id="filled-up-and-in-parts"),
        pytest.param(200, 300, 100, 1, 100, id="wide-with-large-tiles"),
    ],
)
def test_values_and_gradients(
    monkeypatch, without_tensor_cores, positions, items, width, tiles, many
):
    monkeypatch.setattr(softmax_gpu, "_TILES", tiles)
    monkeypatch.setattr(softmax_gpu, "_MANY", many)
    case = draw(positions, items, width)
    wanted, wanted_grads = quick_jit(lambda *a: value_and_gradients(plain, *a))(*case)
    with interpreted(monkeypatch):
        found, grads = quick_jit(
            lambda *a: value_and_gradients(softmax_gpu.softmax_ce_gpu, *a)
        )(*case)
        grads = [np.asarray(grad.astype(jnp.float32)) for grad in grads]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    # The weights of the sums are bfloat16, as in the blocked form; those of the
    # gradients of bias and weights are not.
    for grad, other, tolerance in zip(
        grads, wanted_grads, (8e-3, 8e-3, 1e-5, 1e-5), strict=True
    ):
        largest = np.abs(np.asarray(other, np.float32)).max()
        np.testing.assert_allclose(
            grad, np.asarray(other, np.float32), rtol=0, atol=tolerance * largest
        )


@pytest.mark.parametrize("width", [64, 100])
def test_a_gpu_is_given_two_kernels(monkeypatch, width):
    monkeypatch.setattr(softmax, "multiplies_in_warpgroups", lambda: True)
    program = lowered_for_gpu(
        lambda *a: value_and_gradients(linear_softmax_ce, *a), *draw(300, 9000, width)
    )
    assert program.count("custom_call @mosaic_gpu") == 2


@pytest.mark.parametrize(
    ("dtype", "width", "chunk"),
    [(jnp.float32, 64, 0), (jnp.bfloat16, 160, 0), (jnp.bfloat16, 64, 64)],
)
def test_what_the_kernels_do_not_take_runs_in_blocks(monkeypatch, dtype, width, chunk):
    monkeypatch.setattr(softmax, "multiplies_in_warpgroups", lambda: True)
    x, *others = draw(70, 300, width)
    value = quick_jit(lambda *a: linear_softmax_ce(*a, chunk))(x.astype(dtype), *others)
    np.testing.assert_allclose(value, plain(x, *others), rtol=1e-3)
