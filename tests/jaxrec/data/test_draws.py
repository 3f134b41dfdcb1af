"""Numbers that belong to events."""

import numpy as np

from jaxrec.data.draws import event_draws


def test_draws_are_uniform_and_differ():
    events = np.arange(100_000)
    draws = event_draws(0, 0, events)
    assert draws.dtype == np.uint64 and np.unique(draws).size == draws.size
    uniform = draws / 2.0**64
    assert abs(uniform.mean() - 0.5) < 5 * np.sqrt(1 / 12 / events.size)
    assert abs(np.corrcoef(uniform[1:], uniform[:-1])[0, 1]) < 0.02
    for other in ((0, 1, events), (1, 0, events), (0, 0, events, 1)):
        assert abs(np.corrcoef(uniform, event_draws(*other) / 2.0**64)[0, 1]) < 0.02


def test_a_draw_belongs_to_its_event():
    events = np.array([7, 3, 7, 100_000])
    draws = event_draws(5, 2, events)
    assert draws[0] == draws[2]
    np.testing.assert_array_equal(draws[1:2], event_draws(5, 2, events[1:2]))
