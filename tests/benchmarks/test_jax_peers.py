"""The peers in JAX compute what the float64 restatement of the equations does."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.peers import lrurec_jax_published, reference, scan_forms, softmax_naive

# Compilation takes longer than all else here.
QUICK_COMPILATION = {"xla_backend_optimization_level": 0}

PRECISIONS = pytest.mark.parametrize(
    "precision, tolerance", [("float64", 1e-12), ("float32", 1e-5)]
)


def first_block(state):
    return {name: state[name] for name in state if "lru_blocks.1" not in name}


def recurrence_problem(left_padded):
    random = np.random.default_rng(0)
    lam = 0.95 * np.exp(1j * random.uniform(0, 2 * np.pi, 5))
    x, cotangent = random.normal(size=(2, 3, 7, 5)) + 1j * random.normal(
        size=(2, 3, 7, 5)
    )
    keep = np.ones((3, 7))
    keep[1, :5], keep[2, :7] = 0, 0
    if not left_padded:
        keep[0, [2, 3, 5]] = 0
    return lam, x, keep, cotangent


def test_recurrence_reference_is_the_sum_of_powers():
    lam, x, keep = np.array([0.5j]), np.array([[[1.0], [2.0], [4.0]]]), np.ones((1, 3))
    h = reference.recurrence(lam, x + 0j, keep)
    assert h[0, :, 0].tolist() == [1, 2 + 0.5j, 4 + 0.5j * 2 + 0.5j**2]
    keep[0, 2] = 0
    assert reference.recurrence(lam, x + 0j, keep)[0, 2, 0] == 4


@pytest.mark.parametrize("form", ["doubling", "associative", "sequential"])
@pytest.mark.parametrize(
    "precision, tolerance", [("float64", 1e-13), ("float32", 1e-5)]
)
def test_scan_form_and_its_gradient(form, precision, tolerance):
    lam, x, keep, cotangent = recurrence_problem(left_padded=form == "doubling")
    expected = reference.recurrence(lam, x, keep)
    with jax.enable_x64(precision == "float64"):
        dtype = np.result_type(precision, np.complex64)
        arrays = [jnp.asarray(value, dtype) for value in (lam, x, cotangent)]
        both = jax.jit(scan_forms.forward_backward(getattr(scan_forms, form)))
        h, lam_gradient, x_gradient = both(
            arrays[0], arrays[1], jnp.asarray(keep, precision), arrays[2]
        )
        assert h.dtype == dtype
    np.testing.assert_allclose(h, expected, atol=tolerance * abs(expected).max())
    # JAX pulls back without conjugation: g_t = keep_{t+1} lam g_{t+1} + c_t.
    later = np.concatenate([keep[:, 1:], np.zeros((3, 1))], 1)
    backward = reference.recurrence(lam, cotangent[:, ::-1], later[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(
        x_gradient, backward, atol=tolerance * abs(backward).max()
    )
    before = np.concatenate([np.zeros((3, 1, 5)), expected[:, :-1]], 1)
    slope = (backward * keep[..., None] * before).sum((0, 1))
    np.testing.assert_allclose(lam_gradient, slope, atol=tolerance * abs(slope).max())


@pytest.mark.parametrize(
    "precision, tolerance", [("float64", 1e-13), ("float32", 1e-5)]
)
def test_split_doubling_and_its_gradient(precision, tolerance):
    lam, x, keep, cotangent = recurrence_problem(left_padded=True)
    expected = reference.recurrence(lam, x, keep)
    with jax.enable_x64(precision == "float64"):
        arrays = [
            tuple(jnp.asarray(part, precision) for part in (value.real, value.imag))
            for value in (lam, x, cotangent)
        ]
        both = jax.jit(scan_forms.forward_backward(scan_forms.doubling_split))
        h, _, x_gradient = both(*arrays[:2], jnp.asarray(keep, precision), arrays[2])
    scale = tolerance * abs(expected).max()
    np.testing.assert_allclose(
        np.asarray(h[0]) + 1j * np.asarray(h[1]), expected, atol=scale
    )
    # A real pair has the conjugate of the complex convention: g <- conj(lam) g.
    later = np.concatenate([keep[:, 1:], np.zeros((3, 1))], 1)
    backward = reference.recurrence(lam.conj(), cotangent[:, ::-1], later[:, ::-1])[
        :, ::-1
    ]
    gradient = np.asarray(x_gradient[0]) + 1j * np.asarray(x_gradient[1])
    np.testing.assert_allclose(gradient, backward, atol=tolerance * abs(backward).max())


def test_doubling_is_for_left_padding_only():
    lam, x, keep, _ = recurrence_problem(left_padded=False)
    h = jax.jit(scan_forms.doubling)(
        lam.astype(np.complex64), x.astype(np.complex64), keep
    )
    expected = reference.recurrence(lam, x, keep)
    assert abs(np.asarray(h) - expected)[0].max() > 0.1
    assert abs(np.asarray(h) - expected)[1:].max() < 1e-5


def test_lrurec_reference_by_hand():
    """With zero weights all scores are the item bias, whatever the history."""
    state = reference.published_parameters(2, 4, scale=0.0)
    state["model.bias"] = np.log(np.array([1.0, 2.0, 5.0], np.float32))
    tokens, labels = np.array([[0, 2, 1]]), np.array([[2, 1, 0]])
    expected = -(math.log(5 / 8) + math.log(2 / 8)) / 2
    assert reference.lrurec_loss(state, tokens, labels) == pytest.approx(expected)


def test_parameters_are_drawn_as_released():
    state = reference.published_parameters(3416, 64)
    assert sum(value.size for value in state.values()) == 322_841
    assert abs(state["embedding.token.weight"]).max() <= 0.04
    assert state["embedding.token.weight"].std() == pytest.approx(0.0176, rel=0.02)
    nu, _, gamma = np.exp(state["model.lru_blocks.0.lru_layer.params_log"])
    radius = np.exp(-nu)
    assert 0.8 <= radius.min() < radius.max() <= 0.99
    np.testing.assert_allclose(gamma, np.sqrt(1 - radius**2), rtol=1e-4)


def test_jax_published_loss_and_gradient_in_float64(state, batch):
    state = first_block(state)
    expected = reference.lrurec_loss(state, *batch)
    random = np.random.default_rng(6)
    direction = {
        name: random.normal(size=value.shape)
        + (1j * random.normal(size=value.shape) if np.iscomplexobj(value) else 0)
        for name, value in state.items()
    }

    def moved(distance):
        there = {name: state[name] + distance * direction[name] for name in state}
        return reference.lrurec_loss(there, *batch)

    slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
    with jax.enable_x64(True):
        params = jax.tree.map(
            lambda value: value.astype("float64"),
            lrurec_jax_published.from_published(state),
        )
        both = jax.jit(
            jax.value_and_grad(lrurec_jax_published.loss),
            compiler_options=QUICK_COMPILATION,
        )
        loss, gradients = both(params, *batch)
        pairs = lrurec_jax_published.from_published(direction)
    assert float(loss) == pytest.approx(expected, rel=1e-13)
    along = sum(
        (np.asarray(gradients[name]) * np.asarray(pair)).sum()
        for name, pair in pairs.items()
    )
    assert float(along) == pytest.approx(slope, rel=1e-7)


def test_jax_published_loss_without_and_with_dropout(state, batch):
    state = first_block(state)
    params = lrurec_jax_published.from_published(state)
    loss = jax.jit(
        lrurec_jax_published.loss,
        static_argnames="dropout",
        compiler_options=QUICK_COMPILATION,
    )
    plain = float(loss(params, *batch))
    assert plain == pytest.approx(reference.lrurec_loss(state, *batch), rel=2e-6)
    dropped = [float(loss(params, *batch, jax.random.key(1), 0.5)) for _ in range(2)]
    assert dropped[0] == dropped[1]
    assert abs(dropped[0] - plain) > 1e-3


@PRECISIONS
def test_naive_softmax_and_gradients(precision, tolerance):
    random = np.random.default_rng(2)
    x, table, bias = (random.normal(size=s) for s in ((6, 4), (9, 4), (9,)))
    problem = [x, table, bias]
    labels, weights = random.integers(0, 9, 6), np.array([1, 0, 2.5, 1, 0, 1])
    expected = reference.softmax_ce(*problem, labels, weights)
    with jax.enable_x64(precision == "float64"):
        arrays = [jnp.asarray(value, precision) for value in problem]
        loss, gradients = softmax_naive.softmax_ce_and_gradients(
            *arrays, labels, weights.astype(precision)
        )
    assert float(loss) == pytest.approx(expected, rel=tolerance)
    for index, gradient in enumerate(gradients):
        direction = random.normal(size=gradient.shape)
        ends = []
        for distance in (1e-5, -1e-5):
            there = list(problem)
            there[index] = problem[index] + distance * direction
            ends.append(reference.softmax_ce(*there, labels, weights))
        slope = (ends[0] - ends[1]) / 2e-5
        along = (np.asarray(gradient, np.float64) * direction).sum()
        assert along == pytest.approx(slope, rel=1e-5, abs=1e-5)
