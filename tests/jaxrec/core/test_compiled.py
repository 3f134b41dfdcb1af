"""The cache of compiled programs: where it is, and that the user's choice stands."""

import os
import subprocess
import sys
from pathlib import Path

import jaxlib
import pytest

from jaxrec.core import compiled
from jaxrec.core.cache_directory import CACHE_DIRECTORY, cache_directory

ROOT = Path(__file__).parents[3]
PROGRAM = """
import jax
from jaxrec.core.compiled import keep_compiled_programs
print(keep_compiled_programs())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: x * 3)(2.0))
"""


def process(place, **choice):
    """A fresh process with a cache directory, when it has ended."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, "JAX_PLATFORMS": "cpu", CACHE_DIRECTORY: str(place), **choice},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )


def run(place, **choice):
    """The words that a fresh process prints with a cache directory."""
    done = process(place, **choice)
    assert "rror" not in done.stderr, done.stderr
    return done.stdout.split()


def test_the_second_process_finds_what_the_first_compiled(tmp_path):
    directory, value = run(tmp_path)
    assert Path(directory).parent == tmp_path / "compiled"
    assert Path(directory).name.startswith(f"{jaxlib.__version__}-")
    kept = {path.name: path.stat().st_mtime_ns for path in Path(directory).iterdir()}
    assert any(name.startswith("jit__lambda") for name in kept)
    assert run(tmp_path) == [directory, value] == [directory, "6.0"]
    after = {path.name: path.stat().st_mtime_ns for path in Path(directory).iterdir()}
    assert after == kept


def test_a_truncated_program_is_compiled_again(tmp_path):
    directory, _ = run(tmp_path)
    for path in Path(directory).iterdir():
        path.write_bytes(path.read_bytes()[:100])
    done = process(tmp_path)
    assert done.stdout.split()[1] == "6.0"


@pytest.mark.parametrize(
    "choice",
    [
        {"JAX_COMPILATION_CACHE_DIR": "{}/own"},
        {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    ],
)
def test_the_users_own_choice_is_left_alone(tmp_path, choice):
    choice = {name: value.format(tmp_path) for name, value in choice.items()}
    assert run(tmp_path, **choice) == ["None", "6.0"]
    assert not (tmp_path / "compiled").exists()


def test_processors_are_told_apart(monkeypatch):
    here = compiled._processor()
    assert compiled._processor() == here
    monkeypatch.setattr(compiled.platform, "machine", lambda: "another")
    assert compiled._processor() != here


def test_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_DIRECTORY, str(tmp_path))
    assert cache_directory() == tmp_path
    assert cache_directory("/elsewhere").as_posix() == "/elsewhere"
    monkeypatch.delenv(CACHE_DIRECTORY)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "jaxrec"
