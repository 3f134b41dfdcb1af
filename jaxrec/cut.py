"""Cuts a smaller recommender out of a trained nested one.

    python -m jaxrec.cut --workdir=runs/nested --size=64 --out=runs/nested-64

What is written serves like any other run (`jaxrec.load`, `python -m jaxrec.recommend`),
and its scores are those of the first 64 coordinates of the large model. Features are
folded into the item table, unless --keep_features keeps them for `rec.add_items`.
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
        "python -m jaxrec.cut", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--workdir", required=True, help="directory of a run")
    parser.add_argument("--size", required=True, type=int, help="one of its sizes")
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument(
        "--keep_features", action="store_true", help="so that items can be added"
    )
    options = parser.parse_args(argv)
    with readable_errors() as outcome:
        from jaxrec.nested.cut import cut_run

        written = cut_run(
            options.workdir, options.size, options.out, options.keep_features
        )
        print(f"{options.out}: size {options.size}, {written:,} parameters")
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())
