"""Cuts a smaller recommender out of a trained nested one.

    python -m jaxrec.cut --workdir=runs/nested --size=64 --out=runs/nested-64

What is written serves like any other run (`jaxrec.load`, `python -m jaxrec.recommend`),
and its scores are those of the first 64 coordinates of the large model. Features are
folded into the item table, unless --keep_features keeps them for `rec.add_items`.
"""

import argparse
import sys

from jaxrec.core.verbs import verb


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="directory of a run")
    parser.add_argument("--size", required=True, type=int, help="one of its sizes")
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument(
        "--keep_features", action="store_true", help="so that items can be added"
    )


def _run(options: argparse.Namespace) -> None:
    from jaxrec.nested.cut import cut_run

    written = cut_run(options.workdir, options.size, options.out, options.keep_features)
    print(f"{options.out}: size {options.size}, {written:,} parameters")


main = verb("jaxrec.cut", __doc__, _declare, _run)


if __name__ == "__main__":
    sys.exit(main())
