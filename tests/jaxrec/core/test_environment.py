"""environment.json: what it says, also outside a checkout and without git."""

import json
import shutil
import socket
import subprocess

import jax
import pytest

from jaxrec.core import environment


def test_file(tmp_path):
    environment.write_environment(tmp_path / "new")
    environment.write_environment(tmp_path / "new")  # a resumed run
    text = (tmp_path / "new" / "environment.json").read_text()
    found = json.loads(text)
    assert found["versions"]["jax"] == jax.__version__
    assert found["device_count"] == jax.device_count()
    assert found["process_count"] == 1
    assert found["command"] and found["date"].endswith("+00:00")
    name = socket.gethostname()
    assert len(name) < 6 or name not in text.replace(found["command"], "")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout whose only tracked file stands for the package."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    file = tmp_path / "environment.py"
    file.write_text("tracked")

    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet")
    monkeypatch.setattr(environment, "__file__", str(file))
    monkeypatch.delenv("GIT_DIR", raising=False)
    return file, git


def test_commit_and_dirt(checkout, monkeypatch):
    file, git = checkout
    assert environment._commit() == {"commit": None, "dirty": None}  # not tracked yet
    git("add", "environment.py")
    git("commit", "--quiet", "--message=first")
    commit = git("rev-parse", "HEAD")
    assert environment._commit() == {"commit": commit, "dirty": False}
    (file.parent / "untracked").write_text("")
    assert environment._commit() == {"commit": commit, "dirty": False}
    file.write_text("changed")
    assert environment._commit() == {"commit": commit, "dirty": True}
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as a git hook would set it
    assert environment._commit() == {"commit": commit, "dirty": True}


def test_without_git(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment._commit() == {"commit": None, "dirty": None}
