"""BERT, ALBERT, GPT-2, LLaMA, Transformer-XL: the published equations, both ways."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import models
from jaxrec.core.dropout import row_keys
from tests.jaxrec import oracle_encoders
from tests.jaxrec.compiling import numpy_jit

ITEMS, LENGTH, MASK = 9, 6, 10
NAMES = ("bert", "albert", "gpt2", "llama", "transformer_xl")
SIZES = {"length": LENGTH, "dim": 8, "heads": 2, "inner_ratio": 2}
by_name = pytest.mark.parametrize("name", NAMES)
close = dict(rtol=0, atol=1e-5)


def make_config(name, causal=True, **fields):
    """ALBERT has tables of another width where it is not causal."""
    if name == "albert" and not causal:
        fields = {"dim_embedding": 4} | fields
    section = {"causal": causal, **SIZES, **fields}
    return models.config_from(name, section, ITEMS)


@functools.cache
def make_params(name, causal=True):
    """Parameters with enough spread that everything has a part in the outputs."""
    cfg = make_config(name, causal)
    shapes = jax.eval_shape(
        lambda: models.model_module(name).init(jax.random.key(0), cfg)
    )
    leaves, structure = jax.tree.flatten_with_path(shapes)
    rng = np.random.default_rng(1)
    return structure.unflatten(
        [
            (rng.normal(path[-1].key == "scale", 0.4, leaf.shape)).astype(np.float32)
            for path, leaf in leaves
        ]
    )


def wanted_outputs(name, causal, ids):
    wide = jax.tree.map(lambda a: a.astype(np.float64), make_params(name, causal))
    return oracle_encoders.outputs(name, wide, ids, heads=2, causal=causal)


@functools.partial(numpy_jit, static_argnums=(0, 2))
def encode(name, params, cfg, ids, segments):
    return models.model_module(name).encode(params, cfg, ids, segments=segments)


@functools.partial(numpy_jit, static_argnums=(0, 2))
def gradients(name, params, cfg, ids, segments, labels):
    """Outputs, the loss of the labels that are not 0 and its gradients."""
    model = models.model_module(name)

    def loss(params):
        hidden = model.encode(params, cfg, ids, segments=segments)
        table, bias = model.head(params, cfg)
        each = jax.nn.log_softmax(hidden @ table.T + bias)
        each = jnp.take_along_axis(each, labels[..., None], -1)[..., 0]
        return -jnp.where(labels == 0, 0, each).sum(), hidden

    (value, hidden), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return hidden, value, grads


SEQUENCES = ([3, 1, 4, 1], [5, MASK], [2, 6, MASK, 8, 7, 9])
# Where each sequence is: padded left and right, packed behind another one, whole.
PLACES = [(0, 2, 0), (1, 0, 0), (2, 0, 0), (2, 4, 1), (3, 0, 2), (0, 0, 1)]
LABELLED = (0, 3, 4)  # of the places


def rows():
    """Ids, segments and labels of the sequences at their places."""
    rng = np.random.default_rng(2)
    ids, segments, labels = (np.zeros((4, LENGTH), np.int32) for _ in range(3))
    for number, (row, begin, which) in enumerate(PLACES, 1):
        place = slice(begin, begin + len(SEQUENCES[which]))
        ids[row, place], segments[row, place] = SEQUENCES[which], number
        if number - 1 in LABELLED:
            labels[row, place] = rng.integers(0, ITEMS + 1, len(SEQUENCES[which]))
    return ids, segments, labels


def check_places(name, causal, hidden):
    """At every place: padding and other sequences change nothing."""
    wanted = [wanted_outputs(name, causal, sequence) for sequence in SEQUENCES]
    assert min(np.abs(w).max() for w in wanted) > 0.5
    for row, begin, which in PLACES:
        place = slice(begin, begin + len(SEQUENCES[which]))
        np.testing.assert_allclose(hidden[row, place], wanted[which], **close)


@by_name
def test_causal_outputs_are_those_of_the_equations(name):
    """And a later item moves nothing before it, by not a bit."""
    cfg, params = make_config(name), make_params(name)
    ids, segments, _ = rows()
    hidden = encode(name, params, cfg, ids, segments)
    check_places(name, True, hidden)
    changed = ids.copy()
    changed[3, 4] = 1
    moved = np.abs(hidden - encode(name, params, cfg, changed, segments))
    np.testing.assert_array_equal(moved[3, :4], 0)
    assert moved[3, 4:].max(-1).min() > 1e-3
    np.testing.assert_array_equal(moved[:3], 0)


@by_name
def test_outputs_and_gradients_both_ways_are_those_of_the_equations(name):
    cfg, params = make_config(name, False), make_params(name, False)
    ids, segments, labels = rows()
    hidden, value, grads = gradients(name, params, cfg, ids, segments, labels)
    check_places(name, False, hidden)
    sequences = [SEQUENCES[PLACES[number][2]] for number in LABELLED]
    cut = [
        labels[row, begin : begin + len(SEQUENCES[which])]
        for row, begin, which in (PLACES[number] for number in LABELLED)
    ]

    def loss(leaves):
        params = structure.unflatten(leaves)
        return oracle_encoders.loss(name, params, sequences, cut, heads=2, causal=False)

    leaves, structure = jax.tree.flatten(params)
    leaves = [leaf.astype(np.float64) for leaf in leaves]
    assert value == pytest.approx(loss(leaves), rel=1e-6)
    largest = max(float(np.abs(g).max()) for g in jax.tree.leaves(grads))
    rng = np.random.default_rng(3)
    flat = jax.tree_util.tree_leaves_with_path(grads)
    for number, (path, gradient) in enumerate(flat):
        direction = rng.normal(size=gradient.shape)
        direction /= np.linalg.norm(direction)
        around = []
        for sign in (1e-5, -1e-5):
            moved = list(leaves)
            moved[number] = moved[number] + sign * direction
            around.append(loss(moved))
        slope = (around[0] - around[1]) / 2e-5
        assert (gradient * direction).sum() == pytest.approx(slope, abs=1e-5 * largest)
        names = [part.key for part in path[-2:]]
        # One number more for every key of a query is no change of its softmax.
        assert names == ["key", "bias"] or np.abs(gradient).max() > 1e-3


@functools.partial(numpy_jit, static_argnums=(0, 2))
def stepped(name, params, cfg, ids):
    """Outputs (t, b, w) and the state's ids (t, b, window) after each event."""
    model = models.model_module(name)

    def step(state, event):
        state, hidden = model.step(params, cfg, state, event)
        return state, (hidden, state["ids"])

    return jax.lax.scan(step, model.start(cfg, ids.shape[0]), ids.T)[1]


