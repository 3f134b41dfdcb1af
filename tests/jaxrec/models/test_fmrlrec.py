"""fMRLRec: one map whether whole, packed, stepped or cut to any of its sizes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.dropout import row_keys
from jaxrec.core.optim import make_optimiser
from jaxrec.interop import fmrlrec_from_torch
from jaxrec.losses.matryoshka import linear_matryoshka_ce
from jaxrec.models import fmrlrec, fmrlrec_serving
from tests.jaxrec import oracle_fmrlrec
from tests.jaxrec.compiling import numpy_jit

ITEMS, SIZES, LENGTH, ROWS = 20, (4, 8, 16), 7, 8
encode = numpy_jit(fmrlrec.encode, static_argnums=1)
step = numpy_jit(fmrlrec.step, static_argnums=1)
prefill = numpy_jit(fmrlrec.prefill, static_argnums=1)
close = dict(rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    state = oracle_fmrlrec.random_state(rng, ITEMS, SIZES, 2, 6, 4)
    cfg, params = fmrlrec_from_torch(state)
    return jax.tree.map(np.asarray, params), cfg


@pytest.fixture(scope="module")
def shallow(model):
    """The same with its first block only, which compiles faster."""
    params, cfg = model
    cfg = dataclasses.replace(cfg, blocks=1)
    return {name: params[name] for name in params if name != "block_1"}, cfg


def draw_ids(seed=0):
    ids = np.random.default_rng(seed).integers(1, ITEMS + 1, (ROWS, LENGTH))
    return ids.astype(np.int32)


def left_padded(sequences):
    ids = np.zeros((ROWS, LENGTH), np.int32)
    for row, sequence in enumerate(sequences):
        ids[row, LENGTH - len(sequence) :] = sequence
    return ids


def test_steps_and_prefill_equal_the_parallel_form_at_every_prefix(model):
    params, cfg = model
    whole = draw_ids()
    hidden = encode(params, cfg, whole)
    state = fmrlrec.start(cfg, ROWS)
    for t in range(LENGTH):
        state, output = step(params, cfg, state, whole[:, t])
        np.testing.assert_allclose(output, hidden[:, t], **close)
    after, output = prefill(params, cfg, whole)
    np.testing.assert_allclose(output, hidden[:, -1], **close)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), after, state)

    prefixes = left_padded([whole[0, :t] for t in range(LENGTH + 1)])
    state, output = prefill(params, cfg, prefixes)
    np.testing.assert_allclose(output[1:], hidden[0], **close)
    # The first prefix is an empty history, which leaves no state.
    assert all((part[0] == 0).all() for pair in state for part in pair)
    nobody = step(params, cfg, fmrlrec.start(cfg, ROWS), prefixes[:, 0] * 0)[1]
    np.testing.assert_allclose(output[0], nobody[0], **close)


def test_neighbours_in_a_row_are_apart_by_their_segments(shallow):
    params, cfg = shallow
    ids = draw_ids(1)
    segments = np.where(np.arange(LENGTH) < 3, 1, 2) * np.ones((ROWS, 1), np.int32)
    hidden = encode(params, cfg, ids, segments=segments)
    alone = encode(params, cfg, left_padded(ids[:, 3:]))
    np.testing.assert_allclose(hidden[:, 3:], alone[:, 3:], **close)


def test_every_size_is_a_model_of_its_own(model):
    params, cfg = model
    ids = draw_ids(2)
    hidden = encode(params, cfg, ids)
    wide = dataclasses.replace(cfg, size_weights=(1.0, 2.0, 3.0))
    table, _ = fmrlrec.head(params, cfg)
    for count, size in enumerate(SIZES, 1):
        small_cfg, small = fmrlrec.truncate(params, wide, size)
        assert small_cfg.sizes == SIZES[:count]
        assert small_cfg.size_weights == (1.0, 2.0, 3.0)[:count]
        drawn = jax.eval_shape(lambda c=small_cfg: fmrlrec.init(jax.random.key(0), c))
        assert jax.tree.map(jnp.shape, small) == jax.tree.map(jnp.shape, drawn)
        if size == 16:
            continue  # the model itself
        output = encode(small, small_cfg, ids)
        np.testing.assert_allclose(output, hidden[..., :size], **close)
        scores = fmrlrec.score(small, small_cfg, output)
        wanted = hidden[..., :size] @ np.asarray(table)[:, :size].T
        np.testing.assert_allclose(scores, wanted, **close)
        np.testing.assert_allclose(
            fmrlrec.score(params, cfg, hidden, size), wanted, **close
        )
    assert np.abs(wanted).max() > 1
    for function in (fmrlrec.truncate, lambda p, c, s: fmrlrec.score(p, c, hidden, s)):
        with pytest.raises(ValueError, match=r"size: want one of \(4, 8, 16\), got 12"):
            function(params, cfg, 12)


def test_a_cut_model_needs_no_features(shallow):
    params, cfg = shallow
    ids = draw_ids(3)
    wanted = encode(params, cfg, ids)
    small_cfg, small = fmrlrec.truncate(*fmrlrec.tabulate(params, cfg)[::-1], 8)
    other_cfg, other = fmrlrec.tabulate(*fmrlrec.truncate(params, cfg, 8)[::-1])
    assert small_cfg == other_cfg and small_cfg.features == ()
    assert "features" not in small and small.keys() == other.keys()
    np.testing.assert_allclose(
        small["embedding"]["table"], other["embedding"]["table"], **close
    )
    np.testing.assert_allclose(encode(small, small_cfg, ids), wanted[..., :8], **close)
    scores = fmrlrec.score(small, small_cfg, wanted[..., :8])
    whole = fmrlrec.score(params, cfg, wanted, 8)
    np.testing.assert_allclose(scores, whole, **close)


def test_training_leaves_features_alone_and_sizes_nested(shallow):
    params, cfg = shallow
    ids, labels = draw_ids(4), draw_ids(5).ravel()
    cfg = dataclasses.replace(cfg, dropout=0.2, dropout_lru=0.2)
    keys = row_keys(jax.random.key(0), jnp.arange(ROWS))
    options = dict(name="adamw", lr=0.05, schedule="constant", warmup=0, final_lr=0.0)
    options |= dict(weight_decay=0.5, b1=0.9, b2=0.99, eps=1e-8, clip_norm=5.0)
    options["bias_correction"] = True
    optimiser = make_optimiser(options, 10, fmrlrec.decayed, fmrlrec.frozen)

    def loss(params):
        hidden = fmrlrec.encode(params, cfg, ids, keys=keys).reshape(-1, 16)
        weights = jnp.ones(len(labels))
        return linear_matryoshka_ce(
            *(hidden, *fmrlrec.head(params, cfg), labels, weights),
            fmrlrec.loss_sizes(cfg),
        )

    def update(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        pooled = optimiser.pool(grads)
        params, state, _ = optimiser.update(pooled, state, params, len(labels))
        return (params, state), (value, jnp.abs(grads["features"]["table"]).max())

    @numpy_jit
    def train(params):
        carry = params, optimiser.init(params)
        (params, state), noted = jax.lax.scan(update, carry, length=10)
        return params, state, noted

    trained, state, (losses, slopes) = train(params)
    assert losses[-1] < 0.9 * losses[0]
    np.testing.assert_array_equal(slopes, 0)
    np.testing.assert_array_equal(
        trained["features"]["table"], params["features"]["table"]
    )
    moments = sum(leaf.size for leaf in jax.tree.leaves(state[1].mu))
    elements = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert moments == elements - params["features"]["table"].size

    # Whatever is wider than 8 has no part in the first 8, to the last bit.
    wider = jax.tree.map(np.copy, trained)
    wider["embedding"]["kernel"][:, 8:] = 3
    block = wider["block_0"]
    for name in ("in", "out", "ffn_in", "ffn_out"):
        block[name]["kernel_2"][:] = 3
        block[name]["bias"].reshape(-1, 16)[:, 8:] = 3
    for name in ("lru", "norm", "ffn_norm"):
        for leaf in block[name].values():
            leaf[8:] = 0.5
    one, two = encode(trained, cfg, ids), encode(wider, cfg, ids)
    np.testing.assert_array_equal(one[..., :8], two[..., :8])
    assert np.abs(one[..., 8:] - two[..., 8:]).min() > 0


def test_the_serving_companion_is_the_same_model(model):
    params, cfg = model
    folded = fmrlrec_serving.fold(params, cfg)
    ids = draw_ids(6)
    run = numpy_jit(fmrlrec_serving.encode, static_argnums=1)
    hidden = encode(params, cfg, ids)
    np.testing.assert_allclose(run(folded, cfg, ids), hidden, **close)
    fill = numpy_jit(fmrlrec_serving.prefill, static_argnums=1)
    state, output = fill(folded, cfg, ids)
    np.testing.assert_allclose(output, hidden[:, -1], **close)
    wanted, _ = prefill(params, cfg, ids)
    packed = np.stack([np.stack(pair, 1) for pair in wanted], 1)
    np.testing.assert_allclose(state, packed, **close)

    go_on = numpy_jit(fmrlrec_serving.extend, static_argnums=1)
    state, _ = go_on(folded, cfg, fmrlrec_serving.start(cfg, ROWS), ids[:, :-1])
    one = numpy_jit(fmrlrec_serving.step, static_argnums=1)
    state, output = one(folded, cfg, state, ids[:, -1])
    np.testing.assert_allclose(output, hidden[:, -1], **close)
    np.testing.assert_allclose(state, packed, **close)


def test_forms_for_platforms_are_equal(shallow):
    params, cfg = shallow
    forms = {p: fmrlrec_serving.for_platform(cfg, p) for p in ("cpu", "cuda", "tpu")}
    assert [forms[p].scan for p in forms] == ["sequential", *["associative"] * 2]
    ids = draw_ids(7)
    hidden = encode(params, forms["cuda"], ids)
    np.testing.assert_allclose(hidden, encode(params, cfg, ids), **close)


def test_bfloat16_is_close_and_returns_float32(shallow):
    params, cfg = shallow
    coarse = dataclasses.replace(cfg, compute_dtype="bfloat16")
    ids = draw_ids(8)
    hidden, wanted = encode(params, coarse, ids), encode(params, cfg, ids)
    assert hidden.dtype == fmrlrec.head(params, coarse)[0].dtype == jnp.float32
    difference = np.abs(hidden - wanted)
    assert 1e-4 < difference.mean() < 0.02


def test_features_of_new_items_become_vectors_as_those_of_old_ones(model):
    params, cfg = model
    folded = fmrlrec_serving.fold(params, cfg)
    features = params["features"]["table"][3:6]
    found = fmrlrec_serving.vectors(folded, cfg, features)
    np.testing.assert_allclose(found, folded["items"][3:6], **close)
    nothing = fmrlrec_serving.vectors(folded, cfg, 0 * features[:1])
    np.testing.assert_allclose(nothing[0], folded["items"][0], **close)


def test_every_place_of_dropout_has_masks_of_its_own(model, monkeypatch):
    params, cfg = model
    cfg = dataclasses.replace(cfg, dropout=0.25, dropout_lru=0.5)
    places = []

    def spy(x, rate, keys, salt):
        places.append((rate, salt))
        return x

    monkeypatch.setattr(fmrlrec, "dropout", spy)
    jax.eval_shape(lambda p, ids: fmrlrec.encode(p, cfg, ids), params, draw_ids())
    # After the embedding; in each of two blocks one and two.
    assert sorted(rate for rate, _ in places) == [0.25] * 5 + [0.5] * 2
    assert len({salt for _, salt in places}) == 7
