"""The command line: what runs, and what a mistaken user is told."""

import importlib.machinery
import json
import logging
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from absl import logging as absl_logging

from jaxrec.core import cli
from jaxrec.core.progress import duration

CONFIG = """
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

def get_config(size="small"):
    if size not in ("small", "large"):
        raise ValueError(f"{size!r} is no size; did you mean small?")
    return ConfigDict({
        "entry": "toy_entry", "seed": 0, "size": size, "fail": "",
        "optim": {"lr": 0.1, "name": "adamw", "betas": (0.9, 0.99)},
        "train": {"steps": 10, "eval_first": False, "limit": placeholder(int)},
    })
"""
ENTRY = """
from jaxrec.core.config import check_same_run

def run(config, workdir):
    if config.fail == "value":
        int("seven")
    if config.fail == "file":
        open("no/such/file")
    if config.fail == "key":
        raise KeyError("lost")
    if config.fail == "interrupt":
        raise KeyboardInterrupt
    check_same_run(config, workdir, ["train"])
    ndcg = 0.125 * config.seed
    return {"test/ndcg@10": ndcg, "users": 12345, "steps": config.train.steps}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Runs the program in a directory with a configuration and an entry."""
    (tmp_path / "toy.py").write_text(CONFIG)
    (tmp_path / "toy_entry.py").write_text(ENTRY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_entry", raising=False)
    handler = absl_logging.get_absl_handler()
    before = handler.formatter, list(handler.filters), absl_logging.get_verbosity()

    def run(*arguments, config="toy.py", workdir="run"):
        given = [f"--config={config}"] if config else []
        given += [f"--workdir={workdir}"] if workdir else []
        return cli.main(["program", *given, *arguments])

    yield run
    handler.setFormatter(before[0])
    handler.filters[:] = before[1]
    absl_logging.set_verbosity(before[2])


def test_runs_the_entry_and_shows_the_results(toy, capsys):
    assert toy("--config.seed=3") == 0
    assert capsys.readouterr().out.splitlines() == [
        "                   test",
        "ndcg@10          0.3750",
        "users    12,345",
        "steps        10",
    ]
    results = json.loads(Path("run/results.json").read_text())
    assert results == {"test/ndcg@10": 0.375, "users": 12345, "steps": 10}


def test_results_in_columns():
    results = {
        **{"valid/ndcg@10": 0.25, "test/ndcg@10": 0.2, "test/ndcg@10_se": 0.01},
        **{"floor/ndcg@10": 1e-5, "test/loss_se": 3.0, "floor/users": 1000},
    }
    assert cli.results_table(results).splitlines() == [
        "          valid             test  floor",
        "ndcg@10  0.2500  0.2000 ± 0.0100  1e-05",
        "loss_se                   3.0000",
        "users                             1,000",
    ]
    assert cli.results_table({}) == ""
    assert cli.results_table({"a": 1, "long": float("nan")}) == ("a       1\nlong  nan")


def test_overrides_of_every_type(toy):
    given = [
        *("--config.optim.lr", "3e-4", "--config.optim.name=sgd"),
        *("--config.optim.betas=(0.5,0.75)", "--config.train.eval_first"),
        *("--config.train.limit=7", "--config.seed=-1"),
    ]
    assert toy(*given, config="toy.py:large") == 0
    config = json.loads(Path("run/config.json").read_text())
    assert config["size"] == "large" and config["seed"] == -1
    assert config["optim"] == {"lr": 0.0003, "name": "sgd", "betas": [0.5, 0.75]}
    assert config["train"] == {"steps": 10, "eval_first": True, "limit": 7}


def test_a_flag_that_is_false(toy):
    assert toy("--config.train.eval_first=true", "--noconfig.train.eval_first") == 0
    assert not json.loads(Path("run/config.json").read_text())["train"]["eval_first"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config.optim.learnig_rate=1"],
            "--config.optim.learnig_rate: unknown key, did you mean --config.optim.lr? "
            "Keys there: betas, lr, name",
        ),
        (["--config.lr=1"], "did you mean --config.optim.lr?"),
        (["--config.optm.lr=1"], "did you mean --config.optim.lr?"),
        (["--config.train.stps=1"], "did you mean --config.train.steps?"),
        (["--config.sed=1"], "did you mean --config.seed?"),
        (["--config.optim.lr=fast"], "--config.optim.lr=fast: could not convert"),
        (["--config.train.steps=1.5"], "--config.train.steps=1.5: invalid literal"),
        (["--config.train.limit=x"], "--config.train.limit=x: invalid literal"),
        (["--config.train.eval_first=maybe"], "--config.train.eval_first=maybe"),
        (["--config.optim=3"], "--config.optim=3: Failed to parse"),
        (["--config.seed"], "Missing value for flag --config.seed"),
        (["--noconfig.seed"], "--noconfig.seed: seed is not true or false"),
        (["--workdr=x"], "Unknown command line flag 'workdr'. Did you mean: workdir ?"),
        (["seed=3"], "'seed=3' is no flag; flags begin with --"),
        (["--config.entry=toy_enty"], "there is no module 'toy_enty'"),
        (
            ["--config.entry=jaxrec.core.confg"],
            "no module 'jaxrec.core.confg', did you mean jaxrec.core.config?",
        ),
        (["--config.entry=json"], "module 'json' has no run(config, workdir)"),
        (["--config.entry="], "config.entry is missing"),
        (["--config.fail=file"], "No such file or directory: 'no/such/file'"),
        (["--coordinator=localhost:1"], "belong together; got localhost:1, None and"),
    ],
)
def test_a_mistake_is_told_in_one_line(toy, capsys, arguments, message):
    assert toy(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ") and message in line


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"config": ""}, "error: --config=FILE.py is missing"),
        ({"workdir": ""}, "error: --workdir=DIRECTORY is missing"),
        (
            {"config": "tyo.py"},
            "error: there is no configuration file tyo.py; did you mean toy.py?",
        ),
        ({"config": "none/x.py"}, "error: there is no configuration file none/x.py"),
        ({"config": "toy.py:tiny"}, "error: 'tiny' is no size; did you mean small?"),
        ({"config": "toy_entry.py"}, "toy_entry.py: a configuration file defines get_"),
        ({"config": "plain.py:x"}, "error: plain.py:x: this file takes no argument"),
        (
            {"config": "needs.py"},
            "error: needs.py: needs an argument, as in needs.py:n",
        ),
        ({"config": "text.txt"}, "text.txt: a configuration file is a Python file"),
    ],
)
def test_a_wrong_configuration_file(toy, capsys, given, message):
    Path("plain.py").write_text("def get_config(): return {'entry': 'toy_entry'}")
    Path("needs.py").write_text("def get_config(n): return {'entry': 'toy_entry'}")
    Path("text.txt").write_text("")
    assert toy(**given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message) or message in line


