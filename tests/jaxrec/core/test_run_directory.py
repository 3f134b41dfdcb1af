"""Whose a directory is, before a training begins or goes on in it."""

import json

import pytest

from jaxrec.core.run_directory import as_workdir, claim


def config(steps, schedule="cosine", seed=1):
    return {"seed": seed, "train": {"steps": steps}, "optim": {"schedule": schedule}}


def begun(path, steps, schedule="cosine"):
    (path / "checkpoints" / "last" / str(steps)).mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config(steps, schedule)))


def test_fewer_steps_than_trained_are_refused(tmp_path, caplog):
    begun(tmp_path, 60)
    with pytest.raises(ValueError, match="train.steps=30: .* has trained 60 steps"):
        claim(tmp_path, config(30), ["train.steps"])
    assert not caplog.records
    assert claim(tmp_path, config(80), ["train.steps"])
    assert "train.steps was 60, now 80: the cosine schedule" in caplog.text


def test_a_constant_learning_rate_takes_more_steps_without_a_word(tmp_path, caplog):
    begun(tmp_path, 60, "constant")
    assert claim(tmp_path, config(80, "constant"), ["train.steps"])
    assert not caplog.records


def test_a_directory_without_checkpoints_belongs_to_nobody(tmp_path):
    assert not claim(tmp_path / "run", config(5), [])
    assert not claim(tmp_path / "run", config(5, seed=2), [])
    begun(tmp_path / "run", 5)
    with pytest.raises(ValueError, match="seed: 1 there, 2 now"):
        claim(tmp_path / "run", config(5, seed=2), [])


def test_a_file_is_no_working_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file, not a directory"):
        as_workdir(tmp_path / "file")
    assert as_workdir(tmp_path / "new") == tmp_path / "new"
