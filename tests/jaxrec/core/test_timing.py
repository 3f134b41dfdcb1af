"""Comparisons under a clock of our own, and plans of compiled functions."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core import timing


class Clock:
    """A clock that candidates move; CPU time runs at twice the speed of wall time."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        fake = types.SimpleNamespace(
            perf_counter=lambda: self.now, process_time=lambda: 2 * self.now
        )
        monkeypatch.setattr(timing, "time", fake)

    def candidate(self, name, *durations):
        """Returns a function that takes the given seconds, one after another."""
        remaining = list(durations)

        def call():
            self.calls.append(name)
            self.now += remaining.pop(0) if len(remaining) > 1 else remaining[0]

        return call


@pytest.fixture(name="clock")
def fixture_clock(monkeypatch):
    return Clock(monkeypatch)


def test_speedup_is_the_ratio_within_each_round(clock):
    # The whole machine is 8 times slower in round 2; the ratios do not notice.
    result = timing.compare(
        {
            "peer": clock.candidate("peer", 1.0, 8.0, 4.0),
            "ours": clock.candidate("ours", 0.5, 4.0, 1.0),
            "third": clock.candidate("third", 1.0),
        },
        rounds=3,
        warmup=0,
        twin="third",
    )
    assert result.wall["peer"].tolist() == [1.0, 8.0, 4.0]
    assert result.cpu["peer"].tolist() == [2.0, 16.0, 8.0]
    # ratios 2, 2, 4: the 90th percentile lies 8 tenths of the way from 2 to 4
    assert result.speedup("ours") == (2.0, 2.0, pytest.approx(2 + 0.8 * 2))
    assert result.speedup("peer", "cpu") == (1.0, 1.0, 1.0)
    assert result.seconds("peer") == 4.0
    assert result.seconds("peer", 100) == 8.0
    assert result.noise() == (1.0, 1.0, 1.0)


def test_twin_shows_the_noise(clock):
    # Called twice per round: as itself and as its twin, in random order.
    noisy = clock.candidate("noisy", 1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0)
    result = timing.compare({"noisy": noisy}, rounds=4, warmup=0)
    assert result.twin == "noisy (twin)"
    assert set(result.wall) == {"noisy", "noisy (twin)"}
    assert set(result.wall["noisy"] / result.wall["noisy (twin)"]) <= {0.5, 2.0}
    assert result.noise().p10 < 1 or result.noise().p90 > 1


def test_every_candidate_once_per_round_in_random_order(clock):
    names = ["a", "b", "c", "d"]
    candidates = {name: clock.candidate(name, 1.0) for name in names}
    timing.compare(candidates, rounds=20, warmup=5, seed=1)
    rounds = [clock.calls[start : start + 5] for start in range(0, 5 * 25, 5)]
    assert len(clock.calls) == 5 * 25
    assert all(sorted(calls) == ["a", "a", "b", "c", "d"] for calls in rounds)
    assert len({tuple(calls) for calls in rounds}) > 10
    first, clock.calls = clock.calls, []
    timing.compare(candidates, rounds=20, warmup=5, seed=1)
    assert clock.calls == first
    clock.calls = []
    timing.compare(candidates, rounds=20, warmup=5, seed=2)
    assert clock.calls != first


def test_time_is_per_call_and_the_last_call_is_waited_for(clock):
    waited = []

    def finish(outputs):
        waited.append(outputs)
        clock.now += 3.0

    call = clock.candidate("chain", 1.0)
    result = timing.compare({"chain": call}, rounds=2, warmup=1, calls=6, finish=finish)
    # 6 calls of 1 s and one wait of 3 s
    assert result.wall["chain"].tolist() == [9 / 6, 9 / 6]
    assert len(waited) == 2 * 3
    assert len(clock.calls) == 2 * (1 + 6 + 6)


def test_no_round_begins_after_the_seconds_are_over(clock):
    call = clock.candidate("a", 1.0)
    # A round takes 2 s with the twin: rounds begin at 0, 2 and 4 s.
    assert timing.compare({"a": call}, 50, 3, seconds=4.5).rounds == 3
    assert timing.compare({"a": call}, 50, 3, seconds=0.0).rounds == 1


