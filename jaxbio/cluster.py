"""Clusters a table of points: samples of the posterior over its partitions.

    python -m jaxbio.cluster points.csv --model=points-2d --out=answer

The table is CSV or TSV with a row per point, with or without a header, or .npy. Columns
are chosen by --columns, by name or number from 0; else all must be numbers. Written are

    answer/labels.csv        per point the most probable of the sampled partitions, and
                             how probably the point shares a cluster with its others
    answer/samples.npz       labels (S, n), log_prob (S,), coclustering (n, n), clusters
    answer/answer.png        samples side by side, co-clustering, number of clusters
"""

import argparse
import sys
from pathlib import Path

from jaxrec.core.verbs import verb


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("points", help="CSV, TSV or .npy file")
    parser.add_argument("--model", required=True, help="name, or directory of a run")
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument("--columns", default="", help="such as x,y or 0,1")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--mode", default="posterior", help="posterior, topk or mode")
    parser.add_argument("--seed", type=int, default=0)


def _run(options: argparse.Namespace) -> None:
    from jaxbio.clustering.points.read import read_points

    points = read_points(options.points, [c for c in options.columns.split(",") if c])
    import numpy as np

    from jaxbio.clustering import AttentiveClustering
    from jaxbio.clustering.estimator import together
    from jaxbio.clustering.figures import plot_answer

    model = AttentiveClustering.load(options.model)
    drawn = model.sample(points, options.samples, options.mode, key=options.seed)
    order = np.argsort(-drawn.log_prob, kind="stable")
    distinct, first = np.unique(drawn.labels[order], axis=0, return_index=True)
    best = order[np.sort(first)]
    shared = together(drawn.labels)
    counts = np.bincount(drawn.labels.max(1) + 1) / len(drawn.labels)
    labels = drawn.labels[best[0]]
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    same = labels[:, None] == labels
    sure = (shared * same).sum(1) / same.sum(1)
    lines = ["point,cluster,certainty"]
    lines += [
        f"{i},{k},{p:.4f}" for i, (k, p) in enumerate(zip(labels, sure, strict=True))
    ]
    (out / "labels.csv").write_text("\n".join(lines) + "\n")
    np.savez_compressed(
        out / "samples.npz", **drawn._asdict(), coclustering=shared, clusters=counts
    )
    plot_answer(
        points,
        drawn.labels[best],
        drawn.log_prob[best],
        shared,
        counts,
        out / "answer.png",
    )
    numbers = ", ".join(f"{k}: {p:.2f}" for k, p in enumerate(counts) if p >= 0.005)
    print(f"{len(points)} points, {options.samples} samples, {len(distinct)} distinct")
    print(f"clusters and their probability: {numbers}")
    print(f"most probable sample: {labels.max() + 1} clusters, in {out / 'labels.csv'}")


main = verb("jaxbio.cluster", __doc__, _declare, _run)


if __name__ == "__main__":
    sys.exit(main())
