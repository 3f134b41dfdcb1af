"""Two models compared user by user, from what their runs wrote when they were tested.

    python -m jaxrec.compare --runs runs/lrurec --with runs/nested
    python -m jaxrec.compare --runs runs/a-42 runs/a-43 --with runs/b-42 runs/b-43
    python -m jaxrec.compare --runs runs/nested --with runs/nested@64

Several runs of a side are seeds of one model; behind an @ is a smaller size of a nested
one. The difference is taken over the same users, see `jaxrec.eval.paired`.
"""

import argparse
import sys
from collections.abc import Sequence

from jaxrec.core.cli import readable_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program.

    Args:
        argv: Arguments, None for those of the command line.

    Returns:
        Exit status: 0, or 2 for an error of the user.
    """
    parser = argparse.ArgumentParser(
        "python -m jaxrec.compare", description=__doc__.partition("\n")[0]
    )
    runs = {"nargs": "+", "metavar": "RUN", "required": True}
    parser.add_argument("--runs", **runs, help="directories of runs of one model")
    parser.add_argument("--with", dest="other", **runs, help="and of the other")
    parser.add_argument("--metrics", nargs="+", help="such as recall@10 ndcg@10")
    options = parser.parse_args(argv)
    with readable_errors() as outcome:
        from jaxrec.eval.comparison import METRICS, as_table, compare

        metrics = options.metrics or METRICS
        found = compare(options.runs, options.other, metrics)
        labels = ", ".join(options.runs), ", ".join(options.other)
        print(as_table(labels, found))
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())
