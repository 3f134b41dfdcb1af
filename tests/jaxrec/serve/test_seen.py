"""What was seen, in constant space: one event at a time equals all at once."""

import jax
import numpy as np
import pytest

from jaxrec.retrieval.topk import make_index, search
from jaxrec.serve.seen import BitSet, Ring

HISTORIES = [np.array(h, np.int32) for h in ([], [1], [31, 32, 33, 32], range(1, 71))]


def left(form, seen, items):
    """Per user the items that a search over everything still gives."""
    table, bias = np.zeros((items + 1, 2), np.float32), np.zeros(items + 1, np.float32)
    hidden = np.zeros((len(seen), 2), np.float32)
    index = make_index(table, bias)
    _, ids = search(index, hidden, items, **form.excluded(seen))
    return [set(row.tolist()) - {0} for row in np.asarray(ids)]


def one_by_one(form, histories):
    add = jax.jit(form.add)
    seen = form.of([np.zeros(0, np.int32)] * len(histories))
    for t in range(max(map(len, histories))):
        ids = [h[t] if t < len(h) else 0 for h in histories]
        seen = add(seen, np.array(ids, np.int32))
    return np.asarray(seen)


@pytest.mark.parametrize("items", [31, 32, 70])
def test_bit_set_is_exact(items):
    form = BitSet(items)
    histories = [h[h <= items] for h in HISTORIES]
    everything = set(range(1, items + 1))
    expected = [everything - set(h.tolist()) for h in histories]
    assert left(form, form.of(histories), items) == expected
    assert left(form, one_by_one(form, histories), items) == expected


def test_bit_set_takes_one_bit_per_item():
    assert BitSet(3416).of([HISTORIES[3]]).nbytes == 4 * (3416 // 32 + 1)


@pytest.mark.parametrize("capacity", [1, 3, 100])
def test_ring_holds_the_last_events(capacity):
    form = Ring(capacity)
    everything = set(range(1, 71))
    expected = [everything - set(h[-capacity:].tolist()) for h in HISTORIES]
    assert left(form, form.of(HISTORIES), 70) == expected
    seen = one_by_one(form, HISTORIES)
    assert left(form, seen, 70) == expected
    np.testing.assert_array_equal(seen, form.of(HISTORIES))


def test_ring_goes_on_after_a_history():
    form = Ring(3)
    seen = form.of([np.array([1, 2, 3, 4], np.int32)])
    seen = jax.jit(form.add)(seen, np.array([5], np.int32))
    np.testing.assert_array_equal(seen, form.of([np.array([1, 2, 3, 4, 5], np.int32)]))
