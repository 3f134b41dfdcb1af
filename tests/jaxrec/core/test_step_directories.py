"""Replacing and removing steps, interrupted before every single change on the disk."""

import os
import shutil
import sys

import pytest

from jaxrec.core import step_directories

CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree")


class Killed(BaseException):
    """Not an Exception: nothing may catch it, as nothing can catch SIGKILL."""


class _Killer:
    """Raises before the n-th change of the file system; an audit hook is for ever."""

    left = None

    def __call__(self, event, _):
        if self.left is not None and event in CHANGES:
            if self.left == 0:
                raise Killed
            self.left -= 1


@pytest.fixture(scope="module")
def killer():
    killer = _Killer()
    sys.addaudithook(killer)
    return killer


def make(root, name, content):
    (root / name / "deep").mkdir(parents=True)
    (root / name / "deep" / "file").write_text(content)


def content(root, step):
    return (root / str(step) / "deep" / "file").read_text()


def interrupted(killer, root, prepare, action, check):
    """Runs `action` from the same start, killed before change 0, 1, 2, ..."""
    for count in range(100):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        prepare(root)
        killer.left = count
        try:
            action(root)
        except Killed:
            finished = False
        else:
            finished = True
        finally:
            killer.left = None
        check(root)
        step_directories.recover(root)
        check(root)
        names = [entry.name for entry in root.iterdir()]
        assert all(name.isdecimal() for name in names), names
        if finished:
            return count
    raise AssertionError("never finished")


def test_replacing_keeps_the_old_or_has_the_new(tmp_path, killer):
    def replace(root):
        step_directories.recover(root)
        step_directories.set_aside(root, 2)
        make(root, "2.orbax-checkpoint-tmp", "new")
        (root / "2.orbax-checkpoint-tmp").rename(root / "2")
        step_directories.prune(root, 2, keep=2)

    def check(root):
        assert content(root, 1) == "one"
        if 2 in step_directories.steps(root):
            assert content(root, 2) in ("old", "new")
        else:  # it comes back
            assert content(root, "2.replaced") == "old"

    def prepare(root):
        make(root, "1", "one")
        make(root, "2", "old")

    changes = interrupted(killer, tmp_path / "root", prepare, replace, check)
    assert changes >= 7
    assert content(tmp_path / "root", 2) == "new"


def test_pruning_never_loses_what_stays(tmp_path, killer):
    def prepare(root):
        for step in (1, 5, 20, 30, 100):
            make(root, str(step), f"content {step}")

    def check(root):
        saved = step_directories.steps(root)
        assert {5, 20} <= set(saved)
        for step in saved:  # whole, or gone: never half
            assert content(root, step) == f"content {step}"

    def prune(root):
        step_directories.prune(root, 20, keep=2)

    changes = interrupted(killer, tmp_path / "root", prepare, prune, check)
    assert changes >= 12
    assert step_directories.steps(tmp_path / "root") == [5, 20]


def test_what_was_set_aside_comes_back_even_if_nothing_can_be_deleted(
    tmp_path, monkeypatch
):
    make(tmp_path, "1.orbax-checkpoint-tmp", "half")
    make(tmp_path, "1.replaced", "old")
    make(tmp_path, "2.removed", "gone")

    def busy(path):
        raise OSError(39, "Directory not empty", str(path))

    monkeypatch.setattr(shutil, "rmtree", busy)
    with pytest.raises(OSError, match="Directory not empty"):
        step_directories.recover(tmp_path)
    assert content(tmp_path, 1) == "old"
    monkeypatch.undo()
    step_directories.recover(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]


def test_only_plain_numbers_are_steps(tmp_path):
    for name in ("7", "12", "12.replaced", "3.removed", "x", "9.orbax-checkpoint-tmp"):
        os.mkdir(tmp_path / name)
    assert step_directories.steps(tmp_path) == [7, 12]
    assert step_directories.steps(tmp_path / "absent") == []
    step_directories.recover(tmp_path / "absent")
    step_directories.recover(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["12", "7", "x"]
