"""HSTU: the published equations, whether rows are whole, padded or packed."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec.core.dropout import row_keys
from jaxrec.losses.softmax import linear_softmax_ce
from jaxrec.models import _hstu_network, hstu
from tests.jaxrec import oracle_hstu
from tests.jaxrec.compiling import numpy_jit

ITEMS, LENGTH = 9, 6
CFG = hstu.HSTUConfig(items=ITEMS, length=LENGTH, dim=4, heads=2, dim_qk=2, dim_v=3)
SIZES = {"length": LENGTH, "heads": 2, "qk": 2, "v": 3}
init = numpy_jit(hstu.init, static_argnums=1)
encode = numpy_jit(hstu.encode, static_argnums=1)
close = dict(rtol=0, atol=1e-5)


@functools.cache
def make_params():
    """Parameters with enough spread that everything has a part in the outputs."""
    leaves, structure = jax.tree.flatten(init(jax.random.key(0), CFG))
    rng = np.random.default_rng(0)
    return structure.unflatten(
        [a + rng.normal(0, 0.5, a.shape).astype(np.float32) for a in leaves]
    )


def draw_ids(seed=0, rows=4, length=LENGTH):
    rng = np.random.default_rng(seed)
    return rng.integers(1, ITEMS + 1, (rows, length), dtype=np.int32)


def left_padded(sequences, length=LENGTH):
    ids = np.zeros((len(sequences), length), np.int32)
    for row, sequence in enumerate(sequences):
        ids[row, length - len(sequence) :] = sequence
    return ids


def loss_and_gradients(params, cfg, ids, segments, labels):
    def loss(params):
        hidden = hstu.encode(params, cfg, ids, segments=segments)
        weights = (labels != 0).astype(jnp.float32).ravel()
        flat = hidden.reshape(-1, hidden.shape[-1])
        head = hstu.head(params, cfg)
        return linear_softmax_ce(flat, *head, labels.ravel(), weights), hidden

    (value, hidden), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return value, hidden, grads


compiled_loss = numpy_jit(loss_and_gradients, static_argnums=1)


def assert_gradients(grads, wanted):
    largest = max(np.abs(g).max() for g in jax.tree.leaves(wanted))
    jax.tree.map(
        lambda got, gradient: np.testing.assert_allclose(
            got, gradient, rtol=0, atol=1e-5 * largest
        ),
        grads,
        wanted,
    )


def test_outputs_scores_and_gradients_equal_the_equations():
    params, drawn = make_params(), draw_ids(0, rows=2)
    sequences, labels = (drawn[0], drawn[1, :3]), ([3, 1, ITEMS, 7, 2, 5], [4, 8, 1])
    rest = [[]] * 7  # as many rows as the test of packing compiles for
    ids, targets = (left_padded([*rows, *rest]) for rows in (sequences, labels))
    value, hidden, grads = compiled_loss(params, CFG, ids, None, targets)
    wide = oracle_hstu.wide(params)
    for row, ids in enumerate(sequences):
        got = hidden[row, LENGTH - len(ids) :]
        wanted = oracle_hstu.outputs(wide, ids, **SIZES)
        np.testing.assert_allclose(got, wanted, **close)
        # Scores are 20 times as large as outputs.
        wanted = oracle_hstu.scores(wide, ids, temperature=0.05, **SIZES)
        np.testing.assert_allclose(
            hstu.score(params, CFG, got) / 20, wanted / 20, **close
        )
    case = (sequences, labels)
    sizes = {"temperature": 0.05, **SIZES}
    assert float(value) == pytest.approx(
        oracle_hstu.loss(wide, *case, **sizes), rel=1e-5
    )
    wanted = oracle_hstu.gradients(params, *case, **sizes)
    # Everything has a part in the loss, but for rows that nobody looked at.
    assert all(np.abs(g).max() > 1e-2 for g in jax.tree.leaves(wanted))
    assert_gradients(grads, wanted)


def test_no_position_sees_a_later_one():
    params, ids = make_params(), draw_ids(1, rows=1)
    slots = np.arange(LENGTH)
    # Row i has another item in slot i: the outputs before it stay, bit for bit.
    changed = np.where(np.eye(LENGTH, dtype=bool), ids % ITEMS + 1, ids)
    difference = np.abs(
        encode(params, CFG, changed.astype(np.int32))
        - encode(params, CFG, np.repeat(ids, LENGTH, 0))
    ).max(-1)
    before = slots[None] < slots[:, None]
    assert (difference[before] == 0).all()
    assert (difference[~before] > 1e-5).all()


def test_packed_rows_equal_rows_of_their_own():
    params, rng = make_params(), np.random.default_rng(7)
    lengths = ((2, 4), (6,), (1, 1, 4), (3, 2))
    packed, segments, labels = (np.zeros((4, LENGTH), np.int32) for _ in range(3))
    places, alone, alone_labels = [], [], []
    for row, parts in enumerate(lengths):
        begin = 0
        for number, length in enumerate(parts, 1):
            place = slice(begin, begin + length)
            packed[row, place] = rng.integers(1, ITEMS + 1, length)
            labels[row, place] = rng.integers(1, ITEMS + 1, length)
            segments[row, place] = number
            places.append((row, place))
            alone.append(packed[row, place])
            alone_labels.append(labels[row, place])
            begin += length
    value, hidden, grads = compiled_loss(params, CFG, packed, segments, labels)
    wanted, apart, wanted_grads = compiled_loss(
        params, CFG, left_padded(alone), None, left_padded(alone_labels)
    )
    for number, (row, place) in enumerate(places):
        length = place.stop - place.start
        own = apart[number, LENGTH - length :]
        np.testing.assert_allclose(hidden[row, place], own, **close)
    assert float(value) == pytest.approx(float(wanted), rel=1e-6)
    assert_gradients(grads, wanted_grads)


def test_padding_on_either_side_changes_nothing():
    params, sequence = make_params(), draw_ids(6)[0, :3]
    ids = np.zeros((LENGTH - 2, LENGTH), np.int32)
    for row in range(len(ids)):
        ids[row, row : row + 3] = sequence
    hidden = encode(params, CFG, ids)
    for row in range(1, len(ids)):
        np.testing.assert_allclose(hidden[row, row : row + 3], hidden[0, :3], **close)


def test_bfloat16_is_close_and_returns_float32():
    params, ids = make_params(), draw_ids(9)
    half = dataclasses.replace(CFG, compute_dtype="bfloat16")
    hidden = encode(params, half, ids)
    assert hidden.dtype == np.float32
    difference = np.abs(hidden - encode(params, CFG, ids))
    assert 1e-4 < difference.mean() < 4 * 2**-8
    state, output = jax.eval_shape(lambda p, i: hstu.prefill(p, half, i), params, ids)
    assert output.dtype == np.float32
    assert {leaf.dtype.name for leaf in state.values()} == {"float32", "int32"}


def test_dropout_has_masks_of_rows_and_of_places(monkeypatch):
    params, ids = make_params(), draw_ids(10)
    keys = row_keys(jax.random.key(0), jnp.arange(4))
    hidden = encode(params, CFG, ids, keys=keys)
    order = np.array([2, 0, 3, 1])
    turned = encode(params, CFG, ids[order], keys=keys[order])
    np.testing.assert_allclose(turned, hidden[order], **close)
    assert np.abs(encode(params, CFG, ids) - hidden).mean() > 0.05
    cfg = dataclasses.replace(CFG, dropout=0.25, dropout_block=0.5)
    places = []

    def spy(x, rate, keys, salt):
        places.append((rate, salt))
        return x

    monkeypatch.setattr(_hstu_network, "dropout_rows", spy)
    jax.eval_shape(lambda p, i: hstu.encode(p, cfg, i), params, ids)
    assert sorted(rate for rate, _ in places) == [0.25, 0.5, 0.5]
    assert len({salt for _, salt in places}) == 3


def test_eight_sequences_are_learnt_by_heart():
    cfg = dataclasses.replace(CFG, dim=16, blocks=1, heads=1, dim_qk=8, dim_v=16)
    sequences = draw_ids(12, rows=8, length=LENGTH + 1)
    sequences[:, 0] = np.arange(1, 9)  # each begins with an item of its own
    ids, labels = sequences[:, :-1], sequences[:, 1:]
    optimiser = optax.adam(0.01)

    def update(carry, _):
        params, state = carry
        loss, _, grads = loss_and_gradients(params, cfg, ids, None, labels)
        updates, state = optimiser.update(grads, state)
        return (optax.apply_updates(params, updates), state), loss / labels.size

    @numpy_jit
    def train(params):
        start = params, optimiser.init(params)
        (params, _), losses = jax.lax.scan(update, start, length=300)
        scores = hstu.score(params, cfg, hstu.encode(params, cfg, ids))
        return losses, scores.argmax(-1)

    losses, best = train(init(jax.random.key(1), cfg))
    assert float(losses[0]) > 2
    assert float(losses[-1]) < 0.05
    np.testing.assert_array_equal(best, labels)
