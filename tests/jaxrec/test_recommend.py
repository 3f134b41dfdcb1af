"""python -m jaxrec.recommend and .export: tables, and one line for errors."""

import functools
import subprocess
import sys

import pytest
import serving_runs

from jaxrec import export, recommend
from jaxrec.serve import workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the data of two users, u1 and u2."""
    folder = tmp_path_factory.mktemp("recommend")
    events = [("u1", n) for n in range(1, 8)] + [("u2", n) for n in range(8, 41)]
    lines = [f"{user},i{item},{time}" for time, (user, item) in enumerate(events)]
    (folder / "events.csv").write_text("user,item,time\n" + "\n".join(lines) + "\n")
    data = {"name": "custom", "path": str(folder / "events.csv")}
    data["cache"] = str(folder / "cache")
    cfg, params = serving_runs.write(folder / "run", data=data)
    return folder / "run", cfg, params


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Loads each run once, because compiling is what takes time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workdir, "load", functools.cache(workdir.load))
        yield


def best(run, history, k):
    scores = serving_runs.scores(*run[1:], history)
    numbers = serving_runs.best(scores, k, history)
    return [(f"i{n}", f"Title {n}", f"{scores[n]:.3f}") for n in numbers]


def table(text):
    """Cells of the table of recommendations, without its head."""
    lines = text[text.index("rank") :].splitlines()
    return [tuple(cell.strip() for cell in line.split("  ") if cell) for line in lines]


def test_a_user(run, capsys):
    assert recommend.main([f"--workdir={run[0]}", "--user=u1", "--k=3"]) == 0
    text = capsys.readouterr().out
    assert "history: 7 events, the last 5:" in text
    assert "i7    Title 7" in text
    assert "i2" not in text.split("rank")[0]
    expected = best(run, list(range(1, 8)), 3)
    assert table(text) == [
        ("rank", "item", "title", "score"),
        *((str(rank), *row) for rank, row in enumerate(expected, 1)),
    ]


def test_columns_are_aligned(run, capsys):
    recommend.main([f"--workdir={run[0]}", "--history=i1", "--k=10"])
    text = capsys.readouterr().out
    lines = text[text.index("rank") :].splitlines()
    assert len(lines) == 11
    assert len({len(line) for line in lines}) == 1  # scores end in one column
    assert len({line.index("Title") for line in lines[1:]}) == 1


def test_a_history_with_unknown_items(run, capsys):
    arguments = ["--history=i1 x  i2 9", "--k=2", "--include_seen"]
    assert recommend.main([f"--workdir={run[0]}", *arguments]) == 0
    text = capsys.readouterr().out
    assert text.startswith("unknown items, skipped: x 9\n")
    assert "history: 2 events, the last 2:" in text


def test_a_history_of_which_nothing_is_known(run, capsys):
    recommend.main([f"--workdir={run[0]}", "--history=i1,i2", "--k=1"])
    text = capsys.readouterr().out
    assert text.startswith("unknown items, skipped: i1,i2\n")
    assert "spaces between ids, not commas" in text
    assert "the answer is that for a new user" in text
    assert table(text)[1] == ("1", *best(run, [], 1)[0])


def test_an_empty_history(run, capsys):
    assert recommend.main([f"--workdir={run[0]}", "--history=", "--k=1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("rank")
    assert table(text)[1] == ("1", *best(run, [], 1)[0])


def test_without_titles_there_is_no_such_column(tmp_path, capsys):
    serving_runs.write(tmp_path / "run", titles=False)
    recommend.main([f"--workdir={tmp_path / 'run'}", "--history=i1", "--k=1"])
    assert table(capsys.readouterr().out)[0] == ("rank", "item", "score")


def test_a_portable_file(run, capsys, tmp_path):
    out = tmp_path / "model.jaxrec"
    flags = [f"--workdir={run[0]}", f"--out={out}"]
    assert export.main([*flags, "--platforms=cpu,gpu"]) == 2
    assert "unknown platform 'gpu'; known: cpu, cuda, tpu" in capsys.readouterr().err
    assert export.main([*flags, "--platforms=cpu"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: ")
    assert recommend.main([f"--portable={out}", "--history=i1 i2", "--k=3"]) == 0
    expected = best(run, [1, 2], 3)
    assert [row[1:] for row in table(capsys.readouterr().out)[1:]] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user=u3"], "error: user 'u3': the run has no such user; the nearest: u"),
        (["--history=i1", "--k=41"], r"error: k must be in 1..40 (the catalogue), got"),
        (["--history=i1", "--k=0"], "error: k must be in 1..40"),
    ],
)
def test_errors_of_the_user_are_one_line(run, capsys, arguments, message):
    assert recommend.main([f"--workdir={run[0]}", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert out == ""


def test_no_run(tmp_path, capsys):
    assert recommend.main([f"--workdir={tmp_path}", "--history=i1"]) == 2
    assert "config.json, ids.npz, checkpoints/best missing" in capsys.readouterr().err
    assert export.main([f"--workdir={tmp_path}", f"--out={tmp_path / 'x'}"]) == 2
    assert "checkpoints/best missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--workdir=x"],
        ["--workdir=x", "--user=1", "--history=2"],
        ["--portable=x", "--user=1"],
        ["--workdir=x", "--user=1", "--k=many"],
    ],
)
def test_wrong_flags(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        recommend.main(arguments)
    assert exit.value.code == 2
    assert "usage: python -m jaxrec.recommend" in capsys.readouterr().err


def test_as_programs(tmp_path):
    for name, arguments in (
        ("recommend", ["--history=1"]),
        ("export", [f"--out={tmp_path / 'x'}"]),
    ):
        command = [sys.executable, "-m", f"jaxrec.{name}", f"--workdir={tmp_path}"]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: workdir {tmp_path}: config.json")
        assert "Traceback" not in done.stderr