@pytest.mark.parametrize(
    ("name", "causal"), [(name, name in ("gpt2", "llama")) for name in NAMES]
)
def test_every_step_answers_what_the_window_says(name, causal):
    """Inside the window and beyond it; both ways the answer is the mask token's."""
    cfg, params = make_config(name, causal), make_params(name, causal)
    window = LENGTH if causal else LENGTH - 1
    model = models.model_module(name)
    assert model.window(cfg) == window
    assert model.mask_token(cfg) == (None if causal else MASK)
    ids = np.random.default_rng(4).integers(1, ITEMS + 1, (3, LENGTH + 3), np.int32)
    ids[1, :6] = 0
    ids[2] = 0  # an empty history
    hidden, states = stepped(name, params, cfg, ids)
    behind = np.pad(ids, ((0, 0), (window, 0)))
    for t in range(ids.shape[1]):
        np.testing.assert_array_equal(states[t], behind[:, t + 1 : t + 1 + window])
        for row in range(3):
            history = [i for i in states[t, row] if i]
            asked = (history or [0]) if causal else [*history, MASK]
            wanted = wanted_outputs(name, causal, asked)[-1]
            np.testing.assert_allclose(hidden[t, row], wanted, **close)


@by_name
def test_bfloat16_is_close_and_returns_float32(name):
    cfg, params = make_config(name, False), make_params(name, False)
    half = dataclasses.replace(cfg, compute_dtype="bfloat16")
    ids = np.array([SEQUENCES[2]], np.int32)
    shape = jax.eval_shape(
        lambda p: models.model_module(name).encode(p, half, ids), params
    )
    assert shape.dtype == np.float32
    if name in ("llama", "transformer_xl"):  # which have products of their own
        hidden = encode(name, params, half, ids, np.ones_like(ids))[0]
        difference = np.abs(hidden - wanted_outputs(name, False, SEQUENCES[2]))
        assert 1e-4 < difference.mean() < 8 * 2**-8


@by_name
def test_every_place_of_dropout_has_masks_of_its_own(name, monkeypatch):
    places = []

    def spy(x, rate, keys, salt):
        if keys is not None and rate:
            places.append((rate, salt))
        return x

    of_bert = "models._bert_network" if "bert" in name else f"models.{name}"
    for module in (of_bert, "models._encoder", "core.attention"):
        monkeypatch.setattr(f"jaxrec.{module}.dropout_rows", spy, raising=False)
    rates = {"dropout": 0.25, "dropout_attention": 0.5}
    cfg = make_config(name, **({} if name == "llama" else rates))
    assert models.drops(cfg) == (name != "llama")
    keys = row_keys(jax.random.key(0), jnp.arange(1))
    ids = np.array([SEQUENCES[2]], np.int32)
    jax.eval_shape(
        lambda p: models.model_module(name).encode(p, cfg, ids, keys=keys),
        make_params(name),
    )
    if name == "llama":
        assert places == []
        return
    # After the embedding; in each of two blocks two and one.
    assert sorted(rate for rate, _ in places) == [0.25] * 5 + [0.5] * 2
    assert len({salt for _, salt in places}) == 7
