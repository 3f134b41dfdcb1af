"""Released BERT4Rec weights: same logits and gradients, both ways and causal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.interop import bert4rec_from_torch, bert4rec_to_torch
from jaxrec.losses.softmax import softmax_ce
from jaxrec.models import bert4rec
from tests.jaxrec import oracle, oracle_bert4rec, oracle_sar
from tests.jaxrec.compiling import numpy_jit
from tests.jaxrec.oracle_sar import Choices

ITEMS, DIM, LENGTH = 30, 16, 11
MASK = ITEMS + 1
VARIANTS = {
    "ae": Choices(heads=2, causal=False),
    "ar": Choices(heads=1, causal=True),
    "ae-one-head": Choices(heads=1, causal=False),
    "ar-two-heads": Choices(heads=2, causal=True),
}


def make_case(name, seed=0, batch=6):
    """Tensors, right padded ids (one history full, one of one item) and labels."""
    rng = np.random.default_rng((seed, len(name)))
    state = oracle_bert4rec.random_state(rng, ITEMS, DIM, 2, LENGTH)
    lengths = np.linspace(1, LENGTH, batch).round().astype(int)
    real = np.arange(LENGTH) < lengths[:, None]
    sequences = rng.integers(1, ITEMS + 1, (batch, LENGTH + 1), dtype=np.int32)
    if VARIANTS[name].causal:
        return state, *(
            np.where(real, s, 0) for s in (sequences[:, :-1], sequences[:, 1:])
        )
    masked = (rng.random(real.shape) < 0.4) & real
    masked[:, 0] = True
    ids = np.where(real, sequences[:, :-1], 0)
    return state, np.where(masked, MASK, ids), np.where(masked, ids, 0)


def loss_and_logits(params, cfg, ids, labels):
    """Loss, scores over all columns, and the gradient of the loss."""

    def loss(params):
        hidden = bert4rec.encode(params, cfg, ids)
        table, bias = bert4rec.head(params, cfg)
        weights = (labels != 0).astype(jnp.float32)
        flat = hidden.reshape(-1, hidden.shape[-1])
        total = softmax_ce(flat, table, bias, labels.ravel(), weights.ravel())
        return total / weights.sum(), jnp.einsum("btd,vd->btv", hidden, table) + bias

    (value, scores), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return value, scores, grads


compiled = numpy_jit(loss_and_logits, static_argnums=1)


def imported(name, state):
    choices = VARIANTS[name]
    return bert4rec_from_torch(state, heads=choices.heads, causal=choices.causal)


def turned(rows):
    """Every row with its zeros, which are at its end, at its beginning."""
    return np.stack([np.concatenate([r[r == 0], r[r != 0]]) for r in rows])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", VARIANTS)
def test_loss_logits_and_gradients_equal_the_released_ones(name, side):
    state, ids, labels = make_case(name)
    cfg, params = imported(name, state)
    numbers = np.where(ids != 0, 1 + np.arange(ids.size).reshape(ids.shape), 0)
    places = turned(numbers) if side == "left" else numbers
    given, shown = (
        np.where(places > 0, rows.ravel()[places - 1], 0) for rows in (ids, labels)
    )
    value, scores, grads = compiled(params, cfg, given, shown)

    wanted = oracle_bert4rec.logits(state, ids, VARIANTS[name])
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(scores[places > 0], wanted[ids != 0], rtol=0, atol=1e-4)
    wanted_loss = oracle_bert4rec.loss(state, ids, labels, VARIANTS[name])
    assert float(value) == pytest.approx(wanted_loss, rel=1e-5)

    wanted = oracle_bert4rec.gradients(state, ids, labels, VARIANTS[name])
    got = bert4rec_to_torch(cfg, grads)
    assert got.keys() == wanted.keys()
    largest = max(np.abs(g).max() for g in wanted.values())
    for tensor, gradient in wanted.items():
        np.testing.assert_allclose(
            got[tensor], gradient, rtol=0, atol=1e-5 * largest, err_msg=tensor
        )


def test_oracle_gradient_is_the_slope_of_its_loss():
    state, ids, labels = make_case("ae", seed=1, batch=3)
    state, choices = oracle.wide(state), VARIANTS["ae"]
    grads = oracle_bert4rec.gradients(state, ids, labels, choices)
    rng = np.random.default_rng(2)
    for tensor, value in state.items():
        direction = rng.normal(size=value.shape)
        up, down = (
            oracle_bert4rec.loss(
                state | {tensor: value + e * direction}, ids, labels, choices
            )
            for e in (1e-5, -1e-5)
        )
        given = (grads[tensor] * direction).sum()
        assert given == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-8), tensor


def test_there_and_back():
    state, *_ = make_case("ae")
    cfg, params = imported("ae", state)
    assert cfg == bert4rec.BERT4RecConfig(items=ITEMS, length=LENGTH, dim=DIM, heads=2)
    drawn = jax.eval_shape(lambda: bert4rec.init(jax.random.key(0), cfg))
    assert jax.tree.structure(params) == jax.tree.structure(drawn)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda d: d.shape, drawn)
    back = bert4rec_to_torch(cfg, params)
    assert back.keys() == state.keys()
    for tensor, value in state.items():
        wanted = value.copy()
        if tensor == "embedding.token_type.weight":
            wanted[1] = 0  # never looked up
        np.testing.assert_array_equal(back[tensor], wanted, err_msg=tensor)


def test_weights_that_do_not_fit_are_refused():
    state, *_ = make_case("ae")
    with pytest.raises(ValueError, match="dim a multiple of 4 and of heads"):
        bert4rec_from_torch(state, heads=3, causal=False)
    state.pop("output.linear.bias")
    with pytest.raises(ValueError, match=r"not a released BERT4Rec:\n  missing output"):
        bert4rec_from_torch(state, heads=2, causal=False)
    other = oracle_sar.random_state(np.random.default_rng(0), ITEMS, DIM, 1, LENGTH)
    with pytest.raises(ValueError, match="(?s)not a released BERT4Rec.*last_norm"):
        bert4rec_from_torch(other, heads=2, causal=False)


def test_windows_are_no_argument():
    state, *_ = make_case("ae")
    with pytest.raises(TypeError, match="windows"):
        bert4rec_from_torch(state, heads=2, causal=False, windows=(0, 2))
