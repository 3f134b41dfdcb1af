"""Flags, rows and tables of benchmarks."""

import json
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import harness
from jaxrec.core import timing


def run(main, tmp_path, *flags):
    harness.run(main, "trial", "Sums.", argv=["--out", str(tmp_path), *flags])
    lines = (tmp_path / "trial.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def sums(bench):
    add = jax.jit(lambda x: x.sum()).lower(jnp.ones(1000)).compile()
    x = np.ones(1000, np.float32)
    bench.agree("sums", {"numpy": x.sum(), "jax": add(x)})
    bench.compare(
        "sums",
        {"numpy": lambda: x.sum(), "jax": lambda: add(x)},
        work={"numbers": 1000},
        floor_s=1e-9,
        facts={"jax": {"compile_s": 0.5}},
        shape="tiny",
    )


def test_rows_are_appended_with_everything_that_explains_them(tmp_path, capsys):
    rows = run(sums, tmp_path, "--quick")
    assert [row["candidate"] for row in rows] == ["numpy", "jax", "numpy (twin)"]
    for row in rows:
        assert (row["benchmark"], row["case"], row["shape"]) == (
            "trial",
            "sums",
            "tiny",
        )
        assert row["rounds"] == 3 and row["quick"]
        assert row["versions"]["jax"] == jax.__version__
        assert row["numbers_per_s"] == pytest.approx(1000 / row["wall_s"])
        assert row["numbers_per_cpu_s"] == pytest.approx(1000 / row["cpu_s"])
        assert row["of_floor"] == pytest.approx(1e-9 / row["wall_s"])
        assert {"date", "device", "command", "commit", "cores"} <= set(row)
    assert rows[1]["compile_s"] == 0.5
    assert "compile_s" not in rows[0]
    assert len(run(sums, tmp_path, "--quick")) == 6  # appended, not replaced
    table = capsys.readouterr().out.splitlines()
    header = next(line for line in table if "speed-up" in line)
    ours = next(line for line in table if line.startswith("jax"))
    assert header.index("compile_s") + len("compile_s") == ours.rindex("0.5") + 3


def test_a_row_is_on_disk_before_the_next_comparison(tmp_path):
    def main(bench):
        bench.compare("first", {"a": lambda: None})
        assert len(bench.path.read_text().splitlines()) == 2
        bench.record("rate", gflops=12.5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(main, tmp_path, "--quick")
    rows = (tmp_path / "trial.jsonl").read_text().splitlines()
    assert json.loads(rows[2])["gflops"] == 12.5


def test_what_was_reached_of_a_target(tmp_path):
    def main(bench):
        bench.target("T1", 3.0, shape="small")
        bench.target("T2", np.arange(11.0))
        bench.target("T3", timing.Spread(median=2.0, p10=1.0, p90=4.0))

    names = ("case", "target", "reached", "p10", "p90", "shape")
    found = [[row.get(name) for name in names] for row in run(main, tmp_path)]
    assert found == [
        ["target T1", "T1", 3.0, None, None, "small"],
        ["target T2", "T2", 5.0, 1.0, 9.0, None],
        ["target T3", "T3", 2.0, 1.0, 4.0, None],
    ]


def test_rounds_and_seconds(tmp_path):
    def main(bench):
        assert bench.rounds(latency=True) == bench.rounds() == 4
        bench.compare("nap", {"a": lambda: time.sleep(0.01)})

    assert run(main, tmp_path, "--rounds", "4")[0]["rounds"] == 4
    assert run(main, tmp_path, "--rounds", "4", "--seconds", "0")[-1]["rounds"] == 1


@pytest.mark.parametrize(
    "flags, normal, latency", [([], 15, 200), (["--quick"], 3, 50)]
)
def test_default_rounds(tmp_path, flags, normal, latency):
    options = harness.parser().parse_args(["--out", str(tmp_path), *flags])
    bench = harness.Benchmark("trial", options)
    assert (bench.rounds(), bench.rounds(latency=True)) == (normal, latency)


def test_disagreement_stops_before_timing(tmp_path):
    def main(bench):
        bench.agree("loss", {"peer": 2.0, "ours": 2.00001}, rtol=1e-5)
        bench.agree("loss", {"peer": 2.0, "ours": 2.1})

    with pytest.raises(ValueError, match=r"ours gives 2.1, but peer gives 2.0"):
        run(main, tmp_path)
    options = harness.parser().parse_args(["--out", str(tmp_path)])
    bench = harness.Benchmark("trial", options)
    with pytest.raises(ValueError, match="ours gives nan"):
        bench.agree("loss", {"peer": 2.0, "ours": float("nan")})


def test_latency_table_shows_microseconds(tmp_path, capsys):
    def main(bench):
        bench.compare("nap", {"a": lambda: time.sleep(0.002)}, latency=True)

    run(main, tmp_path, "--rounds", "3")
    header, row, _ = capsys.readouterr().out.splitlines()[-3:]
    assert header.split()[:6] == ["p50", "us", "p99", "us", "min", "us"]
    assert 2000 <= float(row.split()[1].replace(",", "")) < 200_000


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_threads_restrict_the_process(tmp_path):
    program = (
        "import jax, os; from benchmarks import harness\n"
        "def main(bench):\n"
        "    assert bench.threads == len(os.sched_getaffinity(0)) == 1\n"
        "    assert os.environ['OMP_NUM_THREADS'] == '1'\n"
        "harness.run(main, 'trial')\n"
    )
    arguments = [sys.executable, "-c", program, "--threads", "1", "--out", tmp_path]
    subprocess.run(arguments, check=True, cwd=harness.RESULTS.parent.parent)
    with pytest.raises(ValueError, match="--threads must be 1 to .*, not 10000"):
        run(lambda bench: None, tmp_path, "--threads", "10000")


def test_only_own_changes_mark_a_commit(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", tmp_path, *identity, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    folder = tmp_path / "benchmarks"
    (folder / "results").mkdir(parents=True)
    (folder / "code.py").write_text("1")
    git("init")
    assert harness.git_commit(folder) is None  # nothing is committed yet
    git("add", "-A")
    git("commit", "-m", "one")
    commit = harness.git_commit(folder)
    assert len(commit) == 40
    (folder / "results" / "a.jsonl").write_text("{}")
    assert harness.git_commit(folder) == commit
    (folder / "code.py").write_text("2")
    assert harness.git_commit(folder) == commit + "+"
