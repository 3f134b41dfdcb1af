"""Every form of the linear recurrence against a float64 step loop with its adjoint."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.scan import choose_form, linear_recurrence
from tests.jaxrec.compiling import quick_jit

BATCH, WIDTH = 3, 4
RANDOM = tuple(np.random.default_rng(0).integers(18, 300, 2).tolist())
LENGTHS = {
    "sequential": (1, 2, 3, 8, 11, 50, 200, 300, *RANDOM),
    "associative": (1, 2, 3, 7, 17, 300),
    "chunked": (1, 2, 15, 16, 17, 300, *RANDOM[:1]),
}
FORMS = tuple(LENGTHS)


def draw(seed, length):
    """(lam, x, keep, h0) as complex128 and a mask with holes and resets."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    lam = rng.uniform(0.3, 0.999, WIDTH) * np.exp(2j * np.pi * rng.uniform(size=WIDTH))
    keep = rng.uniform(size=(length, BATCH)) > 0.15
    keep[length // 2, 0] = False  # a reset in the middle
    keep[:, 1] = True  # a row without any
    keep[0, 2] = False  # a row that h0 does not enter
    return lam, normal(length, BATCH, WIDTH), keep, normal(BATCH, WIDTH)


def step_loop(lam, x, keep, h0):
    h, states = h0, []
    for x_t, keep_t in zip(x, keep, strict=True):
        h = lam * keep_t[:, None] * h + x_t
        states.append(h)
    return np.stack(states)


def step_loop_adjoint(lam, keep, h0, states, g):
    """Gradients (lam, x, h0), dL/dRe + i dL/dIm, from g of the states."""
    before = np.concatenate([h0[None], states[:-1]])
    d_x = g.copy()
    for t in range(len(g) - 1, 0, -1):
        d_x[t - 1] += np.conj(lam) * keep[t][:, None] * d_x[t]
    d_lam = np.sum(np.conj(keep[:, :, None] * before) * d_x, (0, 1))
    return d_lam, d_x, np.conj(lam) * keep[0][:, None] * d_x[0]


def pair(z, dtype=np.float64):
    return np.asarray(z.real, dtype), np.asarray(z.imag, dtype)


def joined(parts):
    return np.asarray(parts[0]) + 1j * np.asarray(parts[1])


@pytest.mark.parametrize(
    ("form", "length"), [(form, n) for form in FORMS for n in LENGTHS[form]]
)
def test_values_and_gradients(form, length):
    reverse = length % 2 == 0
    lam, x, keep, h0 = draw(length, length)
    rng = np.random.default_rng(1)
    g = rng.normal(size=x.shape) + 1j * rng.normal(size=x.shape)
    g_last = rng.normal(size=h0.shape) + 1j * rng.normal(size=h0.shape)
    turn = slice(None, None, -1) if reverse else slice(None)

    wanted = step_loop(lam, x[turn], keep[turn], h0)
    g_states = g[turn].copy()
    g_states[-1] += g_last
    d_lam, d_x, d_h0 = step_loop_adjoint(lam, keep[turn], h0, wanted, g_states)

    def run(lam, x, h0):
        return linear_recurrence(lam, x, keep, h0, reverse=reverse, form=form)

    @quick_jit
    def value_and_gradients(lam, x, h0, cotangents):
        out, vjp = jax.vjp(run, lam, x, h0)
        return out, vjp(cotangents)

    with jax.enable_x64(True):
        (h, last), grads = value_and_gradients(
            pair(lam), pair(x), pair(h0), (pair(g), pair(g_last))
        )
    close = dict(rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(joined(h), wanted[turn], **close)
    np.testing.assert_allclose(joined(last), wanted[-1], **close)
    np.testing.assert_allclose(joined(grads[0]), d_lam, **close)
    np.testing.assert_allclose(joined(grads[1]), d_x[turn], **close)
    np.testing.assert_allclose(joined(grads[2]), d_h0, **close)


@pytest.mark.parametrize("form", FORMS)
def test_without_mask_and_state(form):
    lam, x, *_ = draw(0, 10)
    everywhere = np.ones(x.shape[:2], bool)
    wanted = step_loop(lam, x, everywhere, np.zeros(x.shape[1:]))
    d_lam, d_x, _ = step_loop_adjoint(lam, everywhere, 0 * x[0], wanted, 2 * wanted)

    def squares(lam, x):
        (re, im), _ = linear_recurrence(lam, x, form=form)
        return (re**2 + im**2).sum(), (re, im)

    with jax.enable_x64(True):
        grads, h = quick_jit(jax.grad(squares, (0, 1), has_aux=True))(
            pair(lam), pair(x)
        )
    np.testing.assert_allclose(joined(h), wanted, rtol=1e-10)
    np.testing.assert_allclose(joined(grads[0]), d_lam, rtol=1e-10)
    np.testing.assert_allclose(joined(grads[1]), d_x, rtol=1e-10)


@pytest.mark.parametrize(
    ("form", "reverse"),
    [("sequential", True), ("associative", False), ("chunked", True)],
)
def test_last_state_continues_the_sequence(form, reverse):
    lam, x, keep, h0 = draw(1, 18)
    lam, x, h0 = pair(lam, np.float32), pair(x, np.float32), pair(h0, np.float32)
    run = quick_jit(
        lambda x, keep, h0: linear_recurrence(
            lam, x, keep, h0, reverse=reverse, form=form
        )
    )
    whole, last = run(x, keep, h0)
    cuts = [slice(0, 9), slice(9, 18)]
    pieces = {}
    for cut in reversed(cuts) if reverse else cuts:
        pieces[cut.start], h0 = run((x[0][cut], x[1][cut]), keep[cut], h0)
    together = [np.concatenate(p) for p in zip(pieces[0], pieces[9], strict=True)]
    np.testing.assert_allclose(together, whole, rtol=0, atol=2e-6)
    np.testing.assert_allclose(h0, last, rtol=0, atol=2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_input_runs_on_a_float32_state(form):
    lam, x, keep, _ = draw(2, 6)
    lam = pair(lam, np.float32)
    coarse = tuple(jnp.asarray(p, jnp.bfloat16) for p in pair(x, np.float32))
    fine = tuple(p.astype(jnp.float32) for p in coarse)

    @quick_jit
    def value_and_gradient(x):
        def total(x):
            h, last = linear_recurrence(lam, x, keep, form=form)
            return (h[0] * h[1]).sum() + last[0].sum(), h

        return jax.grad(total, has_aux=True)(x)

    grads, h = value_and_gradient(coarse)
    wanted_grads, wanted = value_and_gradient(fine)
    assert {p.dtype for p in h} == {jnp.dtype("float32")}
    assert {p.dtype for p in grads} == {jnp.dtype("bfloat16")}
    np.testing.assert_allclose(h, wanted, rtol=0, atol=1e-6)
    largest = np.abs(wanted_grads).max()
    np.testing.assert_allclose(
        np.float32(grads), wanted_grads, rtol=2**-8, atol=1e-6 * largest
    )


def test_long_decay_stays_bounded():
    # |lambda| = 0.999 and a constant input: h_t = (1 - 0.999^(t+1)) / (1 - 0.999).
    lam = (np.float32([0.999]), np.float32([0.0]))
    x = (np.ones((3000, 1, 1), np.float32), np.zeros((3000, 1, 1), np.float32))
    wanted = (1 - 0.999 ** np.arange(1, 3001)) / (1 - 0.999)
    for form in ("sequential", "chunked"):
        (h, _), _ = quick_jit(lambda x, f=form: linear_recurrence(lam, x, form=f))(x)
        np.testing.assert_allclose(h[:, 0, 0], wanted, rtol=2e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_joined_input_gives_joined_states(form):
    lam, x, keep, h0 = draw(5, 20)
    lam, x, h0 = (pair(z, np.float32) for z in (lam, x, h0))

    @quick_jit
    def value_and_gradient(x):
        def total(x):
            h, last = linear_recurrence(lam, x, keep, h0, form=form)
            joined = jnp.concatenate(h, -1) if isinstance(h, tuple) else h
            return (joined**3).sum() + last[1].sum(), (joined, last)

        return jax.grad(total, has_aux=True)(x)

    grads, wanted = value_and_gradient(x)
    found_grad, found = value_and_gradient(np.concatenate(x, -1))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    np.testing.assert_array_equal(found_grad, np.concatenate(grads, -1))


class Device(NamedTuple):
    platform: str
    compute_capability: str = "0"


def test_auto_is_chosen_by_device_and_shape():
    cpu, tpu, a100, h100 = (
        Device("cpu"),
        Device("tpu"),
        Device("gpu", "8.0"),
        Device("gpu", "9.0"),
    )
    assert {choose_form(n, 128, device=cpu) for n in (1, 5, 1000)} == {"sequential"}
    assert choose_form(4, 128, device=tpu) == "sequential"
    assert choose_form(4, 128, device=h100) == "sequential"
    assert choose_form(200, 128, device=tpu) == "associative"
    assert choose_form(200, 128, device=a100) == "associative"
    assert choose_form(5, 128, device=h100) == "kernel"
    assert choose_form(200, 256, device=h100) == "kernel"
    assert choose_form(200, 64, device=h100) == "associative"
    assert choose_form(200, 128, np.float64, h100) == "associative"
    assert choose_form(200, device=h100) == "associative"
    assert choose_form(200) == choose_form(200, device=jax.devices()[0])
    lam, x, keep, h0 = draw(3, 9)
    lam, x, h0 = (pair(z, np.float32) for z in (lam, x, h0))
    arguments = (lam, x, keep, h0)
    auto = linear_recurrence(*arguments)
    named = linear_recurrence(*arguments, form=choose_form(9))
    jax.tree.map(np.testing.assert_array_equal, auto, named)


X = np.zeros((5, 3, 4), np.float32)
LAM = np.zeros(4, np.float32)


@pytest.mark.parametrize(
    ("lam", "x", "options", "message"),
    [
        ((LAM, LAM), (X[0], X[0]), {}, r"x: want two \(t, b, h\) arrays, got \(3, 4\)"),
        ((LAM, LAM), (X, X[1:]), {}, r"got \(5, 3, 4\), \(4, 3, 4\)"),
        ((LAM[1:], LAM[1:]), (X, X), {}, r"lam: want .*\(4,\).*, got \(3,\)"),
        ((LAM, LAM[1:]), (X, X), {}, r"lam: want .*\(4,\).*\(3,\)"),
        ((LAM, LAM), (X, X), {"keep": X[:, :, 0].T}, r"keep: want \(5, 3\), got"),
        ((LAM, LAM), (X, X), {"h0": (X, X)}, r"h0: want .*\(3, 4\)"),
        ((LAM, LAM), (X, X), {"h0": (X[0], X[0, 0])}, r"h0: want .*\(3, 4\).*\(4,\)"),
        ((LAM, LAM), X[:, :, :3], {}, r"x: want a \(t, b, 2h\) .* \(5, 3, 3\)"),
        ((LAM, LAM), X, {}, r"lam: want two \(2,\) arrays, got \(4,\)"),
        ((LAM, LAM), (X[:0], X[:0]), {}, r"x: want .* t >= 1, got \(0, 3, 4\)"),
        ((LAM, LAM), (X, X), {"form": "fast"}, "form: want one of .*, got 'fast'"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(lam, x, options, message):
    with pytest.raises(ValueError, match=message):
        linear_recurrence(lam, x, **options)


def test_chunked_products_run_in_full_float32():
    # Tensor cores round the powers of lambda otherwise; a CPU would not show it.
    lam, x, keep, h0 = draw(0, 20)
    arrays = (pair(lam, np.float32), pair(x, np.float32), keep, pair(h0, np.float32))
    traced = jax.make_jaxpr(lambda *a: linear_recurrence(*a, form="chunked"))(*arrays)
    products = [line for line in str(traced).splitlines() if "dot_general" in line]
    highest = str(traced).count("precision=(Precision.HIGHEST, Precision.HIGHEST)")
    assert len(products) == highest > 0
