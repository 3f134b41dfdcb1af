"""HSTU with times: the equations, and event by event."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.time_bias import with_next
from jaxrec.losses.softmax import linear_softmax_ce
from jaxrec.models import hstu
from tests.jaxrec import oracle_hstu
from tests.jaxrec.compiling import numpy_jit
from tests.jaxrec.models import test_hstu
from tests.jaxrec.models.test_hstu import (
    ITEMS,
    LENGTH,
    SIZES,
    assert_gradients,
    close,
    draw_ids,
    left_padded,
)

CFG = dataclasses.replace(test_hstu.CFG, times=True)
NOW = 1_700_000_000
encode = numpy_jit(hstu.encode, static_argnums=1)
step = numpy_jit(hstu.step, static_argnums=1)
prefill = numpy_jit(hstu.prefill, static_argnums=1)
extend = numpy_jit(hstu.extend, static_argnums=1)


@functools.cache
def make_params():
    """Those of the tests without times, and a bias for every bucket up to a day."""
    params, rng = test_hstu.make_params(), np.random.default_rng(3)
    added = {"time_bias": rng.normal(size=40).astype(np.float32)}
    blocks = {f"block_{i}": params[f"block_{i}"] | added for i in range(CFG.blocks)}
    return params | blocks


def draw_times(seed=0, rows=4, length=LENGTH):
    """Events from the same second to half a day apart, int32."""
    rng = np.random.default_rng(seed)
    gaps = np.exp(rng.uniform(-1, 10.6, (rows, length))).astype(np.int32)
    return NOW + np.cumsum(gaps, 1, dtype=np.int32)


@pytest.mark.parametrize("packed", [False, True])
def test_outputs_and_gradients_equal_the_equations(packed):
    lengths, drawn, times = (4, 2), draw_ids(0, 2), draw_times(0, 2, LENGTH + 1)
    labels = ([3, 1, ITEMS, 7], [4, 8])
    shape = (1 if packed else 2, LENGTH)
    ids, segments, targets = (np.zeros(shape, np.int32) for _ in range(3))
    pairs = np.zeros((*shape, 2), np.int32)
    places, begin = [], 0
    for number, n in enumerate(lengths):
        row, begin = (0, begin) if packed else (number, LENGTH - n)
        place = (row, slice(begin, begin + n))
        ids[place], targets[place] = drawn[number, :n], labels[number]
        segments[place] = number + 1
        pairs[place] = np.stack([times[number, :n], times[number, 1 : n + 1]], 1)
        places.append(place)
        begin += n

    def loss(params):
        hidden = hstu.encode(params, CFG, ids, segments=segments, times=pairs)
        weights, flat = (targets != 0).ravel().astype(np.float32), hidden.reshape(-1, 4)
        head = hstu.head(params, CFG)
        return linear_softmax_ce(flat, *head, targets.ravel(), weights), hidden

    params = make_params()
    grads, hidden = numpy_jit(jax.grad(loss, has_aux=True))(params)
    wide = oracle_hstu.wide(params)
    whole = [np.float64(times[i, : n + 1]) for i, n in enumerate(lengths)]
    sequences = [drawn[i, :n] for i, n in enumerate(lengths)]
    for place, some, when in zip(places, sequences, whole, strict=True):
        wanted = oracle_hstu.outputs(wide, some, when, **SIZES)
        np.testing.assert_allclose(hidden[place], wanted, **close)
    wanted = gradients_wanted(tuple(map(tuple, sequences)), labels, whole)
    assert np.abs(wanted["block_1"]["time_bias"]).max() > 1e-2
    assert_gradients(grads, wanted)


_CACHE = {}


def gradients_wanted(sequences, labels, times):
    """The same for both layouts."""
    if sequences not in _CACHE:
        sizes = {"temperature": 0.05, **SIZES}
        _CACHE[sequences] = oracle_hstu.gradients(
            make_params(), sequences, labels, times, **sizes
        )
    return _CACHE[sequences]


def test_steps_equal_prefill_and_encode_at_every_prefix():
    """Also where the first step reads what is later done again with a new time."""
    params, length = make_params(), LENGTH + 3
    ids, times = draw_ids(2, length=length), draw_times(2, length=length)
    state = hstu.start(CFG, 4)
    for t in range(length):
        state, output = step(params, CFG, state, ids[:, t], times=times[:, t])
        seen = slice(max(0, t + 1 - LENGTH), t + 1)
        window, when = left_padded(ids[:, seen]), left_padded(times[:, seen])
        read, filled = prefill(params, CFG, window, times=when)
        np.testing.assert_allclose(output, filled, **close)
        whole = encode(params, CFG, window, times=np.asarray(with_next(when)))
        np.testing.assert_allclose(output, whole[:, -1], **close)
        assert state.keys() == read.keys()
        for part in state if t < LENGTH else ("ids", "times"):
            np.testing.assert_allclose(state[part], read[part], **close)
    # All of that is not the same at any time.
    other = prefill(params, CFG, window, times=np.full_like(when, NOW))[1]
    assert np.abs(other - output).max() > 0.1


def test_histories_of_all_lengths_go_on():
    params, ids, times = make_params(), draw_ids(3), draw_times(3)
    counts = (LENGTH, 3, 0, LENGTH - 1)
    cut = [[a[row, :n] for row, n in enumerate(counts)] for a in (ids, times)]
    state, output = prefill(params, CFG, left_padded(cut[0]), times=left_padded(cut[1]))
    nothing = np.zeros((4, LENGTH), np.int32)
    _, empty = prefill(params, CFG, nothing, times=nothing)
    np.testing.assert_allclose(output[2], empty[2], **close)
    _, stepped = step(params, CFG, hstu.start(CFG, 4), nothing[:, 0], times=times[:, 0])
    np.testing.assert_allclose(stepped, empty, **close)
    more, when = draw_ids(4, length=2), times[:, -1:] + [[5, 3600]]
    after = [
        [np.concatenate(pair)[-LENGTH:] for pair in zip(old, new, strict=True)]
        for old, new in zip(cut, (more, when), strict=True)
    ]
    wanted = prefill(params, CFG, left_padded(after[0]), times=left_padded(after[1]))[1]
    output = extend(params, CFG, state, more, times=np.int32(when))[1]
    np.testing.assert_allclose(output, wanted, **close)
    for column in range(2):
        one = np.int32(when[:, column])
        state, output = step(params, CFG, state, more[:, column], times=one)
    np.testing.assert_allclose(output, wanted, **close)


def test_a_window_of_one_event():
    cfg = dataclasses.replace(CFG, length=1, blocks=1)
    params = numpy_jit(hstu.init, static_argnums=1)(jax.random.key(0), cfg)
    ids, times = draw_ids(5, length=2), draw_times(5, length=2)
    state = hstu.start(cfg, 4)
    for t in range(2):
        state, output = step(params, cfg, state, ids[:, t], times=times[:, t])
    wanted = prefill(params, cfg, ids, times=times)[1]
    np.testing.assert_allclose(output, wanted, **close)


def test_what_it_adds_to_the_parameters():
    draws = [jax.eval_shape(lambda c=c: hstu.init(jax.random.key(0), c)) for c in (
        CFG, test_hstu.CFG
    )]  # fmt: skip
    added = sum(leaf.size for leaf in jax.tree.leaves(draws[0])) - sum(
        leaf.size for leaf in jax.tree.leaves(draws[1])
    )
    assert added == 2 * 129
    drawn = numpy_jit(hstu.init, static_argnums=1)(jax.random.key(0), CFG)
    assert drawn["block_1"]["time_bias"].std() == pytest.approx(0.02, rel=0.2)
    assert not hstu.decayed(("block_0", "time_bias"))


def test_times_that_are_missing_or_not_wanted_are_refused():
    ids, times = jnp.ones((1, 3), jnp.int32), jnp.ones((1, 3), jnp.int32)
    with_times = ((hstu.encode, ids), (hstu.prefill, ids), (hstu.attention, ids))
    for function, given in with_times:
        with pytest.raises(ValueError, match="this model wants to know when events"):
            function({}, CFG, given)
        with pytest.raises(ValueError, match=r"a model without them \(times=false"):
            function({}, test_hstu.CFG, given, times=times)
    with pytest.raises(ValueError, match=r"times: want shape \(1, 3, 2\), got \(1, 3"):
        hstu.encode({}, CFG, ids, times=times)
    with pytest.raises(ValueError, match="this model wants to know when events were"):
        hstu.step({}, CFG, hstu.start(CFG, 1), ids[0, :1])
    with pytest.raises(ValueError, match="this model wants to know when events were"):
        hstu.extend({}, CFG, hstu.start(CFG, 1), ids)
