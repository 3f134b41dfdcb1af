"""How long things take, and against what: the rules of measuring in one place.

One timing on a shared machine says little, so nothing here returns one. `compare` runs
every candidate once per round, in random order, and judges candidates by the ratio to
a baseline *within* a round: what the machine does to a whole round cancels. One
candidate is timed twice; the spread between the twins is the noise floor, below which
no difference means anything. Process CPU time is recorded beside wall time, because it
hardly notices other programs.

Compilation is ahead of time and timed apart (`compile_timed`), so that no round holds
any of it. All durations are in seconds.
"""

import contextlib
import datetime
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jaxlib
import numpy as np

Clock = Literal["wall", "cpu"]

_CACHE_OPTIONS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


class Spread(NamedTuple):
    """Median and 10th and 90th percentile of a quantity over rounds."""

    median: float
    p10: float
    p90: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` measured.

    Attributes:
        wall: Per candidate, wall seconds per call of each round, (rounds,) float64.
        cpu: The same in CPU seconds of this process, all its threads together.
        baseline: Name of the candidate that others are compared with.
        original: Name of the candidate that was timed twice.
        twin: Name of its second timing, also in `wall` and `cpu`.
        load: Load average over one minute before and after.
    """

    wall: Mapping[str, np.ndarray]
    cpu: Mapping[str, np.ndarray]
    baseline: str
    original: str
    twin: str
    load: tuple[float, float]

    @property
    def rounds(self) -> int:
        """Number of rounds measured."""
        return len(self.wall[self.baseline])

    def seconds(self, name: str, percent: float = 50, clock: Clock = "wall") -> float:
        """Returns a percentile of the seconds per call of one candidate."""
        return float(np.percentile(self._times(clock)[name], percent))

    def speedup(self, name: str, clock: Clock = "wall") -> Spread:
        """Returns how many times faster than the baseline, round by round.

        A claim "faster" needs p10 above 1 (and above the noise); "slower" p90 below 1.
        """
        times = self._times(clock)
        return spread(times[self.baseline] / times[name])

    def noise(self, clock: Clock = "wall") -> Spread:
        """Returns the speed-up of the twin over itself: 1, but for the noise."""
        times = self._times(clock)
        return spread(times[self.original] / times[self.twin])

    def rows(self) -> list[dict[str, Any]]:
        """Returns one flat record per candidate, in order of the candidates."""
        noise, cpu_noise = self.noise(), self.noise("cpu")
        rows = []
        for name in self.wall:
            speedup, cpu_speedup = self.speedup(name), self.speedup(name, "cpu")
            row = {
                "candidate": name,
                "baseline": self.baseline,
                "rounds": self.rounds,
                "wall_s": self.seconds(name),
                "wall_p99_s": self.seconds(name, 99),
                "wall_min_s": self.seconds(name, 0),
                "cpu_s": self.seconds(name, clock="cpu"),
                "speedup": speedup.median,
                "speedup_p10": speedup.p10,
                "speedup_p90": speedup.p90,
                "cpu_speedup": cpu_speedup.median,
                "cpu_speedup_p10": cpu_speedup.p10,
                "cpu_speedup_p90": cpu_speedup.p90,
                "noise_p10": noise.p10,
                "noise_p90": noise.p90,
                "cpu_noise_p10": cpu_noise.p10,
                "cpu_noise_p90": cpu_noise.p90,
                "load_before": self.load[0],
                "load_after": self.load[1],
            }
            rows.append(row)
        return rows

    def _times(self, clock: Clock) -> Mapping[str, np.ndarray]:
        return {"wall": self.wall, "cpu": self.cpu}[clock]


def compare(
    candidates: Mapping[str, Callable[[], Any]],
    rounds: int = 15,
    warmup: int = 3,
    seed: int = 0,
    *,
    baseline: str | None = None,
    twin: str | None = None,
    calls: int = 1,
    seconds: float | None = None,
    finish: Callable[[Any], Any] = jax.block_until_ready,
) -> Comparison:
    """Times candidates against each other in interleaved rounds.

    Args:
        candidates: Functions without arguments by name. They may keep state (a train
            step that replaces its parameters); compile them beforehand.
        rounds: Rounds to measure: at least 15 for a claim, 200 for a 99th percentile.
        warmup: Rounds run before and thrown away.
        seed: Of the order of candidates within rounds.
        baseline: Candidate that others are compared with; the first one if not given.
        twin: Candidate that is timed twice per round; the baseline if not given.
        calls: Calls per measurement, of which the last is waited for; times are per
            call. More than 1 hides the waiting, for chains of GPU work.
        seconds: If given, no new round begins after so many seconds of measuring.
        finish: Waits until the outputs of a candidate exist.

    Returns:
        Seconds per candidate and round, with the twin under ``"<name> (twin)"``.

    Raises:
        ValueError: If there is no candidate, `baseline` or `twin` is not one of them,
            a candidate has the name of the twin, or a count is out of range.
    """
    if not candidates:
        raise ValueError("nothing to compare: candidates is empty")
    if rounds < 1 or warmup < 0 or calls < 1:
        raise ValueError(
            "want rounds >= 1, warmup >= 0, calls >= 1, got "
            f"rounds={rounds}, warmup={warmup}, calls={calls}"
        )
    baseline = next(iter(candidates)) if baseline is None else baseline
    original = baseline if twin is None else twin
    for role, name in ("baseline", baseline), ("twin", original):
        if name not in candidates:
            raise ValueError(
                f"{role} {name!r} is not a candidate; these are {list(candidates)}"
            )
    twin_name = f"{original} (twin)"
    if twin_name in candidates:
        raise ValueError(f"candidate {twin_name!r} has the name kept for the twin")
    timed = {**candidates, twin_name: candidates[original]}

    names = list(timed)
    order = np.random.default_rng(seed)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(warmup):
        for index in order.permutation(len(names)):
            _measure(timed[names[index]], 1, finish)
    load_before = os.getloadavg()[0]
    start = time.perf_counter()
    for done in range(rounds):
        if done and seconds is not None and time.perf_counter() - start >= seconds:
            break
        for index in order.permutation(len(names)):
            sample = _measure(timed[names[index]], calls, finish)
            samples[names[index]].append(sample)
    return Comparison(
        wall={name: np.array([wall for wall, _ in samples[name]]) for name in names},
        cpu={name: np.array([cpu for _, cpu in samples[name]]) for name in names},
        baseline=baseline,
        original=original,
        twin=twin_name,
        load=(load_before, os.getloadavg()[0]),
    )


def compile_timed(fn: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """Compiles a function for the shapes of its arguments.

    Args:
        fn: A function, or the result of `jax.jit` (to donate, or for static arguments).
        *args: Arrays or `jax.ShapeDtypeStruct`.

    Returns:
        The compiled function, which does nothing but run, and the seconds that tracing
        and compilation took.
    """
    jitted = fn if hasattr(fn, "lower") else jax.jit(fn)
    start = time.perf_counter()
    compiled = jitted.lower(*args).compile()
    return compiled, time.perf_counter() - start


def compile_cold_and_warm(
    fn: Callable[..., Any], *args: Any
) -> tuple[Any, float, float]:
    """Compiles a function twice: without and with JAX's persistent cache.

    The second time is what a restarted process pays. The cache is an empty temporary
    directory. JAX's caches in memory are cleared; what was compiled ahead of time
    stays usable.

    Returns:
        The compiled function, seconds of the cold and seconds of the warm compilation.
    """
    with _persistent_cache():
        jax.clear_caches()
        compiled, cold = compile_timed(fn, *args)
        jax.clear_caches()
        _, warm = compile_timed(fn, *args)
    return compiled, cold, warm


def memory_plan(compiled: Any) -> dict[str, int]:
    """Returns what a compiled function allocates, in bytes, as XLA planned it.

    ``temp_bytes`` is scratch memory, the others are the arguments and outputs. On a
    GPU compare with `peak_bytes`.
    """
    analysis = compiled.memory_analysis()
    return {
        "temp_bytes": analysis.temp_size_in_bytes,
        "argument_bytes": analysis.argument_size_in_bytes,
        "output_bytes": analysis.output_size_in_bytes,
    }


def work_plan(compiled: Any) -> dict[str, float]:
    """Returns XLA's count of the work of a compiled function.

    The body of a loop is counted once, however often it runs, and calls into libraries
    may not be counted: always set this beside a count by hand.
    """
    analysis = compiled.cost_analysis()
    return {
        "flops": float(analysis.get("flops", 0.0)),
        "bytes_accessed": float(analysis.get("bytes accessed", 0.0)),
    }


def peak_bytes(device: jax.Device | None = None) -> int | None:
    """Returns the most memory a device ever held, or None where nobody counts (CPU)."""
    device = jax.local_devices()[0] if device is None else device
    statistics = device.memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


def device_report() -> dict[str, Any]:
    """Returns where, when, with what and how a measurement was made.

    ``cores`` is the number of CPU cores this process may use. ``command`` is the
    command line without the directory of the interpreter.
    """
    device = jax.local_devices()[0]
    versions = {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "runtime": device.client.platform_version,
    }
    if "torch" in sys.modules:
        versions["torch"] = sys.modules["torch"].__version__
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": versions,
        "command": _command(),
    }


def usable_cores() -> int:
    """Returns the number of CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spread(values: np.ndarray) -> Spread:
    """Returns the median, the 10th and the 90th percentile of (rounds,) values."""
    p10, median, p90 = np.percentile(values, [10, 50, 90])
    return Spread(float(median), float(p10), float(p90))


def _measure(
    function: Callable[[], Any], calls: int, finish: Callable[[Any], Any]
) -> tuple[float, float]:
    cpu = time.process_time()
    wall = time.perf_counter()
    for _ in range(calls):
        outputs = function()
    finish(outputs)
    wall = time.perf_counter() - wall
    cpu = time.process_time() - cpu
    return wall / calls, cpu / calls


@contextlib.contextmanager
def _persistent_cache() -> Iterator[None]:
    """Points JAX's persistent cache to an empty directory for a while."""
    from jax.experimental.compilation_cache import compilation_cache

    with tempfile.TemporaryDirectory() as directory:
        options = {"jax_compilation_cache_dir": directory, **_CACHE_OPTIONS}
        before = {name: getattr(jax.config, name) for name in options}
        try:
            for name, value in options.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()  # it remembers the directory
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return models[0].strip() if models else platform.processor()


def _command() -> str:
    interpreter, *arguments = sys.orig_argv or [sys.executable]
    return " ".join([Path(interpreter).name, *arguments])
