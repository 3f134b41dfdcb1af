"""Loading a run: what it needs, and what is said when something is wrong with it."""

import json
import shutil

import jax
import numpy as np
import pytest
import serving_runs

import jaxrec
from jaxrec.core.checkpoint import Checkpoints
from jaxrec.models import lru
from jaxrec.serve.workdir import load


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    return tmp_path / "run"


def test_the_newest_best_parameters_are_served(copy, expected):
    cfg = serving_runs.config()
    newer = serving_runs.params(cfg, seed=9)
    checkpoints = Checkpoints(copy)
    checkpoints.save_best(8, newer, {})
    checkpoints.close()
    (answer,) = jaxrec.load(copy).recommend([["i1", "i2"]], k=5)
    scores = serving_runs.scores(cfg, newer, [1, 2])
    best = serving_runs.best(scores, 5, [1, 2])
    assert answer.ids == tuple(f"i{n}" for n in best)
    assert best != serving_runs.best(expected([1, 2]), 5, [1, 2])


def test_a_table_that_was_split_over_devices(tmp_path):
    """Training rounds 41 rows up to 44 for 4 shards; the rest is never answered."""
    cfg = serving_runs.config(table_multiple=4)
    params = serving_runs.params(cfg)
    params["item_bias"] = params["item_bias"].at[41:].set(1e6)
    serving_runs.write(tmp_path / "run", parallel={"model": 4})
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save_best(9, params, {})
    checkpoints.close()
    (answer,) = load(tmp_path / "run").recommend([[]], k=40)
    assert sorted(answer.ids) == sorted(serving_runs.item_ids()[1:])


def test_without_titles(tmp_path):
    serving_runs.write(tmp_path / "run", titles=False)
    (answer,) = load(tmp_path / "run").recommend([["i1"]], k=2)
    assert answer.titles == ("", "")


def test_no_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="workdir .*none: no such directory"):
        load(tmp_path / "none")


@pytest.mark.parametrize("name", ["config.json", "ids.npz", "checkpoints"])
def test_something_is_missing(copy, name):
    path = copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}.* missing; want a directory"):
        load(copy)


def test_several_things_are_missing(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="config.json, ids.npz, checkpoints/best missing"
    ):
        load(tmp_path)


def test_no_best_checkpoint_yet(copy):
    shutil.rmtree(copy / "checkpoints" / "best")
    (copy / "checkpoints" / "best").mkdir()
    with pytest.raises(FileNotFoundError, match="no best checkpoint in"):
        load(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.json is no JSON"),
        ("[]", r"config\.model\.name is missing"),
        ('{"model": {}}', r"config\.model\.name is missing"),
        ('{"model": {"name": "lrv"}}', "model.name 'lrv' is unknown.*'lru'"),
        ('{"model": {"name": "lru", "dimm": 3}}', r"config\.model\.dimm: unknown key"),
    ],
)
def test_a_config_with_an_error(copy, text, message):
    (copy / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(copy)


def test_a_checkpoint_of_another_architecture(copy):
    model = serving_runs.MODEL | {"dim": 32}
    (copy / "config.json").write_text(json.dumps({"model": model}))
    with pytest.raises(ValueError, match=r"another architecture .*\[128\], .*\[64\]"):
        load(copy)


def test_ids_of_another_run(copy):
    np.savez(copy / "ids.npz", item_ids=serving_runs.item_ids(7))
    with pytest.raises(ValueError, match=r"another architecture .*\[8, 16\].*\[41"):
        load(copy)


def test_damaged_ids(copy):
    data = (copy / "ids.npz").read_bytes()
    (copy / "ids.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"ids\.npz: "):
        load(copy)
    np.savez(copy / "ids.npz", user_ids=np.array(["u"]))
    with pytest.raises(ValueError, match=r"ids\.npz: .*item_ids"):
        load(copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "last"}, "checkpoint: only 'best' can be served, got 'last'"),
        ({"lengths": ()}, r"lengths: want one or more of 1 or more, got \(\)"),
        ({"lengths": (0, 4)}, "lengths: want one or more"),
    ],
)
def test_impossible_arguments(run, options, message):
    with pytest.raises(ValueError, match=message):
        load(run[0], **options)


def test_parameters_come_back_whole(run):
    """What is served are the parameters of the run, not other ones of their shape."""
    workdir, cfg, params = run
    abstract = jax.eval_shape(lambda: lru.init(jax.random.key(0), cfg))
    restored = Checkpoints(workdir).restore_best(abstract).tree
    jax.tree.map(np.testing.assert_array_equal, restored, params)
