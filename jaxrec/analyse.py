"""Low rank and inductive bias of trained models, as a table, plots and a report.

    python -m jaxrec.analyse --workdir=runs/x
    python -m jaxrec.analyse --workdir=runs/ae --compare=runs/ar --out=report

What is measured, see `jaxrec.eval.analysis`.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from jaxrec.core.compiled import keep_compiled_programs
from jaxrec.core.verbs import verb


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="directory of a run")
    parser.add_argument("--compare", help="directory of another, shown beside it")
    parser.add_argument("--part", default="test", help="test (the default) or valid")
    parser.add_argument("--users", type=int, default=500, help="how many (500)")
    parser.add_argument("--seed", type=int, default=0, help="of users and controls (0)")
    parser.add_argument("--out", help="directory of what is written (WORKDIR/analysis)")


def _run(options: argparse.Namespace) -> None:
    # A thousand small matrices: two threads take 1.4 to 2 times as long as one. NumPy
    # reads this when it is first imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    keep_compiled_programs()
    from jaxrec.core.run_directory import check_is_run
    from jaxrec.eval import analyse, analysis_plots, analysis_report

    workdirs = [path for path in (options.workdir, options.compare) if path]
    for path in workdirs:
        check_is_run(path)
    results = {}
    for label, path in zip(analysis_report.labels(workdirs), workdirs, strict=True):
        results[label] = analyse(path, options.part, options.users, options.seed)
        print(f"{label}: {analysis_report.describe(results[label])}")
    for note in analysis_report.notes(results):
        print(note)
    print(f"\n{analysis_report.format_tables(results)}")
    out = Path(options.out or Path(options.workdir) / "analysis")
    out.mkdir(parents=True, exist_ok=True)
    (out / "analysis.json").write_text(json.dumps(results) + "\n")
    plots = [path.name for path in analysis_plots.draw(results, out)]
    command = "python -m jaxrec.analyse " + " ".join(
        f"--{name}={value}" for name, value in vars(options).items() if value
    )
    text = analysis_report.report(results, command, plots)
    (out / "analysis.md").write_text(text)
    print(f"\nanalysis.md, analysis.json and plots are in {out}")


main = verb("jaxrec.analyse", __doc__, _declare, _run)


if __name__ == "__main__":
    sys.exit(main())
