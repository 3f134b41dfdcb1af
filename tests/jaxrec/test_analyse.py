"""python -m jaxrec.analyse: table, report and pictures, and one line for errors."""

import contextlib
import io
import json
import re
import subprocess
import sys

import analysis_runs
import numpy as np
import pytest

from jaxrec import analyse
from jaxrec.eval import analysis_plots, analysis_report


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Directory with runs "ae", "hstu" and "lru"."""
    folder = tmp_path_factory.mktemp("analyse")
    section = analysis_runs.write_data(folder)
    analysis_runs.write(folder / "ae", section, "bert4rec")
    analysis_runs.write(folder / "hstu", section, "hstu")
    analysis_runs.write(folder / "lru", section, "lru")
    return folder


@pytest.fixture(scope="module")
def compared(runs):
    """Directory and standard output of a comparison."""
    out, text = runs / "out", io.StringIO()
    arguments = [f"--workdir={runs / 'ae'}", f"--compare={runs / 'hstu'}"]
    with contextlib.redirect_stdout(text):
        assert analyse.main([*arguments, "--users=4", f"--out={out}"]) == 0
    return out, text.getvalue()


def cells(line):
    return [part.strip() for part in line.split("|")]


def test_two_runs_side_by_side(compared):
    out, text = compared
    assert "ae: bert4rec, both ways, 1 blocks, on " in text
    assert "hstu: hstu, causal, 1 blocks, on " in text
    lines = text[text.index("block 0") :].splitlines()
    assert cells(lines[0])[1:] == [
        "ae: all keys seen",
        "ae: keys not after the query",
        "hstu: all keys seen",
    ]
    assert [cell.split() for cell in cells(lines[1])[1:]] == [
        ["model", "random", "shuffled"]
    ] * 3
    found = json.loads((out / "analysis.json").read_text())
    assert list(found) == ["ae", "hstu"] and found["hstu"]["pointwise"]
    rows = {cells(line)[0]: cells(line)[1:] for line in lines[2:]}
    figure = found["ae"]["views"]["all"]["model"]["figures"]["locality_1"]
    assert rows["locality_1"][0].startswith(
        f"{figure['mean'][0]:.3f} ± {figure['se'][0]:.3f}  "
    )
    assert "-" not in "".join(rows["rank_90"])
    bars = [[m.start() for m in re.finditer(r" \| ", line)] for line in lines[:19]]
    assert len(set(map(tuple, bars))) == 1


def test_report_and_pictures(compared):
    out, text = compared
    report = (out / "analysis.md").read_text()
    assert f"python -m jaxrec.analyse --workdir={out.parent / 'ae'}" in report
    table = text[text.index("block 0") : text.index("\n\nanalysis.md")]
    assert table in report
    for said in (
        "## What was measured",
        "## What the figures do not mean",
        "A causal softmax matrix always has full rank",
        "Weights of HSTU are SiLU of scores",
    ):
        assert said in report
    assert "no attention" not in report
    shown = re.findall(r"!\[(.*?)\]\((.*?)\)", report)
    names = ["tables", "spectra", "distance", "heat_ae", "heat_hstu"]
    assert shown == [(f"{name}.png",) * 2 for name in names]
    for name, _ in shown:
        assert (out / name).read_bytes().startswith(b"\x89PNG")
        assert (out / name).stat().st_size > 10_000


def lines_of(axes):
    return {line.get_label(): line.get_data() for line in axes.get_lines()}


def test_what_is_drawn(compared):
    results = json.loads((compared[0] / "analysis.json").read_text())
    (axes,) = analysis_plots._distances(results).axes
    found = lines_of(axes)
    views = ["ae", "ae, keys not after the query", "hstu"]
    kinds = ["{}", "{}: random", "{}: shuffled"]
    assert list(found) == [kind.format(view) for view in views for kind in kinds]
    x, y = found["ae: random"]
    wanted = results["ae"]["views"]["all"]["random"]["mass_by_distance"][0]
    np.testing.assert_array_equal(x, np.arange(len(wanted)))
    np.testing.assert_array_equal(y, wanted)
    (axes,) = analysis_plots._spectra(results).axes
    x, y = lines_of(axes)["hstu"]
    sigma = results["hstu"]["views"]["all"]["model"]["singular_values"][0]
    np.testing.assert_allclose(y, np.array(sigma[: len(x)]) / sigma[0])
    figure = analysis_plots._heat("ae", results["ae"])
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    matrices = np.array(results["ae"]["example"]["weights"])[0]  # (h, n, n)
    assert len(images) == 2 * len(matrices)
    for head, matrix in enumerate(matrices):
        np.testing.assert_array_equal(images[head], matrix)
        nearest = images[len(matrices) + head]
        assert np.linalg.matrix_rank(nearest) == analysis_plots.HEAT_RANK
        assert np.linalg.norm(nearest - matrix) < 0.5 * np.linalg.norm(matrix)


def test_weights_that_are_all_negative(compared):
    results = json.loads((compared[0] / "analysis.json").read_text())
    weights = -np.abs(results["hstu"]["example"]["weights"])
    example = results["hstu"]["example"] | {"weights": weights.tolist()}
    figure = analysis_plots._heat("x", results["hstu"] | {"example": example})
    figure.canvas.draw()
    (low, high), *_ = [a.images[0].get_clim() for a in figure.axes if a.images]
    assert low == -high < 0


def test_a_run_without_attention(runs, capsys):
    assert analyse.main([f"--workdir={runs / 'lru'}", "--users=3"]) == 0
    text = capsys.readouterr().out
    assert "lru: lru has no attention to measure\n" in text
    assert "lru: recurrence, no attention" in text
    out = runs / "lru" / "analysis"
    assert {path.name for path in out.iterdir()} == {
        *("analysis.json", "analysis.md", "distance.png", "tables.png")
    }
    assert "A recurrent model has no attention" in (out / "analysis.md").read_text()


def test_labels():
    assert analysis_report.labels(["runs/a", "b/"]) == ["a", "b"]
    assert analysis_report.labels(["x/a", "y/a"]) == ["x/a", "y/a"]
    assert analysis_plots.heat_file("/x/a b") == "heat_x_a_b.png"


def test_errors_of_the_user_are_one_line(runs, capsys, tmp_path):
    run = f"--workdir={runs / 'ae'}"
    for arguments, message in (
        ([run, "--users=0"], "error: users: want 1 or more, got 0\n"),
        ([run, "--part=train"], "error: part must be one of ['test', 'valid'], got"),
        ([run, f"--compare={tmp_path / 'x'}"], f"error: workdir {tmp_path / 'x'}: no "),
        ([f"--workdir={tmp_path}"], f"error: workdir {tmp_path}: config.json, ids.npz"),
    ):
        assert analyse.main(arguments) == 2
        out, err = capsys.readouterr()
        assert err.startswith(message) and err.count("\n") == 1 and out == ""


def test_as_a_program(tmp_path):
    command = [sys.executable, "-m", "jaxrec.analyse", f"--workdir={tmp_path / 'x'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"error: workdir {tmp_path / 'x'}: no such directory\n"
