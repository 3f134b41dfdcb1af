"""Forms of the linear recurrence: ours against recursive doubling and associative_scan.

python -m benchmarks.scan [--quick] [--threads 1]

Ours are time-major pairs of real arrays, as the model calls them; the others are
batch-major and complex, as published. On a GPU a program runs a form several times,
each on what the one before gave, because starting a program takes as long as a
recurrence; and times are held against the rate of a copy.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.attempts import attempt_all
from benchmarks.peers import scan_forms
from jaxrec.core import scan, timing

_PARTS = "states", "gradient of the input"
_CPU_FORMS = ("sequential", "associative", "chunked")
_GPU_FORMS = ("kernel", "associative")
_GPU_TIMES = 10  # that a program runs a form
_COPIED = 2**30  # bytes


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
    times = _GPU_TIMES if gpu else 1
    makers: dict[str, Callable[[], Any]] = {}
    for name in ("associative",) if gpu else ("doubling", "associative"):
        peer = _peer(name, arrays, backward)
        makers[name] = functools.partial(Program, times, True, *peer)
    chosen = scan.choose_form(problem.length, problem.channels)
    for form in _GPU_FORMS if gpu else _CPU_FORMS:
        ours = _ours(form, arrays, backward)
        makers[f"jaxrec {form}"] = functools.partial(Program, times, False, *ours)
    candidates = (
        attempt_all(bench, makers) if gpu else {k: v() for k, v in makers.items()}
    )
    tolerance = 1e-3 if gpu else 1e-4
    for part in range(1 + backward):
        norms = {name: run.norms()[part] for name, run in candidates.items()}
        bench.agree(f"recurrence, {case}, {_PARTS[part]}", norms, rtol=tolerance)
    facts = {name: run.facts for name, run in candidates.items()}
    if gpu:
        candidates["copy"] = _copy()
    ours = [name for name in candidates if name.startswith("jaxrec")]
    result = bench.compare(
        f"recurrence, {case}",
        candidates,
        twin=f"jaxrec {chosen}" if f"jaxrec {chosen}" in ours else ours[0],
        work={"bytes": times * problem.moved_bytes(backward)},
        facts=facts,
        runs=times,
        **dataclasses.asdict(problem),
    )
    # What "auto" stands for is judged, not the best of what was tried.
    judged = f"jaxrec {chosen}"
    if not backward or judged not in candidates:
        return
    wall, cpu = result.speedup(judged), result.speedup(judged, "cpu")
    facts = {"candidate": judged, **dataclasses.asdict(problem)}
    bench.target("G2" if gpu else "P2", wall, cpu_ratio=cpu.median, **facts)
    if gpu:
        rate = 2 * _COPIED / result.wall["copy"]
        share = times * problem.moved_bytes(backward) / rate / result.wall[judged]
        bench.target("G2b", share, copy_bytes_per_s=float(np.median(rate)), **facts)


class Program:
    """A form, compiled; a call gives h, then the gradients of lambda and x if asked.

    Args:
        times: How often one call runs it, each time on what the time before gave.
        conjugate: Whether a gradient comes as JAX gives it for complex numbers.
        function: The form.
        lam: Its first argument.
        x: The input.
        keep: The mask.
        cotangent: Of h, if the gradient is wanted.

    Attributes:
        facts: Seconds of compilation and bytes of memory.
    """

    def __init__(self, times, conjugate, function, lam, x, keep, *cotangent):
        def again(found):
            turn = jnp.conj if conjugate else lambda part: part
            if not cotangent:
                return function(lam, found[0], keep)
            return function(lam, *jax.tree.map(turn, (found[-1], keep, found[0])))

        def repeated(lam, x, keep, *cotangent):
            first = function(lam, x, keep, *cotangent)
            if times == 1:
                return first
            return jax.lax.fori_loop(1, times, lambda _, found: again(found), first)

        self._arguments = lam, x, keep, *cotangent
        self._program, seconds = timing.compile_timed(repeated, *self._arguments)
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


def _ours(form, arrays, backward):
    """Our form over time-major pairs, and its arguments."""
    lam, x, cotangent, keep = arrays
    lam = scan_forms.split(lam)
    x, cotangent = (scan_forms.split(value.swapaxes(0, 1)) for value in (x, cotangent))

    def run(lam, x, keep):
        return scan.linear_recurrence(lam, x, keep, form=form)[0]

    if backward:
        return scan_forms.forward_backward(run), lam, x, keep.T, cotangent
    return lambda *arguments: (run(*arguments),), lam, x, keep.T


def _copy():
    x = jnp.zeros(_COPIED // 4, jnp.float32)
    program, _ = timing.compile_timed(lambda x: x + 1, x)
    return lambda: program(x)


def _norm(value: Any) -> float:
    """Norm over all elements of a complex array or a pair."""
    parts = value if isinstance(value, tuple) else scan_forms.split(value)
    largest = max(float(jnp.abs(part).max()) for part in parts)  # Squares overflow.
    return largest * float(
        jnp.sqrt(sum(((part / largest) ** 2).sum() for part in parts))
    )


if __name__ == "__main__":
    harness.run(main, "scan", __doc__)
