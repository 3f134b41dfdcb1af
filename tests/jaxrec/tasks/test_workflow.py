"""What a task's job checks before it goes on with a run."""

import pytest

from jaxrec.tasks import workflow


def test_fewer_steps_than_trained_are_refused(tmp_path, caplog):
    trained = tmp_path / "checkpoints" / "last" / "60"
    trained.mkdir(parents=True)
    (tmp_path / "config.json").write_text('{"train": {"steps": 60}}')
    with pytest.raises(ValueError, match="train.steps=30: .* has trained 60 steps"):
        workflow._check_steps(tmp_path, 30, "cosine")
    workflow._check_steps(tmp_path, 80, "constant")
    assert not caplog.records
    workflow._check_steps(tmp_path, 80, "cosine")
    assert "train.steps was 60, now 80: the cosine schedule" in caplog.text
