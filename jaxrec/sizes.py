"""What every size of a trained nested model is worth and costs, as a table and a plot.

    python -m jaxrec.sizes --workdir=runs/nested
    python -m jaxrec.sizes --workdir=runs/nested --training

Per size: test figures, parameters and bytes as served, the state of a user, and the
seconds that one event (step) and one answer (top) take for one user. --training also
times training steps of all sizes at once against models of one size each.
"""

import argparse
import json
import sys
from pathlib import Path

from jaxrec.core.compiled import keep_compiled_programs
from jaxrec.core.verbs import verb


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="directory of a tested run")
    parser.add_argument("--k", type=int, default=10, help="items per answer (10)")
    parser.add_argument(
        "--training", action="store_true", help="also what training costs"
    )
    parser.add_argument("--out", help="directory of what is written (WORKDIR/sizes)")


def _run(options: argparse.Namespace) -> None:
    keep_compiled_programs()
    from jaxrec.core.timing import device_report
    from jaxrec.nested import report
    from jaxrec.nested.run import read_run
    from jaxrec.nested.sizes import measure_sizes
    from jaxrec.nested.training import measure_training

    run = read_run(options.workdir)
    found = {"sizes": measure_sizes(run, options.k)}
    print(report.sizes_table(found["sizes"]))
    if options.training:
        print(f"\ncompiling and timing {len(run.sizes) + 1} training steps ...")
        cost = measure_training(run)
        found["training"] = cost._asdict()
        print(f"\n{report.cost_table(cost)}")
    out = Path(options.out or Path(options.workdir) / "sizes")
    out.mkdir(parents=True, exist_ok=True)
    found["measured_on"] = device_report()
    (out / "sizes.json").write_text(json.dumps(found, indent=1) + "\n")
    report.draw(found["sizes"], out / report.PLOT_FILE)
    print(f"\nsizes.json and {report.PLOT_FILE} are in {out}")


main = verb("jaxrec.sizes", __doc__, _declare, _run)


if __name__ == "__main__":
    sys.exit(main())
