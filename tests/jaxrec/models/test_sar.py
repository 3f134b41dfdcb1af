"""SAR: one map whether run whole, packed, from a cache or from a window."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec.core.dropout import row_keys
from jaxrec.losses.softmax import linear_softmax_ce
from jaxrec.models import _sar_network, sar
from tests.jaxrec.compiling import numpy_jit

ITEMS, LENGTH = 20, 8
CFG = sar.SARConfig(items=ITEMS, length=LENGTH, dim=8, heads=2, windows=(0, 2))
AE = dataclasses.replace(CFG, causal=False)
VARIANTS = {
    "plain": dataclasses.replace(CFG, heads=1, windows=()),
    "local": CFG,
    "post-norm": dataclasses.replace(CFG, norm_first=False, windows=()),
    "users": dataclasses.replace(CFG, users=3),
}
USERS, AE_USERS = VARIANTS["users"], dataclasses.replace(AE, users=3)
encode = numpy_jit(sar.encode, static_argnums=1)
step = numpy_jit(sar.step, static_argnums=1)
prefill = numpy_jit(sar.prefill, static_argnums=1)
extend = numpy_jit(sar.extend, static_argnums=1)
close = dict(rtol=0, atol=1e-5)


def make_params(cfg, seed=0):
    """Parameters with enough spread that everything has a part in the outputs."""
    drawn = sar.init(jax.random.key(seed), cfg)
    leaves, structure = jax.tree.flatten(drawn)
    rng = np.random.default_rng(seed)
    noise = [rng.normal(0, 0.3, leaf.shape).astype(np.float32) for leaf in leaves]
    return structure.unflatten(
        [np.asarray(leaf) + more for leaf, more in zip(leaves, noise, strict=True)]
    )


def draw_ids(seed=0, rows=4, length=LENGTH):
    rng = np.random.default_rng(seed)
    return rng.integers(1, ITEMS + 1, (rows, length), dtype=np.int32)


def left_padded(sequences, length=LENGTH):
    ids = np.zeros((len(sequences), length), np.int32)
    for row, sequence in enumerate(sequences):
        ids[row, length - len(sequence) :] = sequence
    return ids


def who(cfg, rows=4):
    return np.arange(rows, dtype=np.int32) % (cfg.users + 1) if cfg.users else None


def at_slots(users, ids):
    """Users of rows as those of all their slots."""
    return None if users is None else np.broadcast_to(users[:, None], ids.shape)


@pytest.mark.parametrize("name", VARIANTS)
def test_steps_equal_prefill_and_encode_at_every_prefix(name):
    """Inside the window, and beyond it, where the window is what counts."""
    cfg = VARIANTS[name]
    params, users = make_params(cfg), who(cfg)
    ids = draw_ids(length=2 * LENGTH + 3)
    slots = at_slots(users, ids[:, :LENGTH])
    inside = encode(params, cfg, ids[:, :LENGTH], users=slots)
    assert np.abs(inside).max() > 0.5
    state = sar.start(cfg, 4, users=users)
    for t in range(ids.shape[1]):
        state, output = step(params, cfg, state, ids[:, t])
        if t < LENGTH:
            np.testing.assert_allclose(output, inside[:, t], **close)
        window = ids[:, max(0, t + 1 - LENGTH) : t + 1]
        read, filled = prefill(params, cfg, left_padded(window), users=users)
        np.testing.assert_allclose(output, filled, **close)
        last = encode(params, cfg, left_padded(window), users=slots)[:, -1]
        np.testing.assert_allclose(output, last, **close)
        assert state.keys() == read.keys()
        for part in state if t < LENGTH else ("ids",):
            np.testing.assert_allclose(state[part], read[part], **close)


def test_a_user_with_a_full_window_does_not_change_its_neighbours():
    params = make_params(CFG)
    ids = draw_ids(1, length=LENGTH)
    counts = (LENGTH, 3, 0, LENGTH - 1)
    state, _ = prefill(
        params, CFG, left_padded([ids[r, :n] for r, n in enumerate(counts)])
    )
    new = draw_ids(2, length=1)[:, 0]
    state, output = step(params, CFG, state, new)
    for row, n in enumerate(counts):
        history = [*ids[row, :n], new[row]][-LENGTH:]
        alone = encode(params, CFG, left_padded([history]))[0, -1]
        np.testing.assert_allclose(output[row], alone, **close)


@pytest.mark.parametrize("cfg", [USERS, AE], ids=["causal", "both-ways"])
def test_several_events_at_once(cfg):
    params, ids = make_params(cfg), draw_ids(3, length=LENGTH + 4)
    users = who(cfg)
    for known in (0, 3, LENGTH + 1):
        before = left_padded(ids[:, :known], LENGTH + 4)
        state, _ = prefill(params, cfg, before, users=users)
        read, output = extend(params, cfg, state, ids[:, known:])
        wanted_state, wanted = prefill(params, cfg, ids, users=users)
        np.testing.assert_allclose(output, wanted, **close)
        for part in read:
            np.testing.assert_allclose(read[part], wanted_state[part], **close)


def test_both_ways_the_mask_token_is_appended():
    params, ids = make_params(AE), draw_ids(4, length=LENGTH + 3)
    state = sar.start(AE, 4)
    assert state.keys() == {"ids"} and state["ids"].shape == (4, LENGTH - 1)
    for t in range(ids.shape[1]):
        state, output = step(params, AE, state, ids[:, t])
        seen = ids[:, max(0, t + 2 - LENGTH) : t + 1]
        asked = np.pad(seen, ((0, 0), (0, 1)), constant_values=ITEMS + 1)
        wanted = encode(params, AE, left_padded(asked))[:, -1]
        np.testing.assert_allclose(output, wanted, **close)
        _, filled = prefill(params, AE, left_padded(seen))
        np.testing.assert_allclose(filled, wanted, **close)
    # Unlike a causal model, an item is seen by those before it.
    changed = ids.copy()
    changed[:, LENGTH - 1] = changed[:, LENGTH - 1] % ITEMS + 1
    before, after = (encode(params, AE, i[:, :LENGTH]) for i in (ids, changed))
    assert np.abs(before - after)[:, 0].max() > 1e-3


@pytest.mark.parametrize("cfg", [USERS, AE_USERS], ids=["causal", "both-ways"])
def test_empty_history(cfg):
    params, users = make_params(cfg), np.array([3, 0], np.int32)
    nothing = np.zeros((2, 4), np.int32)
    state, output = prefill(params, cfg, nothing, users=users)
    begun = sar.start(cfg, 2, users=users)
    jax.tree.map(np.testing.assert_array_equal, state, begun)
    _, stepped = step(params, cfg, begun, nothing[:, 0])
    np.testing.assert_allclose(output, stepped, **close)
    token = np.full((2, 1), 0 if cfg.causal else ITEMS + 1, np.int32)
    alone = encode(params, cfg, token, users=users[:, None])
    np.testing.assert_allclose(output, alone[:, 0], **close)
    # Without users all are the unknown one.
    unnamed = prefill(params, cfg, nothing)[1]
    np.testing.assert_allclose(unnamed, output[[1, 1]], **close)
    assert np.abs(unnamed - output)[0].max() > 0.01


def test_the_item_behind_a_beginning_is_at_position_0():
    """Batches may begin a sequence with id 0, which nobody then looks at."""
    params, ids = make_params(CFG), draw_ids(5, length=LENGTH - 1)
    begun = encode(params, CFG, np.pad(ids, ((0, 0), (1, 0))))
    np.testing.assert_allclose(begun[:, 1:], encode(params, CFG, ids), **close)
    empty = prefill(params, CFG, np.zeros((4, 1), np.int32))[1]
    np.testing.assert_allclose(begun[:, 0], empty, **close)


@pytest.mark.parametrize("cfg", [CFG, AE], ids=["causal", "both-ways"])
def test_padding_on_either_side_changes_nothing(cfg):
    params = make_params(cfg)
    sequence = draw_ids(6)[0, :4]
    ids = np.zeros((LENGTH - 3, LENGTH), np.int32)
    for row in range(len(ids)):
        ids[row, row : row + 4] = sequence
    hidden = encode(params, cfg, ids)
    alone = encode(params, cfg, sequence[None])
    for row in range(len(ids)):
        np.testing.assert_allclose(hidden[row, row : row + 4], alone[0], **close)


def loss_and_gradients(params, cfg, ids, segments, labels, users=None):
    def loss(params):
        hidden = sar.encode(params, cfg, ids, segments=segments, users=users)
        weights = (labels != 0).astype(jnp.float32).ravel()
        flat = hidden.reshape(-1, hidden.shape[-1])
        total = linear_softmax_ce(flat, *sar.head(params, cfg), labels.ravel(), weights)
        return total / weights.sum(), hidden

    (value, hidden), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return value, hidden, grads


@pytest.mark.parametrize("cfg", [USERS, AE], ids=["causal", "both-ways"])
def test_packed_rows_equal_rows_of_their_own(cfg):
    params, rng = make_params(cfg), np.random.default_rng(7)
    lengths = ((3, 5), (8,), (1, 1, 6), (4, 2))
    packed, segments, labels, users = np.zeros((4, 4, LENGTH), np.int32)
    places, alone, alone_labels, alone_users = [], [], [], []
    for row, parts in enumerate(lengths):
        begin = 0
        for number, length in enumerate(parts, 1):
            place = slice(begin, begin + length)
            packed[row, place] = rng.integers(1, ITEMS + 2, length)
            labels[row, place] = rng.integers(1, ITEMS + 1, length)
            segments[row, place] = number
            users[row, place] = rng.integers(cfg.users + 1)
            places.append((row, place))
            alone.append(packed[row, place])
            alone_labels.append(labels[row, place])
            alone_users.append(users[row, place])
            begin += length
    compiled = numpy_jit(loss_and_gradients, static_argnums=1)
    whose, alone_whose = users, left_padded(alone_users)
    if not cfg.users:
        whose = alone_whose = None
    value, hidden, grads = compiled(params, cfg, packed, segments, labels, whose)
    wanted, apart, wanted_grads = compiled(
        params, cfg, left_padded(alone), None, left_padded(alone_labels), alone_whose
    )
    for number, (row, place) in enumerate(places):
        length = place.stop - place.start
        np.testing.assert_allclose(
            hidden[row, place], apart[number, LENGTH - length :], **close
        )
    assert float(value) == pytest.approx(float(wanted), rel=1e-6)
    largest = max(np.abs(g).max() for g in jax.tree.leaves(wanted_grads))
    jax.tree.map(
        lambda got, gradient: np.testing.assert_allclose(
            got, gradient, rtol=0, atol=1e-5 * largest
        ),
        grads,
        wanted_grads,
    )


def test_some_slots_only():
    params, ids = make_params(USERS), draw_ids(8)
    users = np.random.default_rng(8).integers(0, 4, ids.shape, np.int32)
    segments = np.where(np.arange(LENGTH) < 3, 1, 2) * np.ones((4, 1), np.int32)
    at = np.array([[7, 0], [3, 3], [2, 5], [4, 1]], np.int32)
    whole = encode(params, USERS, ids, segments=segments, users=users)
    some = encode(params, USERS, ids, segments=segments, at=at, users=users)
    wanted = np.take_along_axis(whole, at[..., None], 1)
    np.testing.assert_allclose(some, wanted, **close)


def test_rows_longer_than_the_positions_are_refused():
    with pytest.raises(ValueError, match="rows of 9 slots, .* has 8 positions"):
        sar.encode(make_params(CFG), CFG, draw_ids(length=9))


@pytest.mark.parametrize(
    ("cfg", "users", "message"),
    [
        (CFG, np.zeros((4, LENGTH)), "given to a model without user vectors"),
        (USERS, np.zeros(4), r"users: want shape \(4, 8\), got \(4,\)"),
    ],
)
def test_users_that_do_not_fit_are_refused(cfg, users, message):
    users = users.astype(np.int32)
    with pytest.raises(ValueError, match=message):
        sar.encode(make_params(cfg), cfg, draw_ids(), users=users)
    with pytest.raises(ValueError, match=r"users: (given|want shape \(3,\))"):
        sar.start(cfg, 3, users=users)


def test_bfloat16_is_close_and_returns_float32():
    params, ids = make_params(CFG), draw_ids(9)
    half = dataclasses.replace(CFG, compute_dtype="bfloat16")
    wanted, hidden = encode(params, CFG, ids), encode(params, half, ids)
    assert hidden.dtype == np.float32
    difference = np.abs(hidden - wanted)
    assert 1e-4 < difference.mean() < 8 * 2**-8
    state, output = prefill(params, half, ids)
    assert {leaf.dtype.name for leaf in state.values()} == {"float32", "int32"}
    np.testing.assert_allclose(output, hidden[:, -1], rtol=0, atol=0.1)


def test_dropout_depends_on_the_row_and_not_on_its_place():
    params, ids = make_params(CFG), draw_ids(10)
    keys = row_keys(jax.random.key(0), jnp.arange(4))
    hidden = encode(params, CFG, ids, keys=keys)
    order = np.array([2, 0, 3, 1])
    turned = encode(params, CFG, ids[order], keys=keys[order])
    np.testing.assert_allclose(turned, hidden[order], **close)
    assert np.abs(encode(params, CFG, ids) - hidden).mean() > 0.05
    for rate in ("dropout", "dropout_attention"):
        other = encode(params, dataclasses.replace(CFG, **{rate: 0.0}), ids, keys=keys)
        assert np.abs(other - hidden).mean() > 0.01


def test_every_place_of_dropout_has_masks_of_its_own(monkeypatch):
    cfg = dataclasses.replace(CFG, dropout=0.25, dropout_attention=0.5)
    places = []

    def spy(x, rate, keys, salt):
        places.append((rate, salt))
        return x

    monkeypatch.setattr(_sar_network, "dropout_rows", spy)
    monkeypatch.setattr("jaxrec.core.attention.dropout_rows", spy)
    jax.eval_shape(lambda p, i: sar.encode(p, cfg, i), make_params(cfg), draw_ids())
    # After the embedding; in each of two blocks one and two.
    assert sorted(rate for rate, _ in places) == [0.25] * 5 + [0.5] * 2
    assert len({salt for _, salt in places}) == 7


def test_vmap_over_models():
    ids = draw_ids(11)
    models = [make_params(CFG, seed) for seed in (0, 1)]
    both = jax.tree.map(lambda a, b: np.stack([a, b]), *models)
    together = numpy_jit(jax.vmap(lambda p: sar.encode(p, CFG, ids)))(both)
    for hidden, params in zip(together, models, strict=True):
        np.testing.assert_allclose(hidden, encode(params, CFG, ids), **close)


def test_eight_sequences_are_learnt_by_heart():
    cfg = sar.SARConfig(items=ITEMS, length=LENGTH, dim=16, blocks=1)
    params = sar.init(jax.random.key(1), cfg)
    sequences = draw_ids(12, rows=8, length=7)
    sequences[:, 0] = np.arange(1, 9)  # each begins with an item of its own
    ids, labels = sequences[:, :-1], sequences[:, 1:]
    optimiser = optax.adam(0.01)

    def update(carry, _):
        params, state = carry
        loss, _, grads = loss_and_gradients(params, cfg, ids, None, labels)
        updates, state = optimiser.update(grads, state)
        return (optax.apply_updates(params, updates), state), loss

    @numpy_jit
    def train(params):
        return jax.lax.scan(update, (params, optimiser.init(params)), length=150)

    (params, _), losses = train(params)
    assert float(losses[0]) > 2
    assert float(losses[-1]) < 0.05
    best = sar.score(params, cfg, encode(params, cfg, ids)).argmax(-1)
    np.testing.assert_array_equal(best, labels)
