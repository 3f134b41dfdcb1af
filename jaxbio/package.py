"""Makes a model to ship of a finished run: parameters, configuration and a card.

    python -m jaxbio.package --workdir=runs/points-2d --limits="2-D points of ..." \\
        --out=jaxbio/clustering/models/points-2d

The parameters are the run's best, in half precision. The card has the command, seed,
date, device, versions and test figures of the run, what to know of its limits, and the
checksum of the parameters, which is verified whenever the model is loaded.
"""

import argparse
import json
import sys
from pathlib import Path

from jaxrec.core.verbs import verb

LARGEST = 3_000_000  # bytes


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="directory of a finished run")
    parser.add_argument("--config", required=True, help="such as configs/acp_points.py")
    parser.add_argument("--limits", required=True, help="what it is for, and not for")
    parser.add_argument(
        "--reach", type=int, help="most points without a warning (default: 5 times)"
    )
    parser.add_argument("--out", required=True, help="directory to write")


def _run(options: argparse.Namespace) -> None:
    from jaxbio.clustering.stored import package

    path = Path(options.workdir)
    for name in ("config.json", "environment.json", "test.json"):
        if not (path / name).exists():
            raise FileNotFoundError(
                f"workdir {path}: {name} is missing; want a run that has ended"
            )
    config, environment, test = (
        json.loads((path / f"{name}.json").read_text())
        for name in ("config", "environment", "test")
    )
    name = Path(options.out).name
    card = {
        "command": f"python -m jaxbio.main --config={options.config} "
        f"--workdir=runs/{name}",
        "seed": config["seed"],
        "steps": config["train"]["steps"],
        "date": environment["date"][:10],
        "device": f"{environment['backend']} ({environment['device_kind']})",
        "versions": environment["versions"],
        "test": {key: round(value, 5) for key, value in test.items()},
        "test_sets": config["eval"]["sets"],
        "limits": options.limits,
    }
    if options.reach:
        card["reach"] = options.reach
    size = package(path, options.out, card)
    if size > LARGEST:
        raise ValueError(f"{options.out}: {size:,} bytes, want at most {LARGEST:,}")
    print(f"{options.out}: {size:,} bytes")


main = verb("jaxbio.package", __doc__, _declare, _run)


if __name__ == "__main__":
    sys.exit(main())