def test_rows_are_json_and_complete(clock):
    result = timing.compare(
        {"peer": clock.candidate("p", 2.0), "ours": clock.candidate("o", 0.5)},
        rounds=2,
        warmup=0,
    )
    rows = json.loads(json.dumps(result.rows()))
    assert [row["candidate"] for row in rows] == ["peer", "ours", "peer (twin)"]
    assert rows[1]["wall_s"] == 0.5
    assert rows[1]["cpu_s"] == 1.0
    assert rows[1]["speedup"] == rows[1]["cpu_speedup_p90"] == 4.0
    assert rows[1]["baseline"] == "peer"
    assert rows[2]["speedup_p10"] == 1.0
    assert all(row["load_before"] >= 0 and row["rounds"] == 2 for row in rows)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"candidates": {}}, "candidates is empty"),
        ({"baseline": "b"}, r"baseline 'b' is not a candidate.*\['a'\]"),
        ({"twin": "b"}, "twin 'b' is not a candidate"),
        ({"rounds": 0}, "got rounds=0"),
        ({"calls": 0}, "calls=0"),
        ({"warmup": -1}, "warmup=-1"),
        (
            {"candidates": {"a": int, "a (twin)": int}},
            r"'a \(twin\)' has the name kept for the twin",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        timing.compare(**{"candidates": {"a": int}, **arguments})


def test_asynchronous_outputs_are_waited_for():
    compiled, seconds = timing.compile_timed(lambda x: x @ x, jnp.ones((4, 4)))
    assert seconds > 0
    result = timing.compare({"product": lambda: compiled(jnp.ones((4, 4)))}, 3, 1)
    assert (result.wall["product"] > 0).all()
    assert (compiled(jnp.ones((4, 4))) == 4).all()


def test_compile_timed_keeps_what_jit_was_told():
    jitted = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.zeros(8)
    compiled, _ = timing.compile_timed(jitted, jax.ShapeDtypeStruct((8,), jnp.float32))
    assert compiled(x).tolist() == [1.0] * 8
    assert x.is_deleted()


def test_warm_compilation_reads_the_persistent_cache():
    hits = []

    def listen(event, **_):
        if event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    before = jax.config.jax_compilation_cache_dir
    jax.monitoring.register_event_listener(listen)
    try:
        compiled, cold, warm = timing.compile_cold_and_warm(
            lambda x: jnp.sort(x) * 2, jnp.array([3.0, 1.0])
        )
    finally:
        jax.monitoring.unregister_event_listener(listen)
    assert len(hits) == 1
    assert cold > 0 and warm > 0
    assert compiled(jnp.array([3.0, 1.0])).tolist() == [2.0, 6.0]
    assert jax.config.jax_compilation_cache_dir == before


def test_memory_and_work_plans():
    def cube(x):  # x x must be held while it is multiplied by x
        return (x @ x) @ x

    compiled, _ = timing.compile_timed(cube, jnp.ones((64, 64)))
    plan = timing.memory_plan(compiled)
    assert plan["argument_bytes"] == plan["output_bytes"] == 64 * 64 * 4
    assert plan["temp_bytes"] >= 64 * 64 * 4
    work = timing.work_plan(compiled)
    assert work["flops"] == pytest.approx(2 * 2 * 64**3, rel=0.05)
    assert work["bytes_accessed"] >= 2 * 64 * 64 * 4


def test_work_plan_counts_a_loop_body_once():
    def work(steps):
        def product(carry, _):
            return carry @ carry, None

        return timing.work_plan(
            timing.compile_timed(
                lambda x: jax.lax.scan(product, x, length=steps)[0], jnp.ones((32, 32))
            )[0]
        )["flops"]

    assert work(50) == pytest.approx(work(100), rel=0.05)


def test_device_report():
    report = timing.device_report()
    assert json.loads(json.dumps(report)) == report
    assert report["devices"] == jax.device_count()
    assert report["versions"]["jax"] == jax.__version__
    assert report["versions"]["numpy"] == np.__version__
    assert report["cores"] == timing.usable_cores() >= 1
    assert report["date"].endswith("+00:00")
    assert "/" not in report["command"].split()[0]


def test_peak_bytes_is_none_where_nobody_counts():
    device = types.SimpleNamespace(memory_stats=lambda: None)
    assert timing.peak_bytes(device) is None
    device = types.SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": 12})
    assert timing.peak_bytes(device) == 12
