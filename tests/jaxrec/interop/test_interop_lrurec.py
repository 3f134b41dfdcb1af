"""Released LRURec weights: same scores, gradients and AdamW step as the original."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.optim import make_optimiser, path_names
from jaxrec.interop import lrurec_from_torch, lrurec_to_torch
from jaxrec.losses.softmax import linear_softmax_ce
from jaxrec.models import lru
from tests.jaxrec import oracle
from tests.jaxrec.compiling import quick_jit

RELEASED_OPTIMISER = {
    "name": "adamw",
    "lr": 1e-3,
    "schedule": "constant",
    "warmup": 0,
    "final_lr": 0.0,
    "weight_decay": 0.01,
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-9,
    "clip_norm": 5.0,
    "bias_correction": True,
}
IN_WEIGHT = "model.lru_blocks.0.lru_layer.in_proj.weight"


def make_case(seed, items, dim, blocks, length, batch=7):
    """A state and a left-padded batch in which one history is empty and one is full."""
    rng = np.random.default_rng(seed)
    state = oracle.random_state(rng, items, dim, blocks)
    sequences = rng.integers(1, items + 1, (batch, length + 1), dtype=np.int32)
    lengths = np.linspace(0, length, batch).round().astype(int)
    real = np.arange(length) >= length - lengths[:, None]
    ids = np.where(real, sequences[:, :-1], 0)
    # The first item is a target too, predicted from the padding before it.
    targets = np.arange(length) >= length - lengths[:, None] - 1
    labels = np.where(targets, sequences[:, 1:], 0)
    return state, ids, labels


CASES = [
    pytest.param((0, 30, 16, 2, 11), id="D16"),
    pytest.param((1, 57, 8, 1, 16), id="one-block"),
]


def scores(params, cfg, ids):
    return lru.score(params, cfg, lru.encode(params, cfg, ids))


@pytest.mark.parametrize("case", CASES)
def test_scores_equal_both_released_forms(case):
    state, ids, _ = make_case(*case)
    cfg, params = lrurec_from_torch(state)
    got = quick_jit(scores, static_argnums=1)(params, cfg, ids)
    wanted = oracle.logits(oracle.wide(state), ids)
    parallel = oracle.logits(oracle.wide(state), ids, parallel=True)
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(parallel, wanted, rtol=0, atol=1e-10)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)


def loss_and_first_step(params, cfg, ids, labels):
    def loss(params):
        hidden = lru.encode(params, cfg, ids)
        weights = (labels != 0).astype(jnp.float32).ravel()
        total = linear_softmax_ce(
            hidden.reshape(-1, cfg.dim), *lru.head(params, cfg), labels.ravel(), weights
        )
        return total / weights.sum()

    value, grads = jax.value_and_grad(loss)(params)
    optimiser = make_optimiser(RELEASED_OPTIMISER, 100, lru.decayed)
    pooled, state = optimiser.pool(grads), optimiser.init(params)
    after, _, _ = optimiser.update(pooled, state, params)
    return value, grads, after


@pytest.mark.parametrize("case", CASES)
def test_loss_gradients_and_one_adamw_step(case):
    state, ids, labels = make_case(*case)
    cfg, params = lrurec_from_torch(state)
    loss, grads, after = quick_jit(loss_and_first_step, static_argnums=1)(
        params, cfg, ids, labels
    )
    wanted_loss = oracle.loss(oracle.wide(state), ids, labels)
    assert float(loss) == pytest.approx(wanted_loss, rel=1e-6)

    wanted = oracle.gradients(state, ids, labels)
    got = lrurec_to_torch(cfg, grads)
    largest = max(np.abs(g).max() for g in wanted.values())
    for name in wanted:
        np.testing.assert_allclose(
            got[name], wanted[name], rtol=0, atol=1e-5 * largest, err_msg=name
        )

    after = lrurec_to_torch(cfg, after)
    expected = oracle.adamw_step(state, wanted)
    for name, value in expected.items():
        if name.endswith("out_proj.bias"):
            value = value.real  # the other half reaches no output and is not kept
        np.testing.assert_allclose(after[name], value, rtol=0, atol=2e-6, err_msg=name)


def test_oracle_gradient_is_the_slope_of_its_numpy_loss():
    state, ids, labels = make_case(3, 9, 4, 2, 6, batch=4)
    grads = oracle.gradients(state, ids, labels)
    state = oracle.wide(state)
    rng = np.random.default_rng(0)
    for name, value in state.items():
        index = tuple(rng.integers(0, size) for size in value.shape)
        for unit in (1, 1j) if np.iscomplexobj(value) else (1,):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[index] += sign * 1e-5 * unit
                ends.append(oracle.loss(state | {name: moved}, ids, labels))
            slope = (ends[0] - ends[1]) / 2e-5
            gradient = (grads[name][index] * np.conj(unit)).real
            assert gradient == pytest.approx(slope, abs=1e-8), (name, index, unit)


def test_decay_groups_are_the_released_ones():
    state, *_ = make_case(4, 6, 4, 2, 3)
    marked = {
        name: np.full(value.shape, float(oracle.decayed(name)), value.dtype)
        for name, value in state.items()
    }
    marked = {n: v * (1 + 1j) if np.iscomplexobj(v) else v for n, v in marked.items()}
    _, params = lrurec_from_torch(marked)
    seen = set()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        decays = lru.decayed(path_names(path))
        np.testing.assert_array_equal(np.abs(leaf), float(decays), err_msg=str(path))
        seen.add(decays)
    assert seen == {True, False}


def test_parameters_have_the_shape_and_type_that_init_gives():
    state, *_ = make_case(5, 30, 16, 2, 11)
    cfg, params = lrurec_from_torch(state, dropout=0.4, dropout_lru=0.6)
    assert cfg == lru.LRUConfig(30, 16, 2, dropout=0.4, dropout_lru=0.6)
    drawn = jax.eval_shape(lambda: lru.init(jax.random.key(0), cfg))
    assert jax.tree.structure(params) == jax.tree.structure(drawn)
    for ours, theirs in zip(
        jax.tree.leaves(params), jax.tree.leaves(drawn), strict=True
    ):
        assert (ours.shape, ours.dtype) == (theirs.shape, jnp.float32)


def test_rows_past_the_catalogue_are_cut_off():
    state, *_ = make_case(11, 6, 4, 1, 3)
    cfg, params = lrurec_from_torch(state)
    wider = dataclasses.replace(cfg, table_multiple=4)
    table = np.pad(params["embedding"]["table"], ((0, 1), (0, 0)))
    padded = params | {
        "embedding": params["embedding"] | {"table": table},
        "item_bias": np.pad(params["item_bias"], (0, 1)),
    }
    back = lrurec_to_torch(wider, padded)
    for name, value in lrurec_to_torch(cfg, params).items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_there_and_back():
    state, *_ = make_case(6, 30, 16, 2, 11)
    back = lrurec_to_torch(*lrurec_from_torch(state))
    assert back.keys() == state.keys()
    for name, value in state.items():
        wanted = value.real if name.endswith("out_proj.bias") else value
        np.testing.assert_array_equal(back[name], wanted, err_msg=name)
        assert back[name].dtype == value.dtype, name


class Tensor:
    """What a torch tensor shows of itself to somebody who does not import torch."""

    def __init__(self, array):
        self._array = array
        self.dtype = f"torch.{array.dtype}"

    def detach(self):
        return Tensor(self._array)

    def cpu(self):
        return self

    def numpy(self):
        return self._array


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "model.module."])
def test_wrapped_names_and_tensors_are_taken(prefix):
    state, *_ = make_case(7, 6, 4, 1, 3)
    wrapped = {prefix + name: Tensor(value) for name, value in state.items()}
    wrapped[prefix + "causal_mask"] = Tensor(np.ones((3, 3), bool))
    got, wanted = lrurec_from_torch(wrapped)[1], lrurec_from_torch(state)[1]
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_params_do_not_share_memory_with_the_state():
    state, *_ = make_case(8, 6, 4, 1, 3)
    before = state["model.bias"].copy()
    _, params = lrurec_from_torch(state)
    state["model.bias"] += 1
    np.testing.assert_array_equal(params["item_bias"], before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(IN_WEIGHT), rf"missing {IN_WEIGHT}, want complex \(8, 4\)"),
        (
            lambda s: s.update({IN_WEIGHT: s[IN_WEIGHT].T}),
            rf"{IN_WEIGHT}: want complex \(8, 4\), got complex \(4, 8\)",
        ),
        (
            lambda s: s.update({IN_WEIGHT: s[IN_WEIGHT].real}),
            rf"{IN_WEIGHT}: want complex \(8, 4\), got real \(8, 4\)",
        ),
        (
            lambda s: s.update({"model.bias": np.zeros(6)}),
            r"model.bias: want real \(7,\), got real \(6,\)",
        ),
        (
            lambda s: s.update({"model.bias": np.array(["a"] * 7)}),
            "model.bias: want an array of numbers",
        ),
        (lambda s: s.update({"head.weight": np.zeros(3)}), "unknown names: head.weigh"),
        (
            lambda s: s.update({"embedding.token.weight": np.zeros(28)}),
            r"embedding.token.weight: want shape \(rows, dim\), got \(28,\)",
        ),
        (
            lambda s: s.update({"old.embedding.token.weight": np.zeros((7, 4))}),
            "want exactly one name that ends in 'embedding.token.weight'",
        ),
        (
            lambda s: s.update(
                {f"net.{name}": s.pop(name) for name in list(s) if "norm" not in name}
            ),
            "unknown names: embedding.layer_norm.* do not begin with 'net.'",
        ),
        (lambda s: s.clear(), "want exactly one name that ends in"),
        (lambda s: s.update({"optimizer": {}}), "'optimizer'] is itself a mapping"),
        (
            lambda s: s.update(
                {"model.lru_blocks.2.lru_layer.params_log": np.zeros((3, 8))}
            ),
            r"missing model.lru_blocks.1.lru_layer.params_log, want real \(3, 8\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    state, *_ = make_case(9, 6, 4, 1, 3)
    change(state)
    with pytest.raises(ValueError, match=message):
        lrurec_from_torch(state)


def test_parameters_that_do_not_fit_the_configuration_are_named():
    _, params = lrurec_from_torch(make_case(10, 6, 4, 1, 3)[0])
    deeper = lru.LRUConfig(items=6, dim=4, blocks=2)
    with pytest.raises(ValueError, match=r"no block_1/lru/nu_log"):
        lrurec_to_torch(deeper, params)
    larger = lru.LRUConfig(items=9, dim=4, blocks=1)
    with pytest.raises(
        ValueError, match=r"embedding/table: want \(10, 4\), got \(7, 4\)"
    ):
        lrurec_to_torch(larger, params)
