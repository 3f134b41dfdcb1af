"""Clusters a table of points or a graph: samples of the posterior over partitions.

    python -m jaxbio.cluster points.csv --model=points-2d --out=answer
    python -m jaxbio.cluster network.gml --model=sbm --out=answer

A table is CSV or TSV with a row per point, with or without a header, or .npy; columns
are chosen by --columns, by name or number from 0, else all must be numbers. A graph is
GML, GraphML, or a file with an edge per line. Written are

    answer/labels.csv     of each point or node the cluster, and how probably it goes
                          with the others there: in the partition that is nearest to
                          all samples (--estimate=consensus), for weak structure in that
                          of most expected mutual information (maxami), or in the most
                          probable sample (topk). With the model symmetric and a graph
                          within its reach also in what belief propagation makes of the
                          samples (refined), and then how probably it is in its block
    answer/samples.npz    labels (S, n), log_prob (S,), coclustering (n, n), clusters
    answer/answer.png     samples side by side, co-clustering, number of clusters

A graph far larger than what the model was trained on is clustered in overlapping parts
that are merged; there are labels and how sure they are then, and no samples.
"""

import argparse
import sys
from pathlib import Path

from jaxrec.core.verbs import verb


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="file of points, or of a graph")
    parser.add_argument("--model", required=True, help="name, or directory of a run")
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument("--columns", default="", help="of a table, such as x,y or 0,1")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument(
        "--estimate",
        choices=("consensus", "maxami", "refined", "topk"),
        default="consensus",
        help="which partition labels.csv has",
    )
    parser.add_argument("--seed", type=int, default=0)


def _run(options: argparse.Namespace) -> None:
    from jaxbio.clustering import AttentiveClustering
    from jaxbio.clustering.answer import answer_graph, answer_points
    from jaxrec.core.compiled import keep_compiled_programs

    keep_compiled_programs()
    model = AttentiveClustering.load(options.model)
    columns = [name for name in options.columns.split(",") if name]
    names = ("samples", "seed", "estimate")
    how = {name: getattr(options, name) for name in names}
    out = Path(options.out)
    if model.kind == "graphs":
        if columns:
            raise ValueError(f"--columns={options.columns}: a graph has none")
        told = answer_graph(model, options.data, out, **how)
    else:
        told = answer_points(model, options.data, columns, out, **how)
    print(told)


main = verb("jaxbio.cluster", __doc__, _declare, _run)


if __name__ == "__main__":
    sys.exit(main())