def test_an_override_without_configuration(toy, capsys):
    assert toy("--config.seed=1", config="") == 2
    assert "--config.KEY=VALUE needs --config" in capsys.readouterr().err


def test_an_error_of_several_lines_stays_readable(toy, capsys):
    assert toy() == 0
    assert toy("--config.seed=1", "--config.train.steps=20") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: ") and lines[1] == "  seed: 0 there, 1 now"


def test_unexpected_errors_keep_their_traceback(toy):
    with pytest.raises(ValueError, match="invalid literal"):
        toy("--config.fail=value")  # int() failed: nobody meant to say this to a user
    with pytest.raises(KeyError, match="lost"):
        toy("--config.fail=key")
    # Raised inside our code, but not by it: round() did not like its argument.
    with pytest.raises(ValueError, match="cannot convert"), cli.readable_errors():
        duration(float("nan"))


def test_a_module_that_an_entry_lacks_is_unexpected(toy):
    Path("lacking_entry.py").write_text("import not_installed_anywhere")
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        toy("--config.entry=lacking_entry")


def test_debug_shows_the_traceback(toy):
    with pytest.raises(FileNotFoundError, match="no/such/file"):
        toy("--config.fail=file", "--debug")
    with pytest.raises(ValueError, match="unknown key"):
        toy("--config.sed=1", "--debug=true")


