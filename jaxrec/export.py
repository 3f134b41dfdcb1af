"""Writes the best parameters of a run as one portable file.

    python -m jaxrec.export --workdir=runs/x --out=x.jaxrec

The file runs on CPUs, CUDA GPUs and TPUs, or on those that --platforms names, without
the code of the model, see `jaxrec.serve.portable`.
"""

import argparse
import sys
from pathlib import Path

from jaxrec.core.verbs import verb


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="directory of a run")
    parser.add_argument("--out", required=True, help="file to write")
    parser.add_argument(
        "--platforms",
        type=lambda text: text.split(","),
        help="what it is to run on (default: cpu,cuda,tpu)",
    )


def _run(options: argparse.Namespace) -> None:
    from jaxrec.core.export import PLATFORMS
    from jaxrec.serve.workdir import load

    load(options.workdir).export(options.out, options.platforms or PLATFORMS)
    print(f"{options.out}: {Path(options.out).stat().st_size / 1e6:.1f} MB")


main = verb("jaxrec.export", __doc__, _declare, _run)


if __name__ == "__main__":
    sys.exit(main())
