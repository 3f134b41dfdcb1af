"""Folded LRURec: the same numbers as the model it was folded from."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import serving_runs

from jaxrec.models import lru, lru_serving

CFG = serving_runs.config(blocks=2)
PARAMS = serving_runs.params(CFG)
FOLDED = jax.jit(lru_serving.fold, static_argnums=1)(PARAMS, CFG)


def jitted(module):
    names = ("step", "prefill", "extend", "encode")
    functions = {n: getattr(module, n) for n in names if hasattr(module, n)}
    jits = {n: jax.jit(f, static_argnums=1) for n, f in functions.items()}
    return types.SimpleNamespace(**jits)


MODEL, SERVING = jitted(lru), jitted(lru_serving)


def histories(batch=3, length=9, seed=0):
    """Left padded ids (batch, length); row i has i + 1 zeros at the left."""
    ids = np.random.default_rng(seed).integers(1, CFG.items + 1, (batch, length))
    for i, row in enumerate(ids):
        row[: i + 1] = 0
    return jnp.asarray(ids, jnp.int32)


def packed(state):
    """The state of `lru` as that of `lru_serving`."""
    return jnp.stack([jnp.stack(pair, 1) for pair in state], 1)


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_step_equals_the_model():
    ids = histories()
    state, folded_state = lru.start(CFG, 3), lru_serving.start(CFG, 3)
    for column in ids.T[3:]:
        state, hidden = MODEL.step(PARAMS, CFG, state, column)
        folded_state, folded = SERVING.step(FOLDED, CFG, folded_state, column)
        close(folded, hidden)
        close(folded_state, packed(state))


def test_prefill_and_encode_equal_the_model():
    ids = histories()
    state, hidden = MODEL.prefill(PARAMS, CFG, ids)
    folded_state, folded = SERVING.prefill(FOLDED, CFG, ids)
    close(folded, hidden)
    close(folded_state, packed(state))
    close(SERVING.encode(FOLDED, CFG, ids), MODEL.encode(PARAMS, CFG, ids))


def test_extend_goes_on_where_prefill_stopped():
    ids = histories(length=9)
    whole = SERVING.prefill(FOLDED, CFG, ids)
    state = lru_serving.start(CFG, 3)
    state, _ = SERVING.extend(FOLDED, CFG, state, ids[:, :6])
    state, hidden = SERVING.extend(FOLDED, CFG, state, ids[:, 6:])
    close(hidden, whole[1])
    close(state, whole[0])


def test_an_empty_history_is_one_step_on_zero():
    nobody = jnp.zeros((1, 1), jnp.int32)
    _, hidden = MODEL.prefill(PARAMS, CFG, nobody)
    _, folded = SERVING.step(FOLDED, CFG, lru_serving.start(CFG, 1), nobody[0])
    close(folded, hidden)


def test_rows_past_the_catalogue_are_left_out():
    cfg = serving_runs.config(items=5, table_multiple=4)
    params = jax.eval_shape(lambda: lru.init(jax.random.key(0), cfg))
    folded = jax.eval_shape(lambda params: lru_serving.fold(params, cfg), params)
    assert cfg.rows == 8
    assert folded["items"].shape == (5 + 1, 16)


def test_forms_for_platforms():
    forms = {p: lru_serving.for_platform(CFG, p).scan for p in ("cpu", "cuda", "tpu")}
    assert forms == {"cpu": "sequential", "cuda": "associative", "tpu": "associative"}


def test_forms_for_platforms_are_equal():
    ids = histories()
    cfg = lru_serving.for_platform(CFG, "cuda")
    close(SERVING.prefill(FOLDED, cfg, ids)[1], MODEL.prefill(PARAMS, CFG, ids)[1])


def test_exported_forms_have_no_kernels():
    for platform in ("cpu", "cuda", "tpu"):
        cfg = lru_serving.for_platform(CFG, platform)
        prefill = jax.jit(lambda ids, cfg=cfg: lru_serving.prefill(FOLDED, cfg, ids))
        lowered = prefill.trace(histories()).lower(lowering_platforms=(platform,))
        assert "custom_call" not in lowered.as_text()
