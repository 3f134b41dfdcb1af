"""Every benchmark of ours runs in its small form, and its rows can be reported."""

import json
import subprocess
import sys

import pytest

from benchmarks import on_gpu, report

pytest.importorskip("torch", reason="the peers need the extra [bench]")


@pytest.mark.parametrize("name", ["softmax", "topk", "packing", "pipeline"])
def test_small_form(tmp_path, name):
    subprocess.run(
        [
            *(sys.executable, "-m", f"benchmarks.{name}", "--quick", "--rounds", "2"),
            *("--out", str(tmp_path)),
        ],
        check=True,
        timeout=300,
    )
    rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").open()]
    targets = [row for row in rows if "target" in row]
    assert targets and all(row["reached"] > 0 for row in targets)
    assert {"date", "command", "versions", "device"} <= set(rows[0])
    assert report.rows(tmp_path) == []  # Small forms are no results.
    whole = [{**row, "quick": False} for row in rows]
    text = "\n".join(json.dumps(row) for row in whole)
    (tmp_path / f"{name}.jsonl").write_text(text)
    assert f"| {targets[0]['target']} |" in report.table(report.rows(tmp_path))


def test_the_accelerator_run_survives_a_part_that_fails(tmp_path):
    fails = on_gpu.Part("fails", [sys.executable, "-c", "raise SystemExit(3)"], 60)
    assert on_gpu.run(fails, tmp_path, 60) == "failed, see fails.log"
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert "stopped" in on_gpu.run(on_gpu.Part("sleeps", sleeps, 60), tmp_path, 1)
    lacking = on_gpu.Part("lacks", [], 1, needs=("no_such_module",))
    assert on_gpu.missing(lacking) == "no_such_module"
