"""Writes the best parameters of a run as one portable file.

    python -m jaxrec.export --workdir=runs/x --out=x.jaxrec

The file runs on CPUs, CUDA GPUs and TPUs without the code of the model, see
`jaxrec.serve.portable`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxrec.core.cli import readable_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program.

    Args:
        argv: Arguments, None for those of the command line.

    Returns:
        Exit status: 0, or 2 for an error of the user.
    """
    parser = argparse.ArgumentParser(
        "python -m jaxrec.export", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--workdir", required=True, help="directory of a run")
    parser.add_argument("--out", required=True, help="file to write")
    options = parser.parse_args(argv)
    with readable_errors() as outcome:
        from jaxrec.serve.workdir import load

        load(options.workdir).export(options.out)
        print(f"{options.out}: {Path(options.out).stat().st_size / 1e6:.1f} MB")
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())
