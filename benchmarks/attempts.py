"""Candidates that may not work where they are tried for the first time.

On a GPU that was never seen before, a compiler may refuse a program or memory may not
suffice. One such candidate must not cost the measurement of all others.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.harness import Benchmark, finish


def attempt(bench: Benchmark, name: str, make: Callable[[], Any]) -> Any:
    """Makes a candidate and runs it once.

    Args:
        bench: Where a failure is recorded.
        name: Name of the candidate.
        make: Returns the candidate.

    Returns:
        The candidate, or None if making or running it raised an exception.
    """
    try:
        candidate = make()
        finish(candidate())
    except Exception as error:  # Compilers raise all sorts.
        message = f"{type(error).__name__}: {error}"[:500]
        bench.record("does not run", candidate=name, error=message)
        return None
    return candidate


def attempt_all(
    bench: Benchmark, makers: dict[str, Callable[[], Any]]
) -> dict[str, Any]:
    """Returns the candidates that run, by name.

    Raises:
        ValueError: If none does.
    """
    found = {name: attempt(bench, name, make) for name, make in makers.items()}
    found = {name: candidate for name, candidate in found.items() if candidate}
    if not found:
        raise ValueError(f"none of {list(makers)} runs")
    return found
