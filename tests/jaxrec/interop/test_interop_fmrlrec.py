"""Released fMRLRec weights: same scores at every size and gradients as the original."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.optim import path_names
from jaxrec.interop import fmrlrec_from_torch, fmrlrec_to_torch
from jaxrec.losses.matryoshka import linear_matryoshka_ce
from jaxrec.models import fmrlrec
from tests.jaxrec import oracle_fmrlrec as oracle
from tests.jaxrec.compiling import quick_jit

SIZES = (4, 8, 16)
TEXT, IMAGE = "embedding.token_lang.weight", "embedding.token_img.weight"
IN_WEIGHT = "model.lru_blocks.0.lru_layer.in_proj.mrl_linear_1.weight"


def make_case(seed, items=30, blocks=2, length=11, batch=5, sizes=SIZES):
    """A state and a left-padded batch in which one history is empty and one is full."""
    rng = np.random.default_rng(seed)
    state = oracle.random_state(rng, items, sizes, blocks, 12, 10)
    sequences = rng.integers(1, items + 1, (batch, length + 1), dtype=np.int32)
    lengths = np.linspace(0, length, batch).round().astype(int)
    ids = np.where(np.arange(length) >= length - lengths[:, None], sequences[:, :-1], 0)
    # The first item is a target too, predicted from the padding before it.
    targets = np.arange(length) >= length - lengths[:, None] - 1
    return state, ids, np.where(targets, sequences[:, 1:], 0)


def small_state():
    return make_case(4, items=6, blocks=1, length=3)[0]


def test_scores_loss_and_gradients_at_all_sizes():
    state, ids, labels = make_case(0)
    cfg, params = fmrlrec_from_torch(state)

    def loss(params):
        hidden = fmrlrec.encode(params, cfg, ids)
        weights = (labels != 0).astype(jnp.float32).ravel()
        total = linear_matryoshka_ce(
            hidden.reshape(-1, cfg.dim),
            *fmrlrec.head(params, cfg),
            labels.ravel(),
            weights,
            fmrlrec.loss_sizes(cfg),
        )
        return total / weights.sum(), hidden

    run = quick_jit(jax.value_and_grad(loss, has_aux=True))
    (value, hidden), grads = run(params)
    wide = oracle.wide(state)
    for size, wanted in zip(SIZES, oracle.logits(wide, SIZES, ids), strict=True):
        assert np.abs(wanted).max() > 1
        got = fmrlrec.score(params, cfg, hidden, size)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
    wanted_loss = oracle.loss(wide, SIZES, ids, labels)
    assert float(value) == pytest.approx(wanted_loss, rel=1e-6)

    wanted = oracle.gradients(state, SIZES, ids, labels)
    got = fmrlrec_to_torch(cfg, grads)
    assert got.keys() == wanted.keys() | {TEXT, IMAGE}
    largest = max(np.abs(g).max() for g in wanted.values())
    for name in wanted:
        np.testing.assert_allclose(
            got[name], wanted[name], rtol=0, atol=1e-5 * largest, err_msg=name
        )
    for name in (TEXT, IMAGE):
        np.testing.assert_array_equal(got[name], 0)


def test_oracle_gradient_is_the_slope_of_its_loss():
    sizes = (2, 5)
    state, ids, labels = make_case(3, items=9, blocks=2, length=6, sizes=sizes)
    grads = oracle.gradients(state, sizes, ids, labels)
    state = oracle.wide(state)
    assert grads.keys() == state.keys() - {TEXT, IMAGE}
    rng = np.random.default_rng(0)
    for name, gradient in grads.items():
        value = state[name]
        index = tuple(rng.integers(0, size) for size in value.shape)
        for unit in (1, 1j) if np.iscomplexobj(value) else (1,):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[index] += sign * 1e-5 * unit
                ends.append(oracle.loss(state | {name: moved}, sizes, ids, labels))
            slope = (ends[0] - ends[1]) / 2e-5
            found = (gradient[index] * np.conj(unit)).real
            assert found == pytest.approx(slope, abs=1e-8), (name, index, unit)


def test_decay_groups_are_the_released_ones():
    state = small_state()
    marked = {
        name: np.full(value.shape, float(oracle.decayed(name)), value.dtype)
        for name, value in state.items()
    }
    marked = {n: v * (1 + 1j) if np.iscomplexobj(v) else v for n, v in marked.items()}
    _, params = fmrlrec_from_torch(marked)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        names = path_names(path)
        if not fmrlrec.frozen(names):
            decays = float(fmrlrec.decayed(names))
            np.testing.assert_array_equal(np.abs(leaf), decays, err_msg=str(path))


def test_parameters_have_the_shape_and_type_that_init_gives():
    state, *_ = make_case(5)
    cfg, params = fmrlrec_from_torch(state, dropout=0.4, dropout_lru=0.6)
    assert cfg == fmrlrec.FMRLRecConfig(
        30, SIZES, features=(12, 10), dropout=0.4, dropout_lru=0.6
    )
    drawn = jax.eval_shape(lambda: fmrlrec.init(jax.random.key(0), cfg))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), params) == jax.tree.map(
        lambda a: (a.shape, a.dtype), drawn
    )


def test_there_and_back():
    state, *_ = make_case(6)
    back = fmrlrec_to_torch(*fmrlrec_from_torch(state))
    assert back.keys() == state.keys()
    for name, value in state.items():
        dropped = "out_proj" in name and name.endswith("bias")
        np.testing.assert_array_equal(
            back[name], value.real if dropped else value, err_msg=name
        )
        assert back[name].dtype == value.dtype, name


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_features_may_be_given_beside_the_state(prefix):
    state = small_state()
    rng = np.random.default_rng(0)
    text, image = rng.normal(size=(6, 5)), rng.normal(size=(6, 10))
    weight = rng.normal(size=(16, 15)).astype(np.float32)
    others = {name: value for name, value in state.items() if name != TEXT}
    others["embedding.projector.weight"] = weight
    wrapped = {prefix + name: value for name, value in others.items()}
    cfg, params = fmrlrec_from_torch(wrapped, text, image)
    assert cfg.features == (5, 10) and cfg.items == 6
    table = np.asarray(params["features"]["table"])
    np.testing.assert_array_equal(table[0], 0)
    np.testing.assert_allclose(table[1:], np.concatenate([text, image], 1), rtol=1e-6)
    with pytest.raises(ValueError, match=rf"missing {TEXT}: give text=, of shape"):
        fmrlrec_from_torch(wrapped, image=image)
    with pytest.raises(ValueError, match=r"text: want \(items, dim\), got \(6,\)"):
        fmrlrec_from_torch(wrapped, text[:, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(IN_WEIGHT), rf"missing {IN_WEIGHT}, want complex \(4, 8\)"),
        (
            lambda s: s.update({IN_WEIGHT: s[IN_WEIGHT].real}),
            rf"{IN_WEIGHT}: want complex \(4, 8\), got real \(4, 8\)",
        ),
        (
            lambda s: s.update({IMAGE: s[IMAGE][:-1]}),
            rf"{IMAGE}: want real \(7, 10\), got real \(6, 10\)",
        ),
        (lambda s: s.update({"head.weight": np.zeros(3)}), "unknown names: head.weigh"),
        (
            lambda s: [s.pop(n) for n in list(s) if "input_layernorm" in n],
            r"missing model.lru_blocks.0.input_layernorm.layernorm_0.weight, of shape",
        ),
        (
            lambda s: s.pop("embedding.projector.weight"),
            "want exactly one name that ends in 'embedding.projector.weight'",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    state = small_state()
    change(state)
    with pytest.raises(ValueError, match=message):
        fmrlrec_from_torch(state)


def test_parameters_that_do_not_fit_the_configuration_are_named():
    _, params = fmrlrec_from_torch(small_state())
    sizes = dict(sizes=SIZES, features=(12, 10))
    deeper = fmrlrec.FMRLRecConfig(6, blocks=2, **sizes)
    with pytest.raises(ValueError, match="no block_1/ffn_in/bias"):
        fmrlrec_to_torch(deeper, params)
    larger = fmrlrec.FMRLRecConfig(9, blocks=1, **sizes)
    with pytest.raises(ValueError, match=r"table: want \(10, 22\), got \(7, 22\)"):
        fmrlrec_to_torch(larger, params)
    with pytest.raises(ValueError, match=r"want text and image, got \(\)"):
        fmrlrec_to_torch(fmrlrec.FMRLRecConfig(6), params)
