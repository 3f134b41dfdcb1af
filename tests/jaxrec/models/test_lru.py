"""LRURec: one map whether run whole, packed, step by step or from a state."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec.core.dropout import row_keys
from jaxrec.interop import lrurec_from_torch
from jaxrec.losses.softmax import linear_softmax_ce
from jaxrec.models import lru
from tests.jaxrec import oracle
from tests.jaxrec.compiling import numpy_jit

ITEMS, DIM, LENGTH = 20, 8, 12
# All batches are (LENGTH, LENGTH), so that most tests share one compiled function.
encode = numpy_jit(lru.encode, static_argnums=1)
step = numpy_jit(lru.step, static_argnums=1)
prefill = numpy_jit(lru.prefill, static_argnums=1)
run = numpy_jit(lru.run, static_argnums=1)
close = dict(rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    state = oracle.random_state(np.random.default_rng(0), ITEMS, DIM, 2)
    cfg, params = lrurec_from_torch(state)
    return jax.tree.map(np.asarray, params), cfg


@pytest.fixture(scope="module")
def shallow(model):
    """The same with its first block only, which compiles faster."""
    params, cfg = model
    return params, dataclasses.replace(cfg, blocks=1)


def draw_ids(seed=0, rows=LENGTH, length=LENGTH):
    return np.random.default_rng(seed).integers(
        1, ITEMS + 1, (rows, length), dtype=np.int32
    )


def left_padded(sequences):
    ids = np.zeros((LENGTH, LENGTH), np.int32)
    for row, sequence in enumerate(sequences):
        ids[row, LENGTH - len(sequence) :] = sequence
    return ids


def test_parameters_are_draws_of_their_own():
    cfg = lru.LRUConfig(items=6, dim=8, blocks=2)
    sizes = {"in": (8, 32), "out": (32, 8), "ffn_in": (8, 32), "ffn_out": (32, 8)}

    def one_by_one(key):
        def normal(number, *shape):
            drawn = jax.random.fold_in(key, number)
            return 0.02 * jax.random.truncated_normal(drawn, -2.0, 2.0, shape)

        yield "embedding", "table", normal(1, 7, 8)
        for block in range(2):
            for place, (name, shape) in enumerate(sizes.items()):
                number = 4 + 9 * block + 2 * place
                yield f"block_{block}", name, "kernel", normal(number, *shape)
                yield f"block_{block}", name, "bias", normal(number + 1, shape[1])

    key = jax.random.key(5)
    params = numpy_jit(lru.init, static_argnums=1)(key, cfg)
    values = numpy_jit(lambda key: [value for *_, value in one_by_one(key)])(key)
    paths = []
    jax.eval_shape(lambda key: paths.extend(p for *p, _ in one_by_one(key)), key)
    for path, wanted in zip(paths, values, strict=True):
        leaf = params
        for part in path:
            leaf = leaf[part]
        np.testing.assert_allclose(leaf, wanted, atol=1e-7, err_msg="/".join(path))


def test_steps_and_prefill_equal_the_parallel_form_at_every_prefix(model):
    params, cfg = model
    whole = draw_ids()
    hidden = encode(params, cfg, whole)
    state = lru.start(cfg, LENGTH)
    states = []
    for t in range(LENGTH):
        state, output = step(params, cfg, state, whole[:, t])
        np.testing.assert_allclose(output, hidden[:, t], **close)
        states.append(state)

    # The prefixes of the first row, left padded, are the rows of one batch.
    prefixes = left_padded([whole[0, : t + 1] for t in range(LENGTH)])
    after, output = prefill(params, cfg, prefixes)
    np.testing.assert_allclose(output, hidden[0], **close)
    for block in range(cfg.blocks):
        for part in range(2):
            stepped = [state[block][part][0] for state in states]
            np.testing.assert_allclose(after[block][part], stepped, **close)
    assert np.abs(hidden).max() > 1


def test_steps_go_on_from_a_prefill(model):
    params, cfg = model
    whole = draw_ids(1)
    before = whole.copy()
    before[:, -1] = 0
    state, _ = prefill(params, cfg, np.roll(before, 1, 1))
    _, output = step(params, cfg, state, whole[:, -1])
    np.testing.assert_allclose(output, encode(params, cfg, whole)[:, -1], **close)


def test_empty_history(model):
    params, cfg = model
    nothing = np.zeros((LENGTH, LENGTH), np.int32)
    state, output = prefill(params, cfg, nothing)
    jax.tree.map(np.testing.assert_array_equal, state, lru.start(cfg, LENGTH))
    _, stepped = step(params, cfg, lru.start(cfg, LENGTH), nothing[:, 0])
    np.testing.assert_allclose(output, stepped, **close)
    # Row 0 is what a sequence begins with: every padding position predicts from it.
    hidden = encode(params, cfg, left_padded([[3, 4]]))
    np.testing.assert_allclose(hidden[0, : LENGTH - 2], output[: LENGTH - 2], **close)
    table = params["embedding"]["table"].copy()
    table[0] += 1 + np.arange(DIM)
    other = params | {"embedding": params["embedding"] | {"table": table}}
    assert np.abs(prefill(other, cfg, nothing)[1] - output).max() > 0.1


def test_any_amount_of_left_padding_changes_nothing(model):
    params, cfg = model
    sequence = draw_ids(2)[0, :5]
    ids = np.zeros((LENGTH, LENGTH), np.int32)
    for row in range(LENGTH - 4):
        ids[row, row : row + 5] = sequence  # and right padding behind it
    hidden = encode(params, cfg, ids)
    for row in range(1, LENGTH - 4):
        np.testing.assert_allclose(hidden[row, row : row + 5], hidden[0, :5], **close)


def test_a_hole_begins_a_new_sequence(model):
    params, cfg = model
    ids = draw_ids(3)
    ids[:, 4] = 0
    hidden = encode(params, cfg, ids)
    alone = encode(params, cfg, left_padded(ids[:, 5:]))
    np.testing.assert_allclose(hidden[:, 5:], alone[:, 5:], **close)
    # The position of the hole itself still sees what came before it.
    before = encode(params, cfg, left_padded(ids[:, :5]))
    np.testing.assert_allclose(hidden[:, :5], before[:, -5:], **close)
    empty = encode(params, cfg, np.zeros_like(ids))
    assert np.abs(hidden[:, 4] - empty[:, 4]).max() > 0.1


def loss_and_gradients(params, cfg, ids, segments, labels):
    def loss(params):
        hidden = lru.encode(params, cfg, ids, segments=segments)
        weights = (labels != 0).astype(jnp.float32).ravel()
        total = linear_softmax_ce(
            hidden.reshape(-1, cfg.dim), *lru.head(params, cfg), labels.ravel(), weights
        )
        return total / weights.sum(), hidden

    (value, hidden), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return value, hidden, grads


def test_packed_rows_equal_rows_of_their_own(shallow):
    params, cfg = shallow
    rng = np.random.default_rng(4)
    lengths = ((3, 5, 4), (12,), (1, 1, 10), (6, 5))
    shape = (LENGTH, LENGTH)
    packed, segments, labels = (np.zeros(shape, np.int32) for _ in range(3))
    alone, alone_labels = [], []
    where = []
    for row, parts in enumerate(lengths):
        begin = 0
        for number, length in enumerate(parts, 1):
            sequence = rng.integers(1, ITEMS + 1, length + 1)
            place = slice(begin, begin + length)
            # Begins with 0, the token that predicts the first item.
            packed[row, place] = [0, *sequence[: length - 1]]
            labels[row, place] = sequence[:length]
            segments[row, place] = number
            alone.append(packed[row, place])
            alone_labels.append(labels[row, place])
            where.append((row, place))
            begin += length
    compiled = numpy_jit(loss_and_gradients, static_argnums=1)
    value, hidden, grads = compiled(params, cfg, packed, segments, labels)
    wanted, apart, wanted_grads = compiled(
        params,
        cfg,
        left_padded(alone),
        np.ones(shape, np.int32),
        left_padded(alone_labels),
    )
    for number, (row, place) in enumerate(where):
        length = place.stop - place.start
        np.testing.assert_allclose(
            hidden[row, place], apart[number, LENGTH - length :], **close
        )
    assert float(value) == pytest.approx(float(wanted), rel=1e-6)
    largest = max(np.abs(g).max() for g in jax.tree.leaves(wanted_grads))
    for got, gradient in zip(
        jax.tree.leaves(grads), jax.tree.leaves(wanted_grads), strict=True
    ):
        np.testing.assert_allclose(got, gradient, rtol=0, atol=1e-5 * largest)


def test_neighbours_without_a_gap_are_apart_by_their_segments(shallow):
    params, cfg = shallow
    ids = draw_ids(5)
    segments = np.where(np.arange(LENGTH) < 7, 1, 2) * np.ones((LENGTH, 1), np.int32)
    hidden = encode(params, cfg, ids, segments=segments)
    alone = encode(params, cfg, left_padded(ids[:, 7:]))
    np.testing.assert_allclose(hidden[:, 7:], alone[:, 7:], **close)


def test_a_long_row_in_two_pieces(shallow):
    params, cfg = shallow
    ids = draw_ids(6).T
    ids[5, :4] = 0  # the last step of the first piece passes nothing on
    segments = np.ones((LENGTH, LENGTH), np.int32)
    segments[6:, 4:8] = 2  # a border between the pieces
    wanted_state, wanted = run(params, cfg, ids, segments=segments)
    state, first = run(params, cfg, ids[:6], segments=segments[:6])
    state, second = run(
        params,
        cfg,
        ids[6:],
        segments=segments[6:],
        state=state,
        before=(ids[5], segments[5]),
    )
    np.testing.assert_allclose(np.concatenate([first, second]), wanted, **close)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **close), state, wanted_state
    )


@pytest.mark.parametrize("form", ["associative", "chunked"])
def test_other_forms_of_the_recurrence(shallow, form):
    params, cfg = shallow
    ids = left_padded([draw_ids(7)[0, :length] for length in range(1, LENGTH + 1)])
    hidden = encode(params, dataclasses.replace(cfg, scan=form), ids)
    np.testing.assert_allclose(hidden, encode(params, cfg, ids), **close)


def test_vmap_over_models(shallow):
    params, cfg = shallow
    ids = draw_ids(8)
    other = jax.tree.map(lambda leaf: 0.9 * leaf, params)
    both = jax.tree.map(lambda a, b: np.stack([a, b]), params, other)
    together = numpy_jit(jax.vmap(lambda p: lru.encode(p, cfg, ids)))(both)
    np.testing.assert_allclose(together[0], encode(params, cfg, ids), **close)
    np.testing.assert_allclose(together[1], encode(other, cfg, ids), **close)
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_bfloat16_is_close_and_returns_float32(shallow):
    params, cfg = shallow
    ids = draw_ids(9)
    wanted = np.asarray(encode(params, cfg, ids))
    hidden = encode(params, dataclasses.replace(cfg, compute_dtype="bfloat16"), ids)
    assert hidden.dtype == jnp.float32
    # Outputs of a LayerNorm are of order 1; bfloat16 keeps 8 bits.
    difference = np.abs(hidden - wanted)
    assert 1e-4 < difference.mean() < 4 * 2**-8
    assert difference.max() < 32 * 2**-8


def test_dropout_depends_on_the_row_and_not_on_its_place(shallow):
    params, cfg = shallow
    cfg = dataclasses.replace(cfg, dropout=0.3, dropout_lru=0.3)
    ids = draw_ids(10)
    keys = row_keys(jax.random.key(0), jnp.arange(LENGTH))
    hidden = encode(params, cfg, ids, keys=keys)
    order = np.random.default_rng(0).permutation(LENGTH)
    np.testing.assert_allclose(
        encode(params, cfg, ids[order], keys=keys[order]), hidden[order], **close
    )
    others = row_keys(jax.random.key(1), jnp.arange(LENGTH))
    assert np.abs(encode(params, cfg, ids, keys=others) - hidden).mean() > 0.1
    without = encode(params, cfg, ids)
    assert np.abs(without - hidden).mean() > 0.1
    # The rate of the recurrence has a place of its own.
    one_off = dataclasses.replace(cfg, dropout_lru=0.0)
    assert np.abs(encode(params, one_off, ids, keys=keys) - hidden).mean() > 0.05


def test_every_place_of_dropout_has_masks_of_its_own(model, monkeypatch):
    params, cfg = model
    cfg = dataclasses.replace(cfg, dropout=0.25, dropout_lru=0.5)
    places = []

    def spy(x, rate, keys, salt):
        places.append((rate, salt))
        return x

    monkeypatch.setattr(lru, "dropout", spy)
    jax.eval_shape(lambda p, ids: lru.encode(p, cfg, ids), params, draw_ids())
    # After the embedding; in each of two blocks one and two.
    assert sorted(rate for rate, _ in places) == [0.25] * 5 + [0.5] * 2
    assert len({salt for _, salt in places}) == 7


def test_eight_sequences_are_learnt_by_heart():
    cfg = lru.LRUConfig(items=ITEMS, dim=16, blocks=1, dropout=0.0, dropout_lru=0.0)
    state = oracle.random_state(np.random.default_rng(13), ITEMS, 16, 1)
    params = lrurec_from_torch(state)[1]
    sequences = draw_ids(14, rows=8, length=7)
    sequences[:, 0] = np.arange(1, 9)  # each begins with an item of its own
    ids, labels = sequences[:, :-1], sequences[:, 1:]
    segments = np.ones_like(ids)
    optimiser = optax.adam(0.01)

    def update(carry, _):
        params, state = carry
        loss, _, grads = loss_and_gradients(params, cfg, ids, segments, labels)
        updates, state = optimiser.update(grads, state)
        return (optax.apply_updates(params, updates), state), loss

    @numpy_jit
    def train(params):
        return jax.lax.scan(update, (params, optimiser.init(params)), length=150)

    (params, _), losses = train(params)
    assert float(losses[0]) > 2
    assert float(losses[-1]) < 0.05
    hidden = encode(params, cfg, ids)
    best = lru.score(params, cfg, hidden).argmax(-1)
    np.testing.assert_array_equal(best, labels)
