"""Full ranking of test users: ours against encoding and scoring as released.

python -m benchmarks.evaluation [--quick] [--threads 1]

The released LRURec code (Yue et al., WSDM 2024) encodes a padded batch of histories,
scores every position against the catalogue, takes the last one, masks the history and
sorts all scores. Its rows are padded beforehand here; ours begins with the flat arrays,
as an evaluation during training does, and ends with the ranks on the host.
"""

import dataclasses

import jax
import numpy as np

from benchmarks import harness
from benchmarks.peers import reference
from benchmarks.shapes import SHAPES, Histories, Shape, histories
from benchmarks.training import make_config, make_split, make_task
from jaxrec.interop import lrurec_from_torch

BATCH = 64  # rows that the published way scores at one time


def main(bench: harness.Benchmark) -> None:
    """Measures long users over a small catalogue and short users over a large one."""
    if bench.quick:
        compare(bench, dataclasses.replace(SHAPES["ml1m-s"], length=50), users=64)
        return
    compare(bench, SHAPES["ml1m"], users=256)
    compare(bench, SHAPES["beauty"], users=256)


def compare(bench: harness.Benchmark, shape: Shape, users: int) -> None:
    """Compares the ranking of the last event of each user.

    Parameters are drawn larger than for training, so that scores are far apart and
    rounding moves no rank.
    """
    published = reference.published_parameters(
        shape.items, shape.dim, shape.blocks, scale=0.2
    )
    data = _without_repeats(histories(shape, users))
    split = make_split(data, shape.items, held_out=1)
    config = make_config(shape, dropout=0.0, batch=min(256, users))
    task = make_task(split, config)
    _, params = lrurec_from_torch(published)
    ranks = {
        "torch as released": _torch_ranks(published, shape, split, bench.threads),
        "jaxrec": lambda: task.rank(params, "test").rank,
    }
    found = {name: run() for name, run in ranks.items()}
    bench.agree(
        f"mean rank, {shape.name}",
        {name: float(np.mean(rank)) for name, rank in found.items()},
        rtol=1e-3,
    )
    result = bench.compare(
        "full ranking",
        ranks,
        twin="jaxrec",
        work={"users": len(split.test)},
        shape=shape.name,
        mean_rank=float(np.mean(found["jaxrec"])),
        ranks_that_differ=int(np.sum(found["jaxrec"] != found["torch as released"])),
    )
    wall, cpu = result.speedup("jaxrec"), result.speedup("jaxrec", "cpu")
    bench.target("E1", wall, shape=shape.name, cpu_ratio=cpu.median)


def _without_repeats(data: Histories) -> Histories:
    """Keeps an item's first event: where targets repeat, masking rules differ."""
    kept = []
    for begin, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        _, first = np.unique(data.values[begin:end], return_index=True)
        kept.append(data.values[begin:end][np.sort(first)])
    return Histories(np.concatenate(kept), np.cumsum([0, *map(len, kept)]))


def _torch_ranks(published, shape, split, threads):
    from benchmarks.peers import lrurec_torch

    torch = lrurec_torch.torch
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    model = lrurec_torch.LRURec(shape.items, shape.dim, shape.blocks)
    model = lrurec_torch.load(model, published).to(device).eval()
    values, offsets = split.sequences.values, split.sequences.offsets
    rows = np.zeros((len(split.test), shape.length), np.int64)
    for row, user, end in zip(rows, split.test.user, split.test.position, strict=True):
        history = values[max(offsets[user], end - shape.length) : end]
        row[shape.length - len(history) :] = history
    tokens = torch.tensor(rows).to(device)
    targets = torch.tensor(values[split.test.position]).long().to(device)

    def ranks():
        torch.set_num_threads(threads)
        found = []
        with torch.inference_mode():
            for i in range(0, len(tokens), BATCH):
                some = tokens[i : i + BATCH]
                scores = model.score(model.hidden(some))[:, -1]
                scores.scatter_(1, some, reference.HIDDEN)  # history and padding
                scores[:, 0] = reference.HIDDEN
                order = (-scores).argsort(1)
                hit = order == targets[i : i + BATCH, None]
                found.append(hit.int().argmax(1).cpu())
        return np.concatenate([part.numpy() for part in found])

    return ranks


if __name__ == "__main__":
    harness.run(main, "evaluation", __doc__)
