"""Users of a run by raw id: their histories, and the nearest when there is none."""

import json

import numpy as np
import pytest
import serving_runs

from jaxrec.serve.users import nearest_ids, user_history


@pytest.fixture
def workdir(tmp_path):
    """A run on three users, without its checkpoint."""
    data = tmp_path / "events.csv"
    rows = ["ann,i1,5", "ann,i3,4", "bob,i2,1", "cyd,i4,9", "ann,i2,6"]
    data.write_text("user,item,time\n" + "\n".join(rows) + "\n")
    section = {"name": "custom", "path": str(data), "cache": str(tmp_path / "cache")}
    config = {"model": {"name": "lru"}, "data": section}
    (tmp_path / "config.json").write_text(json.dumps(config))
    users = np.array(["ann", "bob", "cyd"])
    np.savez(tmp_path / "ids.npz", item_ids=serving_runs.item_ids(4), user_ids=users)
    return tmp_path


def test_history_in_order_of_time(workdir):
    assert user_history(workdir, "ann") == (["i3", "i1", "i2"], [4, 5, 6])
    assert user_history(workdir, "bob") == (["i2"], [1])


def test_history_without_times(workdir):
    text = (workdir / "events.csv").read_text().splitlines()
    lines = [line.rpartition(",")[0] for line in text]
    (workdir / "events.csv").write_text("\n".join(lines) + "\n")
    assert user_history(workdir, "ann") == (["i1", "i3", "i2"], None)


def test_unknown_user(workdir):
    with pytest.raises(ValueError, match="user 'bo': .* such user; the nearest: bob"):
        user_history(workdir, "bo")


def test_a_user_that_is_no_longer_in_the_data(workdir):
    (workdir / "events.csv").write_text("user,item,time\nann,i1,5\nann,i2,6\n")
    with pytest.raises(ValueError, match="user 'cyd': the data of the run no longer"):
        user_history(workdir, "cyd")


def test_a_run_without_data(workdir):
    (workdir / "config.json").write_text(json.dumps({"model": {"name": "lru"}}))
    with pytest.raises(ValueError, match="its config has no data section"):
        user_history(workdir, "ann")


def test_nearest_by_number():
    ids = np.array(["1", "20", "300", "22", "5"])
    assert nearest_ids("21", ids) == ["20", "22", "5"]


def test_nearest_by_letters():
    ids = np.array(["anna", "bob", "hanna", "zoe"])
    assert nearest_ids("annna", ids)[:2] == ["anna", "hanna"]


def test_nearest_among_many():
    ids = np.array([f"user{n:06d}" for n in range(50_000)])
    assert "user012345" in nearest_ids("user012345x", ids)
