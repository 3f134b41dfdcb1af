"""Forms of the linear recurrence: ours against recursive doubling and associative_scan.

python -m benchmarks.scan [--quick] [--threads 1]

Ours are time-major pairs of real arrays, as the model calls them; the others are
batch-major and complex, as published. On a GPU blocks of several sizes are tried in the
form "chunked", arrays are also kept in bfloat16 (the state is not), and times are held
against the rate of a copy. Targets are judged in float32.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, get_args
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.attempts import attempt_all
from benchmarks.peers import scan_forms
from jaxrec.core import scan, timing

_GPU_BLOCKS = (8, 16, 32, 64)
_PARTS = "states", "gradient of the input"
_CPU_FORMS = ("sequential", "associative", "chunked")


@dataclasses.dataclass(frozen=True)
class Problem:
    """Sizes of one recurrence.

    Attributes:
        batch: Sequences B.
        length: Steps L.
        channels: Complex channels H.
    """

    batch: int
    length: int
    channels: int = 128

    def complex_arrays(self) -> tuple[jax.Array, ...]:
        """Returns lambda (h,), inputs and cotangent (b, t, h), complex64, and keep."""
        random = np.random.default_rng(0)
        radius = random.uniform(0.8, 0.99, self.channels)
        lam = radius * np.exp(1j * random.uniform(0, 6, self.channels))
        size = (4, self.batch, self.length, self.channels)
        draw = random.standard_normal(size, np.float32)
        x, cotangent = draw[0] + 1j * draw[1], draw[2] + 1j * draw[3]
        # Left padding, which all forms treat alike: every row begins a little later.
        begin = np.arange(self.batch) % max(self.length // 2, 1)
        keep = np.arange(self.length) > begin[:, None]
        arrays = lam.astype(np.complex64), x, cotangent, keep.astype(np.float32)
        return tuple(map(jnp.asarray, arrays))

    def moved_bytes(self, backward: bool) -> float:
        """Returns the fewest bytes: pairs x and h, then pairs of g, h and dx."""
        pair = 2 * 4 * self.batch * self.length * self.channels
        return pair * (5 if backward else 2)


def main(bench: harness.Benchmark) -> None:
    """Measures the shapes that suit the device."""
    gpu = jax.default_backend() == "gpu"
    if bench.quick:
        problems = [Problem(8, 50)]
    elif gpu:
        problems = [Problem(128, 200), Problem(32, 1000), Problem(512, 1000)]
    else:
        problems = [Problem(128, 200), Problem(32, 1000), Problem(128, 50)]
    for problem in problems:
        for backward in (True, False):
            compare(bench, problem, backward, gpu)


def compare(
    bench: harness.Benchmark, problem: Problem, backward: bool, gpu: bool
) -> None:
    """Compares all forms; gives targets P2 on a CPU, G2 and G2b on a GPU."""
    case = "forward and backward" if backward else "forward"
    arrays = problem.complex_arrays()
    makers: dict[str, Callable[[], Any]] = {}
    for name in ("associative",) if gpu else ("doubling", "associative"):
        makers[name] = functools.partial(Program, *_peer(name, arrays, backward))
    chosen = scan.choose_form(problem.length)
    for form in get_args(scan.Form) if gpu else _CPU_FORMS:
        if form == "auto" or (gpu and form == "sequential"):
            continue
        for size in _GPU_BLOCKS if gpu and form == "chunked" else (None,):
            for dtype in (jnp.float32, jnp.bfloat16) if gpu else (jnp.float32,):
                name = f"jaxrec {form}" + (f" {size}" if size else "")
                name += ", bf16 in memory" if dtype == jnp.bfloat16 else ""
                ours = _ours(form, size, arrays, backward, dtype)
                makers[name] = functools.partial(Program, *ours)
    candidates = (
        attempt_all(bench, makers) if gpu else {k: v() for k, v in makers.items()}
    )
    exact = {k: run for k, run in candidates.items() if "bf16" not in k}
    tolerance = 1e-3 if gpu else 1e-4
    for part in range(1 + backward):
        norms = {name: run.norms()[part] for name, run in exact.items()}
        bench.agree(f"recurrence, {case}, {_PARTS[part]}", norms, rtol=tolerance)
    facts = {name: run.facts for name, run in candidates.items()}
    if gpu:
        candidates["copy"] = _copy(arrays[1])
    ours = [name for name in exact if name.startswith("jaxrec")]
    result = bench.compare(
        f"recurrence, {case}",
        candidates,
        twin=f"jaxrec {chosen}" if f"jaxrec {chosen}" in ours else ours[0],
        calls=20 if gpu else 1,
        work={"bytes": problem.moved_bytes(backward)},
        facts=facts,
        **dataclasses.asdict(problem),
    )
    if not backward:
        return
    # On a CPU what "auto" stands for is judged, not the best of what was tried.
    best = min(ours, key=result.seconds) if gpu else f"jaxrec {chosen}"
    wall, cpu = result.speedup(best), result.speedup(best, "cpu")
    facts = {"candidate": best, **dataclasses.asdict(problem)}
    bench.target("G2" if gpu else "P2", wall, cpu_ratio=cpu.median, **facts)
    if gpu:
        # The copy reads and writes one complex array.
        rate = 2 * arrays[1].nbytes / result.wall["copy"]
        share = problem.moved_bytes(backward) / rate / result.wall[best]
        bench.target("G2b", share, copy_bytes_per_s=float(np.median(rate)), **facts)


class Program:
    """A form, compiled; a call gives h, then the gradients of lambda and x if asked.

    Attributes:
        facts: Seconds of compilation and bytes of memory.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self._arguments = arguments
        self._program, seconds = timing.compile_timed(function, *arguments)
        self.facts = {"compile_s": seconds, **timing.memory_plan(self._program)}

    def __call__(self):
        return self._program(*self._arguments)

    def norms(self) -> tuple[float, float]:
        """Returns the norms of h and of the gradient of x."""
        found = self()
        return _norm(found[0]), _norm(found[-1])


