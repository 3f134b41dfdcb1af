"""HSTU event by event: from the cache, from the window, and from nothing."""

import jax
import numpy as np

from jaxrec.models import hstu
from tests.jaxrec.compiling import numpy_jit
from tests.jaxrec.models.test_hstu import (
    CFG,
    LENGTH,
    close,
    draw_ids,
    encode,
    left_padded,
    make_params,
)

step = numpy_jit(hstu.step, static_argnums=1)
prefill = numpy_jit(hstu.prefill, static_argnums=1)
extend = numpy_jit(hstu.extend, static_argnums=1)


def test_steps_equal_prefill_and_encode_at_every_prefix():
    """Inside the window, and beyond it, where the window is what counts."""
    params, ids = make_params(), draw_ids(2, length=2 * LENGTH + 1)
    inside = encode(params, CFG, ids[:, :LENGTH])
    state = hstu.start(CFG, 4)
    for t in range(ids.shape[1]):
        state, output = step(params, CFG, state, ids[:, t])
        if t < LENGTH:
            np.testing.assert_allclose(output, inside[:, t], **close)
        window = left_padded(ids[:, max(0, t + 1 - LENGTH) : t + 1])
        read, filled = prefill(params, CFG, window)
        np.testing.assert_allclose(output, filled, **close)
        np.testing.assert_allclose(output, encode(params, CFG, window)[:, -1], **close)
        assert state.keys() == read.keys()
        for part in state if t < LENGTH else ("ids",):
            np.testing.assert_allclose(state[part], read[part], **close)


def test_a_user_with_a_full_window_does_not_change_its_neighbours():
    params, ids = make_params(), draw_ids(3)
    counts = (LENGTH, 3, 0, LENGTH - 1)
    histories = [ids[row, :n] for row, n in enumerate(counts)]
    state, _ = prefill(params, CFG, left_padded(histories))
    new = draw_ids(4, length=1)[:, 0]
    state, output = step(params, CFG, state, new)
    after = [[*h, n][-LENGTH:] for h, n in zip(histories, new, strict=True)]
    wanted = encode(params, CFG, left_padded(after))[:, -1]
    np.testing.assert_allclose(output, wanted, **close)


def test_several_events_at_once():
    params, ids = make_params(), draw_ids(5, length=LENGTH + 4)
    wanted_state, wanted = prefill(params, CFG, ids)
    state, _ = prefill(params, CFG, left_padded(ids[:, :3], LENGTH + 4))
    read, output = extend(params, CFG, state, ids[:, 3:])
    np.testing.assert_allclose(output, wanted, **close)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **close), read, wanted_state
    )


def test_empty_history_has_the_direction_of_the_output_biases():
    params, nothing = make_params(), np.zeros((4, LENGTH), np.int32)
    state, output = prefill(params, CFG, nothing)
    jax.tree.map(np.testing.assert_array_equal, state, hstu.start(CFG, 4))
    _, stepped = step(params, CFG, hstu.start(CFG, 4), nothing[:, 0])
    total = params["block_0"]["out"]["bias"] + params["block_1"]["out"]["bias"]
    for got in (output, stepped, encode(params, CFG, nothing)[:, -1]):
        np.testing.assert_allclose(got[0], total / np.linalg.norm(total), **close)
