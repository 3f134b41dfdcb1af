"""Parts that fail or hang cost nobody else, and the budget holds."""

import json
import subprocess
import sys
import time

import pytest

from benchmarks import harness, on_gpu

KERNELS = (
    *("scan", "softmax", "train_step", "attention_step", "serving", "study_group"),
    *("topk", "funnel", "nested", "evaluation"),
)


def part(name, program, seconds=60.0, **more):
    return on_gpu.Part(name, [sys.executable, "-c", program], seconds, **more)


@pytest.fixture(name="ends")
def fixture_ends(tmp_path, monkeypatch):
    """Runs parts; returns the rows that are written of them."""
    monkeypatch.setattr(on_gpu, "_GRACE", 2)

    def ends(*parts, flags=()):
        monkeypatch.setattr(on_gpu, "parts", lambda *_: list(parts))
        on_gpu.main(["--out", str(tmp_path), "--quick", *flags])
        lines = (tmp_path / "on_gpu.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return ends


def test_a_part_that_fails_leaves_the_others_alone(ends, tmp_path, capsys):
    row = {
        **{"target": "G4", "reached": 2.5, "quick": True, "date": "2026-01-01"},
        **{"platform": "gpu", "device": "Some GPU", "batch": 4096},
    }
    writes = f"open({str(tmp_path / 'a.jsonl')!r}, 'w').write({json.dumps(row)!r})"
    rows = ends(
        part("fails", "raise SystemExit('no such device')"),
        part("lacks", "", needs=("ml_collections", "NO_SUCH_DIRECTORY")),
        part("works", f"{writes}; print('hello')"),
    )
    assert [row["ended"] for row in rows] == [
        "failed",
        "left out: NO_SUCH_DIRECTORY is missing",
        "done",
    ]
    assert rows[0]["output"].strip() == "no such device"
    assert "hello" in (tmp_path / "on_gpu" / "works.log").read_text()
    assert "| G4 |" in capsys.readouterr().out


def test_a_part_is_ended_with_its_helpers(ends, tmp_path):
    mark = tmp_path / "helper"
    helper = f"import time; time.sleep(4); open({str(mark)!r}, 'w')"
    hangs = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {helper!r}])\n"
        "time.sleep(60)\n"
    )
    begin = time.monotonic()
    rows = ends(
        part("hangs", hangs, seconds=3.0),
        part("late", "pass"),
        flags=["--budget-seconds", "5"],
    )
    assert time.monotonic() - begin < 4
    assert [row["ended"] for row in rows] == [
        "stopped at its limit",
        "left out: no time left",
    ]
    time.sleep(4.5 - (time.monotonic() - begin))
    assert not mark.exists()


def test_a_training_leaves_its_figures(ends, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    lines = [{"kind": "valid", "step": step, "recall@10": step / 10} for step in (1, 2)]
    text = "\n".join(map(json.dumps, lines))
    (workdir / "metrics.jsonl").write_text(text)
    [row] = ends(part("train x", "pass", workdir=workdir))
    assert row["valid"] == lines[1] and "test" not in row
    (workdir / "test.json").write_text('{"lru": {"recall@10": 0.5}}')
    row = ends(part("train x", "pass", workdir=workdir))[-1]
    assert row["test"] == {"lru": {"recall@10": 0.5}}


def test_trainings_share_the_machine(ends, tmp_path):
    """Each waits for the other's file."""

    def waits(own, other):
        return part(
            f"train {own}",
            "import os, pathlib, time\n"
            f"pathlib.Path({str(tmp_path / own)!r}).touch()\n"
            f"while not os.path.exists({str(tmp_path / other)!r}): time.sleep(0.05)\n"
            "print(os.environ['XLA_PYTHON_CLIENT_MEM_FRACTION'])\n",
            workdir=tmp_path / f"run {own}",
        )

    rows = ends(waits("a", "b"), waits("b", "a"), flags=["--together", "2"])
    assert [row["ended"] for row in rows] == ["done", "done"]
    assert "0.450" in (tmp_path / "on_gpu" / "train a.log").read_text()


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        on_gpu.main(["--only", "scans"])
    assert (
        "--only names ['scans']; parts are ['attention_step', "
        in capsys.readouterr().err
    )


def test_benchmarks_do_not_need_what_a_gpu_machine_lacks():
    lacking = [*on_gpu._MODULES, "tensorboardX", "importlib_resources", "torch"]
    program = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({lacking}))\n"
        f"for name in {KERNELS}: importlib.import_module(f'benchmarks.{{name}}')\n"
    )
    root = harness.RESULTS.parent.parent
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root)
