"""The best items of a large catalogue: ours against PyTorch and the rate of reading.

python -m benchmarks.topk [--quick] [--threads 1]

Exact search on all sides, without exclusions. Whatever is done, every item vector must
be read once: the floor is the time that a sum over the table takes, in JAX or in
PyTorch, whichever is faster.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from benchmarks.attempts import attempt
from jaxrec.core import timing
from jaxrec.retrieval.topk import make_index, search, top_k

DIM, K = 64, 100


def main(bench: harness.Benchmark) -> None:
    """Measures catalogues and numbers of queries that suit the device."""
    gpu = jax.default_backend() == "gpu"
    sizes = (40_000,) if bench.quick else (10_000, 100_000, 1_000_000)
    for items in sizes:
        compare(bench, items, 1, gpu)
    compare(bench, sizes[0] if bench.quick else 100_000, 16, gpu)


def compare(bench: harness.Benchmark, items: int, batch: int, gpu: bool) -> None:
    """Compares searches; one query in 10^6 items gives targets P5 and P5b."""
    from benchmarks.peers import topk_torch

    random = np.random.default_rng(0)
    table = random.standard_normal((items + 1, DIM), np.float32)
    hidden = random.standard_normal((batch, DIM), np.float32)
    rows, bias, query = jnp.asarray(table), jnp.zeros(items + 1), jnp.asarray(hidden)
    index = jax.jit(make_index)(rows, bias)
    candidates, facts = {}, {}

    def add(name, function, *arguments):
        program, seconds = timing.compile_timed(function, *arguments)
        candidates[name] = lambda: program(*arguments)
        facts[name] = {"compile_s": seconds, **timing.memory_plan(program)}

    torch = topk_torch.torch
    device = "cuda" if gpu else "cpu"
    # Id 0 is padding, which PyTorch is spared.
    theirs = torch.from_numpy(table[1:]).to(device)
    their_query = torch.from_numpy(hidden).to(device)
    torch_search = topk_torch.top_k(theirs, K, bench.threads)
    candidates["torch"] = lambda: torch_search(their_query)
    if gpu:
        compiled = topk_torch.top_k(theirs, K, bench.threads, compiled=True)
        if attempt(bench, "torch compiled", lambda: lambda: compiled(their_query)):
            candidates["torch compiled"] = lambda: compiled(their_query)
    add("jaxrec index", lambda index, query: search(index, query, K), index, query)
    add("jaxrec table", lambda *a: top_k(*a, K), query, rows, bias)
    case = f"top {K}"
    sums = {name: float(run()[0].sum()) for name, run in candidates.items()}
    bench.agree(case, sums)
    # Scores, not ids: two items whose scores differ in the last bit may change places.
    ours, peers = (
        np.asarray(candidates[name]()[0].cpu() if name == "torch" else run()[0])
        for name, run in candidates.items()
        if name in ("torch", "jaxrec index")
    )
    if not np.allclose(ours, peers, rtol=1e-3 if gpu else 1e-5):
        raise ValueError(f"{items} items: PyTorch and jaxrec find other scores")

    add("read (jax)", lambda rows: rows.sum(), rows)
    candidates["read (torch)"] = lambda: theirs.sum()
    result = bench.compare(
        case,
        candidates,
        twin="jaxrec index",
        latency=True,
        calls=20 if gpu else 1,
        work={"bytes": table.nbytes},
        facts=facts,
        items=items,
        batch=batch,
        dim=DIM,
    )
    shared = {"items": items, "batch": batch, "candidate": "jaxrec index"}
    bench.target("P5", result.speedup("jaxrec index"), **shared)
    reads = np.minimum(result.wall["read (jax)"], result.wall["read (torch)"])
    bench.target(
        "P5b",
        reads / result.wall["jaxrec index"],
        read_bytes_per_s=table.nbytes / float(np.median(reads)),
        **shared,
    )


if __name__ == "__main__":
    harness.run(main, "topk", __doc__)