def test_interrupted(toy, capsys):
    assert toy("--config.fail=interrupt") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_library_that_an_option_needs(capsys, monkeypatch):
    from jaxrec.data import parquet

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with cli.readable_errors() as outcome:
        parquet.read("a.parquet", {})
    assert outcome.status == 2
    assert "error: a.parquet: reading Parquet needs pyarrow" in capsys.readouterr().err


def test_our_own_exceptions_fail_with_status_1(capsys):
    from jaxrec.core.checkpoint import CheckpointSaveError

    with cli.readable_errors() as outcome:
        raise CheckpointSaveError("checkpoint x was not saved: full")
    assert outcome.status == 1
    assert capsys.readouterr().err == "error: checkpoint x was not saved: full\n"


def test_what_a_program_itself_refuses_is_told_in_a_line(tmp_path):
    """`python -m` gives the module another name than it has when imported."""
    (tmp_path / "probe.csv").write_text("0,0\n0,20\n")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "jaxbio.sort", __file__, "--rate=30000"),
            *(f"--positions={tmp_path / 'probe.csv'}", f"--out={tmp_path}"),
        ],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith("error: ")
    assert "no .npy file" in ran.stderr and "Traceback" not in ran.stderr


def test_the_module_of_a_program_is_that_of_its_name():
    spec = importlib.machinery.ModuleSpec("jaxrec.recommend", None)
    for names, module in (
        ({"__name__": "jaxrec.core.cli", "__spec__": None}, "jaxrec.core.cli"),
        ({"__name__": "__main__", "__spec__": spec}, "jaxrec.recommend"),
        ({"__name__": "__main__", "__spec__": None}, "__main__"),
        ({}, ""),
    ):
        assert cli._module_of(names) == module


def test_help(toy, capsys):
    assert toy("--help", config="", workdir="") == 0
    assert "usage: python -m jaxrec.main" in capsys.readouterr().out
    assert toy("--help", "--config.seed=5") == 0
    assert '"seed": 5' in capsys.readouterr().out


def test_log_messages_of_libraries_are_left_out(toy):
    assert toy() == 0
    handler = absl_logging.get_absl_handler()

    def shown(path, level, logger="absl"):
        record = logging.LogRecord(logger, level, path, 1, "message", (), None)
        return bool(handler.filter(record))

    assert shown("/lib/jaxrec/core/train.py", logging.INFO)
    assert shown("/lib/site-packages/orbax/checkpoint/x.py", logging.WARNING)
    assert not shown("/lib/site-packages/orbax/checkpoint/x.py", logging.INFO)
    assert not shown("/lib/jax/xla_bridge.py", logging.INFO, "jax._src.xla_bridge")
    assert shown("/lib/jax/xla_bridge.py", logging.WARNING, "jax._src.xla_bridge")


def test_the_program_itself(tmp_path):
    """As a user starts it; and one process of one, joined by flags."""
    (tmp_path / "toy.py").write_text(CONFIG)
    entry = """
        import jax
        def run(config, workdir):
            return {"processes": jax.process_count(), "seed": config.seed}
    """
    (tmp_path / "toy_entry.py").write_text(textwrap.dedent(entry))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    paths = [str(tmp_path), str(Path(cli.__file__).parents[2])]
    command = [
        *(sys.executable, "-m", "jaxrec.main", "--config=toy.py:large"),
        *("--workdir=run", "--config.seed=4", "--distributed"),
        *(f"--coordinator=localhost:{port}", "--processes=1", "--process_id=0"),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["processes", "1", "seed", "4"]


def test_nothing_heavy_is_imported_to_refuse_a_flag():
    program = (
        "import sys; from jaxrec.core import cli; cli.main(['x', '--what']); "
        "print([m for m in ('jax', 'tensorflow_datasets', 'matplotlib', 'orbax') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr
