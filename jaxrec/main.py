"""Runs a configuration: training, evaluation or any other job that its entry names.

python -m jaxrec.main --config=configs/lrurec.py --workdir=runs/first
"""

import sys

from jaxrec.core import cli


def main() -> None:
    """Runs the program with the arguments of the command line."""
    sys.exit(cli.main(sys.argv))


if __name__ == "__main__":
    main()
