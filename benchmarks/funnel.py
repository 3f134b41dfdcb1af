"""Funnel search in a nested catalogue: how much faster than the full one, how exact.

python -m benchmarks.funnel [--quick] [--threads 1] [--workdir runs/nested]

Vectors of independent coordinates of one size would have nothing that a funnel can use,
and real ones of a million items are not at hand. So they are drawn, and how much of a
score its first coordinates know is a curve that is put in: coordinates are independent
and normal, with variances such that the scores by the first s of d coordinates have,
over items, the squared correlation with the full scores that the curve says. `trained`
was measured on a model (`CURVES`); `independent` is what vectors without nested
structure have. Times hardly depend on it; recall, the share of the true top k that is
found, does, and is told for both. With ``--workdir`` it is that of a run of yours, for
users of its data, and nothing is timed.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from jaxrec.core import timing
from jaxrec.core.nested import increments
from jaxrec.retrieval.funnel import FunnelIndex, funnel_search
from jaxrec.retrieval.topk import Index, make_index, search

DIM = 512
FUNNELS = ((32, 256), (64, 256), (64, 1024), (128, 256))
KS, SHORTLISTS = (10, 100), (256, 1024)
QUERIES = 256  # that recall is measured with

# Share of the width: squared correlation of the scores. `trained` is fMRLRec with sizes
# of 8 to 256 and one block, the best of 1,000 steps on Beauty (12,101 items, test
# Recall@10 .070 on 2,000 users): the correlation with which a shortlist of 256 normal
# scores has as much of the true top 10 as that model's (``--workdir``: .43, .45, .58,
# .72, .91 at widths of 8 to 128). Over all items its scores correlate less (.08 at 8,
# .28 at 32): its top items agree better than the rest.
CURVES = {
    "trained": {
        **{1 / 32: 0.31, 1 / 16: 0.32, 1 / 8: 0.405},
        **{1 / 4: 0.50, 1 / 2: 0.685, 1: 1},
    },
    "independent": {1: 1},
}


class Catalogue:
    """Item vectors and queries of a curve, laid out for all searches.

    Attributes:
        index: For the full search.
        table: (items + 1, DIM).
        queries: (QUERIES or more, DIM).
    """

    def __init__(self, items: int, curve: str, queries: int, dim: int = DIM):
        random = np.random.default_rng(0)
        scale = deviations(CURVES[curve], dim)
        table = random.standard_normal((items + 1, dim), np.float32)
        table *= scale
        self.table = jnp.asarray(table)
        self.queries = jnp.asarray(
            random.standard_normal((queries, dim), np.float32) * scale
        )
        self.index: Index = jax.jit(make_index)(self.table, jnp.zeros(items + 1))

    def funnel(self, dims: int) -> FunnelIndex:
        """The layout for a funnel by the first `dims` coordinates."""
        narrow = jax.jit(lambda columns: columns[:dims])(self.index.columns)
        return FunnelIndex(narrow, self.table, self.index.bias)


def deviations(curve: dict[float, float], dim: int) -> np.ndarray:
    """The standard deviation (dim,) float32 of every coordinate, of both sides alike.

    Args:
        curve: Share of the width -> squared correlation of the scores, both ascending
            and up to 1.
        dim: The width.
    """
    sizes = [round(share * dim) for share in curve]
    known = np.diff([0.0, *curve.values()])
    variance = np.concatenate(
        [
            np.full(end - begin, gain / (end - begin))
            for (begin, end), gain in zip(increments(sizes), known, strict=True)
        ]
    )
    # A product of two normal numbers of variance v has variance v^2.
    return np.sqrt(np.sqrt(variance)).astype(np.float32)


def main(bench: harness.Benchmark) -> None:
    """Measures the catalogues and numbers of queries that suit the device."""
    if bench.options.workdir:
        of_run(bench, bench.options.workdir)
        return
    gpu = jax.default_backend() == "gpu"
    if bench.quick:
        cases = {20_000: (1, 64)}
    else:
        # A full search of 10^6 items for 512 queries takes two CPU cores ten seconds.
        cases = {100_000: (1, 64, 512), 1_000_000: (1, 64, 512) if gpu else (1, 64)}
    for items, batches in cases.items():
        unstructured = Catalogue(items, "independent", QUERIES)
        floors = {k: recalls(unstructured, k) for k in KS}
        del unstructured  # 4 GB of a million items
        catalogue = Catalogue(items, "trained", max(QUERIES, *batches))
        for k, floor in floors.items():
            found = recalls(catalogue, k)
            for batch in batches:
                compare(bench, catalogue, batch, k, found, floor)


def compare(
    bench: harness.Benchmark,
    catalogue: Catalogue,
    batch: int,
    k: int,
    found: dict[tuple[int, int], float],
    floor: dict[tuple[int, int], float],
) -> None:
    """Compares the full search with funnels (target N1).

    Args:
        bench: The benchmark.
        catalogue: What is searched.
        batch: Queries of a call.
        k: Size of the answer.
        found: Recall per funnel, in this catalogue.
        floor: The same in one without structure.
    """
    queries, index = catalogue.queries[:batch], catalogue.index
    full = index.columns.shape[0]
    candidates, facts = {}, {}

    def add(name, function, layout):
        program, seconds = timing.compile_timed(function, layout, queries)
        candidates[name] = lambda: program(layout, queries)
        facts[name] = {"compile_s": seconds, **timing.memory_plan(program)}

    add("full", lambda index, queries: search(index, queries, k), index)
    # With all coordinates in the first step the second changes nothing.
    whole = FunnelIndex(index.columns, catalogue.table, index.bias)
    same = funnel_search(whole, queries, k, 2 * k)[0]
    sums = {"full": candidates["full"]()[0].sum(), "funnel of all": same.sum()}
    bench.agree(f"top {k}", {name: float(value) for name, value in sums.items()})
    for dims, shortlist in found:
        name = f"funnel {dims}, {shortlist}"

        def funnel(layout, queries, shortlist=shortlist):
            return funnel_search(layout, queries, k, shortlist)

        add(name, funnel, catalogue.funnel(dims))
        facts[name] |= {
            "recall": found[dims, shortlist],
            "recall_independent": floor[dims, shortlist],
        }
    items = catalogue.table.shape[0] - 1
    shared = {"items": items, "batch": batch, "dim": full, "k": k}
    result = bench.compare(
        f"top {k}",
        candidates,
        twin="full",
        latency=batch == 1,
        facts=facts,
        **shared,
    )
    for dims, shortlist in found:
        name = f"funnel {dims}, {shortlist}"
        own = {key: facts[name][key] for key in ("recall", "recall_independent")}
        funnel = f"{dims}, {shortlist}"
        bench.target("N1", result.speedup(name), **shared, funnel=funnel, **own)


def recalls(catalogue: Catalogue, k: int) -> dict[tuple[int, int], float]:
    """Per funnel the share of the true top k that it finds, over `QUERIES` queries."""
    queries = catalogue.queries[:QUERIES]
    exact = np.asarray(
        jax.jit(search, static_argnums=2)(catalogue.index, queries, k)[1]
    )
    shares = {}
    for dims, shortlist in FUNNELS:
        run = jax.jit(funnel_search, static_argnums=(2, 3))
        found = np.asarray(run(catalogue.funnel(dims), queries, k, shortlist)[1])
        hits = (found[:, :, None] == exact[:, None, :]).any(1)
        shares[dims, shortlist] = float(hits.mean())
    return shares


def of_run(bench: harness.Benchmark, workdir: Path, users: int = 512) -> None:
    """Records the recall of funnels at every size of a run, over users of its data."""
    # Not above: a machine for benchmarks may lack what data need.
    from jaxrec import data
    from jaxrec.core.run_directory import read_config
    from jaxrec.serve.workdir import load

    rec = load(workdir)
    sequences = data.load(read_config(workdir)["data"]).sequences
    chosen = np.random.default_rng(0).permutation(len(sequences.user_ids))[:users]
    histories = [
        sequences.item_ids[sequences.history(user)[:-1]].tolist() for user in chosen
    ]
    for k in KS:
        exact = [set(answer.ids) for answer in rec.recommend(histories, k)]
        for dims in rec.sizes[:-1]:
            for shortlist in SHORTLISTS:
                found = rec.recommend(histories, k, funnel=(dims, shortlist))
                hits = sum(
                    len(true.intersection(answer.ids))
                    for true, answer in zip(exact, found, strict=True)
                )
                bench.record(
                    "recall of a run",
                    recall=hits / sum(map(len, exact)),
                    k=k,
                    funnel=f"{dims}, {shortlist}",
                    items=rec.items,
                    dim=rec.sizes[-1],
                    users=len(histories),
                )


if __name__ == "__main__":
    flags = harness.parser(__doc__)
    flags.add_argument("--workdir", type=Path, help="a run, to measure its recall")
    harness.run(main, "funnel", flags=flags)
