"""Runs a configuration of a scientific model: the same program as `jaxrec.main`.

python -m jaxbio.main --config=configs/acp_points.py --workdir=runs/points
"""

import sys

from jaxrec.core import cli


def main() -> None:
    """Runs the program with the arguments of the command line."""
    sys.exit(cli.main(sys.argv, program="jaxbio.main"))


if __name__ == "__main__":
    main()
