"""Released SAR weights: same logits and gradients in every variant of the study."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.interop import sar_from_torch, sar_to_torch
from jaxrec.losses.softmax import softmax_ce
from jaxrec.models import sar
from tests.jaxrec import oracle, oracle_sar
from tests.jaxrec.compiling import numpy_jit
from tests.jaxrec.oracle_sar import Choices

ITEMS, DIM, LENGTH, USERS = 30, 16, 11, 5
MASK = ITEMS + 1
VARIANTS = {
    "ar": Choices(),
    "ae": Choices(causal=False),
    "ar-two-heads": Choices(heads=2),
    "ae-two-heads": Choices(heads=2, causal=False),
    "ar-post-norm": Choices(norm_first=False),
    "ae-post-norm": Choices(norm_first=False, causal=False, heads=2),
    "ar-local": Choices(heads=2, windows=(0, 2)),
    "ae-local": Choices(heads=2, windows=(0, 2), causal=False),
    "ar-all-local": Choices(windows=(2,)),
    "ar-sse-pt": Choices(heads=2),
    "ae-sse-pt": Choices(causal=False, norm_first=False),
}


def make_case(name, seed=0, batch=6):
    """Tensors, right padded ids (one history full, one of one item), labels, users."""
    rng = np.random.default_rng((seed, len(name)))
    users = USERS if "sse" in name else 0
    state = oracle_sar.random_state(rng, ITEMS, DIM, 2, LENGTH, users)
    lengths = np.linspace(1, LENGTH, batch).round().astype(int)
    real = np.arange(LENGTH) < lengths[:, None]
    sequences = rng.integers(1, ITEMS + 1, (batch, LENGTH + 1), dtype=np.int32)
    ids = np.where(real, sequences[:, :-1], 0)
    labels = np.where(real, sequences[:, 1:], 0)
    if not VARIANTS[name].causal:
        masked = rng.random(ids.shape) < 0.4
        masked[:, 0] = True
        labels = np.where(masked, ids, 0)
        ids = np.where(masked & real, MASK, ids)
    who = rng.integers(0, USERS + 1, batch) if users else None
    return state, ids, labels, who


def left(ids):
    """The same rows with their padding on the other side."""
    return np.stack([np.concatenate([r[r == 0], r[r != 0]]) for r in ids])


def imported(name, state):
    return sar_from_torch(state, **dataclasses.asdict(VARIANTS[name]))


def loss_and_logits(params, cfg, ids, labels, users):
    """Loss, scores over all columns, and the gradient of the loss."""
    if users is not None:
        users = jnp.broadcast_to(users[:, None], ids.shape)

    def loss(params):
        hidden = sar.encode(params, cfg, ids, users=users)
        table, bias = sar.head(params, cfg)
        weights = (labels != 0).astype(jnp.float32)
        flat = hidden.reshape(-1, hidden.shape[-1])
        total = softmax_ce(flat, table, bias, labels.ravel(), weights.ravel())
        return total / weights.sum(), jnp.einsum("btd,vd->btv", hidden, table) + bias

    (value, scores), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return value, scores, grads


compiled = numpy_jit(loss_and_logits, static_argnums=1)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", VARIANTS)
def test_loss_logits_and_gradients_equal_the_released_ones(name, side):
    state, ids, labels, users = make_case(name)
    cfg, params = imported(name, state)
    turn = left if side == "left" else lambda ids: ids
    places = turn(np.where(ids != 0, 1 + np.arange(ids.size).reshape(ids.shape), 0))
    shown = labels.ravel()[places - 1] * (places > 0)
    value, scores, grads = compiled(params, cfg, turn(ids), shown, users)

    wanted = oracle_sar.logits(state, ids, VARIANTS[name], users)
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(scores[places > 0], wanted[ids != 0], rtol=0, atol=1e-4)
    wanted_loss = oracle_sar.loss(state, ids, labels, VARIANTS[name], users)
    assert float(value) == pytest.approx(wanted_loss, rel=1e-5)

    wanted = oracle_sar.gradients(state, ids, labels, VARIANTS[name], users)
    got = sar_to_torch(cfg, grads)
    assert got.keys() == wanted.keys()
    largest = max(np.abs(g).max() for g in wanted.values())
    for tensor, gradient in wanted.items():
        np.testing.assert_allclose(
            got[tensor], gradient, rtol=0, atol=1e-5 * largest, err_msg=tensor
        )


@pytest.mark.parametrize("name", ["ae-local", "ar-post-norm", "ar-sse-pt"])
def test_oracle_gradient_is_the_slope_of_its_loss(name):
    state, ids, labels, users = make_case(name, seed=1, batch=3)
    state = oracle.wide(state)
    grads = oracle_sar.gradients(state, ids, labels, VARIANTS[name], users)
    rng = np.random.default_rng(2)
    for tensor, value in state.items():
        direction = rng.normal(size=value.shape)
        up, down = (
            oracle_sar.loss(
                state | {tensor: value + e * direction},
                ids,
                labels,
                VARIANTS[name],
                users,
            )
            for e in (1e-5, -1e-5)
        )
        slope = (up - down) / 2e-5
        given = (grads[tensor] * direction).sum()
        assert given == pytest.approx(slope, rel=1e-5, abs=1e-8), tensor


@pytest.mark.parametrize("name", ["ar", "ar-sse-pt"])
def test_there_and_back(name):
    state, *_ = make_case(name)
    cfg, params = imported(name, state)
    drawn = jax.eval_shape(lambda: sar.init(jax.random.key(0), cfg))
    assert jax.tree.structure(params) == jax.tree.structure(drawn)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda d: d.shape, drawn)
    back = sar_to_torch(cfg, params)
    assert back.keys() == state.keys()
    for tensor, value in state.items():
        wanted = np.zeros_like(value) if tensor == "bias.weight" else value
        np.testing.assert_array_equal(back[tensor], wanted, err_msg=tensor)


def test_sizes_and_choices_come_into_the_configuration():
    state, *_ = make_case("ar-sse-pt")
    cfg, _ = sar_from_torch(
        state, heads=2, causal=False, norm_first=False, windows=[0, 3], dropout=0.4
    )
    assert cfg == sar.SARConfig(
        items=ITEMS,
        length=LENGTH,
        dim=DIM,
        blocks=2,
        heads=2,
        causal=False,
        norm_first=False,
        windows=(0, 3),
        users=USERS,
        dropout=0.4,
    )


def test_rows_past_the_vocabulary_are_cut_off():
    state, *_ = make_case("ar")
    cfg, params = imported("ar", state)
    wider = dataclasses.replace(cfg, table_multiple=12)
    assert wider.rows == 36
    table = np.pad(params["embedding"]["table"], ((0, 4), (0, 0)))
    padded = params | {"embedding": params["embedding"] | {"table": table}}
    for name, value in sar_to_torch(cfg, params).items():
        np.testing.assert_array_equal(sar_to_torch(wider, padded)[name], value)


@pytest.mark.parametrize(
    ("change", "choices", "message"),
    [
        (
            lambda s: s.pop("last_norm.bias"),
            {},
            r"not a released SAR:\n  missing last_norm.bias, want real \(16,\)",
        ),
        (
            lambda s: s.pop("embedding.position.pe.weight"),
            {},
            "missing embedding.position.pe.weight",
        ),
        (
            lambda s: s.update(
                {"transformer_blocks.0.attn.attention.attn.mlps.0.bias": np.zeros(1)}
            ),
            {},
            "unknown names: transformer_blocks.0.attn.attention.attn.mlps.0.bias",
        ),
        (lambda s: None, {"heads": 3}, "dim a multiple of 4 and of heads, got dim=16"),
        (lambda s: None, {"windows": (2, 2)}, "for each of 1 heads, got \\(2, 2\\)"),
        (lambda s: None, {"windows": (-1,)}, "for each of 1 heads, got \\(-1,\\)"),
    ],
)
def test_what_does_not_fit_is_named(change, choices, message):
    state, *_ = make_case("ar")
    change(state)
    with pytest.raises(ValueError, match=message):
        sar_from_torch(state, **{"heads": 1, "causal": True} | choices)


def test_weights_of_another_family_are_refused():
    state = oracle.random_state(np.random.default_rng(0), ITEMS, DIM, 1)
    with pytest.raises(ValueError, match="(?s)not a released SAR.*params_log"):
        sar_from_torch(state, heads=1, causal=True)
