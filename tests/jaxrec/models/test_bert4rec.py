"""BERT4Rec: one map whether run whole, packed or asked at the end of a window."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import models
from jaxrec.core.dropout import row_keys
from jaxrec.models import bert4rec
from tests.jaxrec.compiling import numpy_jit

ITEMS, LENGTH = 20, 8
CFG = bert4rec.BERT4RecConfig(items=ITEMS, length=LENGTH, dim=8)
BOTH = [CFG, dataclasses.replace(CFG, causal=True)]
NAMES = ["both-ways", "causal"]
MASK = ITEMS + 1
encode = numpy_jit(bert4rec.encode, static_argnums=1)
step = numpy_jit(bert4rec.step, static_argnums=1)
prefill = numpy_jit(bert4rec.prefill, static_argnums=1)
close = dict(rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def params():
    """Parameters with enough spread that everything has a part in the outputs."""
    leaves, structure = jax.tree.flatten(bert4rec.init(jax.random.key(0), CFG))
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 0.3, leaf.shape).astype(np.float32) for leaf in leaves]
    return structure.unflatten(
        [np.asarray(leaf) + more for leaf, more in zip(leaves, noise, strict=True)]
    )


def draw_ids(seed=0, rows=4, length=LENGTH):
    rng = np.random.default_rng(seed)
    return rng.integers(1, ITEMS + 1, (rows, length), dtype=np.int32)


def left_padded(sequences):
    ids = np.zeros((len(sequences), LENGTH), np.int32)
    for row, sequence in enumerate(sequences):
        ids[row, LENGTH - len(sequence) :] = sequence
    return ids


@pytest.mark.parametrize("cfg", BOTH, ids=NAMES)
def test_steps_equal_prefill_and_encode_at_every_prefix(cfg, params):
    ids = draw_ids(length=LENGTH + 3)
    state = bert4rec.start(cfg, 4)
    for t in range(ids.shape[1]):
        state, output = step(params, cfg, state, ids[:, t])
        seen = ids[:, max(0, t + 1 - bert4rec.window(cfg)) : t + 1]
        read, filled = prefill(params, cfg, left_padded(seen))
        asked = (
            seen if cfg.causal else np.pad(seen, ((0, 0), (0, 1)), constant_values=MASK)
        )
        wanted = encode(params, cfg, left_padded(asked))[:, -1]
        np.testing.assert_allclose(output, wanted, **close)
        np.testing.assert_allclose(filled, wanted, **close)
        np.testing.assert_array_equal(state["ids"], read["ids"])
    assert np.abs(output).max() > 0.5


@pytest.mark.parametrize("cfg", BOTH, ids=NAMES)
def test_empty_history(cfg, params):
    nothing = np.zeros((2, 4), np.int32)
    state, output = prefill(params, cfg, nothing)
    np.testing.assert_array_equal(state["ids"], bert4rec.start(cfg, 2)["ids"])
    token = np.full((2, 1), 0 if cfg.causal else MASK, np.int32)
    np.testing.assert_allclose(output, encode(params, cfg, token)[:, 0], **close)


@pytest.mark.parametrize("cfg", BOTH, ids=NAMES)
def test_packed_rows_and_some_slots(cfg, params):
    packed = draw_ids(1, rows=2)
    packed[:, 2] = MASK
    segments = np.array([[1] * 3 + [2] * 5, [4] * 6 + [0, 0]], np.int32)
    packed[1, 6:] = 0
    hidden = encode(params, cfg, packed, segments=segments)
    for row, place in ((0, slice(0, 3)), (0, slice(3, 8)), (1, slice(0, 6))):
        alone = encode(params, cfg, left_padded([packed[row, place]]))[0]
        length = place.stop - place.start
        np.testing.assert_allclose(hidden[row, place], alone[-length:], **close)
    at = np.array([[2, 0, 7], [5, 2, 2]], np.int32)
    some = encode(params, cfg, packed, segments=segments, at=at)
    wanted = np.take_along_axis(hidden, at[..., None], 1)
    np.testing.assert_allclose(some, wanted, **close)


def test_only_without_the_causal_mask_later_items_are_seen(params):
    ids = draw_ids(2)
    changed = ids.copy()
    changed[:, -1] = changed[:, -1] % ITEMS + 1
    for cfg in BOTH:
        moved = np.abs(encode(params, cfg, ids) - encode(params, cfg, changed))
        assert (moved[:, 0].max() > 1e-3) == (not cfg.causal)


def test_dropout_depends_on_the_row_and_has_places_of_its_own(params, monkeypatch):
    ids, keys = draw_ids(3), row_keys(jax.random.key(0), jnp.arange(4))
    hidden = encode(params, CFG, ids, keys=keys)
    order = np.array([2, 0, 3, 1])
    turned = encode(params, CFG, ids[order], keys=keys[order])
    np.testing.assert_allclose(turned, hidden[order], **close)
    assert np.abs(encode(params, CFG, ids) - hidden).mean() > 0.05
    places = []

    def spy(x, rate, keys, salt):
        places.append((rate, salt))
        return x

    for module in ("models._bert_network", "models._encoder", "core.attention"):
        monkeypatch.setattr(f"jaxrec.{module}.dropout_rows", spy)
    cfg = dataclasses.replace(CFG, dropout=0.25, dropout_attention=0.5)
    jax.eval_shape(lambda p: bert4rec.encode(p, cfg, ids), params)
    # After the embedding; in each of two blocks two and one.
    assert sorted(rate for rate, _ in places) == [0.25] * 5 + [0.5] * 2
    assert len({salt for _, salt in places}) == 7


def test_bfloat16_is_close_and_returns_float32(params):
    ids = draw_ids(4)
    half = dataclasses.replace(CFG, compute_dtype="bfloat16")
    wanted, hidden = encode(params, CFG, ids), encode(params, half, ids)
    assert hidden.dtype == np.float32
    assert 1e-4 < np.abs(hidden - wanted).mean() < 8 * 2**-8


def test_initial_parameters_and_what_is_decayed():
    draw = numpy_jit(bert4rec.init, static_argnums=1)
    params = draw(jax.random.key(0), dataclasses.replace(CFG, items=2000))
    normals = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        decays = "bias" not in name and "norm" not in name
        assert bert4rec.decayed(tuple(part.key for part in path)) == decays
        if decays:
            assert 0 < np.abs(leaf).max() <= 0.04, name
            normals.append(leaf.ravel())
        else:
            np.testing.assert_array_equal(leaf, 1.0 if "scale" in name else 0.0)
    normals = np.concatenate(normals)
    # A normal cut at two standard deviations keeps 0.880 of its own.
    assert normals.std() == pytest.approx(0.02 * 0.880, rel=0.02)
    assert np.unique(normals).size > 0.99 * normals.size


def test_scores_and_the_rows_behind_the_items(params):
    hidden = np.random.default_rng(5).normal(size=(3, 8)).astype(np.float32)
    table, bias = bert4rec.head(params, CFG)
    assert table.shape == (ITEMS + 5, 8)
    scores = bert4rec.score(params, CFG, hidden)
    wanted = hidden @ np.asarray(table).T + params["item_bias"]
    np.testing.assert_allclose(scores, wanted[:, : ITEMS + 1], **close)
    wider = dataclasses.replace(CFG, table_multiple=4)
    padded = params | {"item_bias": np.pad(params["item_bias"], (0, 3))}
    assert bert4rec.head(padded, wider)[1].shape == (28,)
    np.testing.assert_array_equal(bert4rec.head(padded, wider)[1][25:], -1e9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"items": 0}, "items=0"),
        ({"length": 1}, "length >= 2, .* length=1"),
        ({"length": 0, "causal": True}, "length >= 1, .* length=0"),
        ({"dim": 6}, "dim a multiple of 4 and of heads, got dim=6"),
        ({"heads": 3}, "of heads, got dim=8, heads=3"),
        ({"compute_dtype": "float64"}, "compute_dtype must be .*, got 'float64'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        bert4rec.BERT4RecConfig(**{"items": 5, "dim": 8} | fields)


def test_rows_longer_than_the_positions_are_refused(params):
    with pytest.raises(ValueError, match="rows of 9 slots, .* has 8 positions"):
        bert4rec.encode(params, CFG, draw_ids(length=9))


def test_windows_are_refused():
    with pytest.raises(ValueError, match=r"config\.model\.windows: unknown key"):
        models.config_from("bert4rec", {"windows": (0, 2)}, 7)
