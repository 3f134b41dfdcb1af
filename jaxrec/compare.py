"""Two models compared user by user, from what their runs wrote when they were tested.

    python -m jaxrec.compare --runs runs/lrurec --with runs/nested
    python -m jaxrec.compare --runs runs/a-42 runs/a-43 --with runs/b-42 runs/b-43
    python -m jaxrec.compare --runs runs/nested --with runs/nested@64

Several runs of a side are seeds of one model; behind an @ is a smaller size of a nested
one. The difference is that of the second side from the first, over the same users, see
`jaxrec.eval.paired`.
"""

import argparse
import sys

from jaxrec.core.verbs import verb


def _declare(parser: argparse.ArgumentParser) -> None:
    runs = {"nargs": "+", "metavar": "RUN", "required": True}
    parser.add_argument("--runs", **runs, help="directories of runs of one model")
    parser.add_argument("--with", dest="other", **runs, help="and of the other")
    parser.add_argument("--metrics", nargs="+", help="such as recall@10 ndcg@10")


def _run(options: argparse.Namespace) -> None:
    from jaxrec.eval.comparison import METRICS, as_table, compare, unlike_seeds

    metrics = options.metrics or METRICS
    found = compare(options.runs, options.other, metrics)
    labels = ", ".join(options.runs), ", ".join(options.other)
    print(as_table(labels, found))
    for label, runs in zip(labels, (options.runs, options.other), strict=True):
        if unlike := unlike_seeds(runs):
            print(f"{label}: no seeds of one model, they differ in {', '.join(unlike)}")


main = verb("jaxrec.compare", __doc__, _declare, _run)


if __name__ == "__main__":
    sys.exit(main())
