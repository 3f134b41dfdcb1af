"""What is compiled: once per size, and nothing on the request path after a warm-up."""

import jax
import numpy as np
import pytest

from jaxrec.serve import programs
from jaxrec.serve.programs import Programs
from jaxrec.serve.workdir import load

PARAMS = {"small": np.array([2.0, 3.0], np.float32), "large": np.ones(300, np.float32)}


def weighted(params, x):
    return x * params["small"].sum() * params["large"].sum()


def test_small_parameters_are_constants(monkeypatch):
    monkeypatch.setattr(programs, "_CONSTANT_BYTES", 1000)
    made = Programs(PARAMS)
    assert [leaf.nbytes for leaf in made._arguments] == [300 * 4]
    result = made.call("f", weighted, np.float32(2))
    np.testing.assert_allclose(result, 2 * (2 + 3) * 300)


def test_what_is_replaced_is_no_constant_and_compiles_nothing():
    made = Programs(PARAMS, ["small"])
    assert [leaf.nbytes for leaf in made._variable] == [2 * 4]
    assert made.call("f", weighted, np.float32(2)) == 2 * 5 * 300

    def added(params, x):
        return {"small": params["small"].at[1].set(x)}

    (old,) = made._variable
    made.update("g", added, np.float32(9))
    assert old.is_deleted()  # written into, not copied
    before = made.compiled
    assert made.call("f", weighted, np.float32(2)) == 2 * 11 * 300
    made.update("g", added, np.float32(1))
    assert made.call("f", weighted, np.float32(2)) == 2 * 3 * 300
    assert made.compiled == before
    assert made.params["small"].tolist() == [2, 1]
    np.testing.assert_array_equal(made.params["large"], PARAMS["large"])


def test_one_program_per_key():
    made = Programs(PARAMS)
    assert "f" not in made
    for _ in range(3):
        made.call("f", weighted, np.float32(2))
    assert made.compiled == 1
    assert "f" in made
    made.call("g", weighted, np.float32(2))
    assert made.compiled == 2


def test_another_shape_under_the_same_key_is_an_error():
    made = Programs(PARAMS)
    made.call("f", weighted, np.zeros(2, np.float32))
    with pytest.raises(TypeError):
        made.call("f", weighted, np.zeros(3, np.float32))


@pytest.fixture
def compilations():
    """List that grows with every compilation anywhere in JAX."""
    events = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def test_no_request_compiles_after_warm(run, compilations):
    rec = load(run[0], lengths=(4,))
    warmed = rec.warm(k=[10], users=[1], pools=[8])
    assert warmed == rec.compiled > 0
    assert compilations
    compilations.clear()
    before = rec.compiled

    for history in ([], ["i1"], ["i1", "x"], [f"i{n}" for n in range(1, 30)]):
        rec.recommend([history], k=7)
    state = rec.start()
    for item in ("i1", "x", "i2", 3):
        state = rec.observe(state, item)
        rec.top(state, k=1)
        state, _ = rec.observe_and_top(state, item, k=10)
    state = rec.from_arrays(rec.to_arrays(rec.prefill([["i1"] * 9])))
    rec.observe_and_top(state, "i5")
    pool = rec.start(8)
    for slots in ([0], [7, 2, 4], list(range(8))):
        items = ["i1", "x", *["i3"] * 6][: len(slots)]
        pool = rec.observe(pool, items, slots=slots)
        pool, _ = rec.observe_and_top(pool, items, k=3, slots=slots)
        rec.top(pool, k=3, slots=slots)

    assert rec.compiled == before
    assert compilations == []