def _peer(name, arrays, backward):
    lam, x, cotangent, keep = arrays
    form = getattr(scan_forms, name)
    if backward:
        # JAX pulls complex cotangents back without conjugating.
        return scan_forms.forward_backward(form), lam, x, keep, cotangent.conj()
    return lambda *arguments: (form(*arguments),), lam, x, keep


def _ours(form, block, arrays, backward, dtype):
    """Our form over time-major pairs, and its arguments."""
    lam, x, cotangent, keep = arrays
    lam = scan_forms.split(lam)
    x, cotangent = (
        tuple(part.astype(dtype) for part in scan_forms.split(value.swapaxes(0, 1)))
        for value in (x, cotangent)
    )

    def run(lam, x, keep):
        with _block_of(block):
            h, _ = scan.linear_recurrence(lam, x, keep, form=form)
        return tuple(part.astype(dtype) for part in h)

    def forward(lam, x, keep):
        return (run(lam, x, keep),)

    def both(lam, x, keep, cotangent):
        h, pull = jax.vjp(lambda lam, x: run(lam, x, keep), lam, x)
        with _block_of(block):
            return h, *pull(cotangent)

    if backward:
        return both, lam, x, keep.T, cotangent
    return forward, lam, x, keep.T


def _block_of(size):
    """Blocks of another size in the form "chunked", for what is traced inside."""
    return mock.patch.object(scan, "_CHUNK", size or scan._CHUNK)


def _copy(x):
    program, _ = timing.compile_timed(lambda x: x * 2, x)
    return lambda: program(x)


def _norm(value: Any) -> float:
    """Norm over all elements of a complex array or a pair."""
    parts = value if isinstance(value, tuple) else scan_forms.split(value)
    return float(jnp.sqrt(sum((part**2).sum() for part in parts)))


if __name__ == "__main__":
    harness.run(main, "scan", __doc__)
