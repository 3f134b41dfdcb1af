"""Every shipped config, made tiny, runs, resumes and answers."""

import os

import numpy as np
import pytest
from tiny_runs import CONFIGS, check_workdir, losses, tiny

from jaxrec.core.config_file import load_config
from jaxrec.data import load
from jaxrec.tasks import next_item

REAL = ["ml1m", "ml100k", "beauty", "toys", "games", "yelp", "beauty_sasrec"]


def test_the_default_knows_its_ceiling_and_resumes(tmp_path):
    config = tiny("synthetic", num_users=60, num_items=40, clusters=4, events_max=25)
    results = next_item.run(config, tmp_path)
    rows = check_workdir(tmp_path, results)
    assert list(rows) == ["lru", "popularity", "transitions", "ceiling"]
    assert rows["popularity"]["recall@10"] < rows["ceiling"]["recall@10"]
    assert next_item.run(config, tmp_path) == results
    config.optim.lr = 0.5
    with pytest.raises(ValueError, match="optim.lr: 0.008 there, 0.5 now"):
        next_item.run(config, tmp_path)


def test_resuming_a_training_with_dropout_is_exact(tmp_path):
    config = tiny("synthetic", num_users=60, num_items=40, clusters=4, events_max=25)
    whole = next_item.run(config, tmp_path / "whole")

    class Crash(Exception):
        pass

    class Crashing(next_item.NextItem):
        def __init__(self, *args):
            super().__init__(*args)
            make, self.batch = self.batch, self.crash
            self.make = make

        def crash(self, step):
            if step == 5:
                raise Crash
            return self.make(step)

    original, next_item.NextItem = next_item.NextItem, Crashing
    try:
        with pytest.raises(Crash):
            next_item.run(config, tmp_path / "crashed")
    finally:
        next_item.NextItem = original
    assert next_item.run(config, tmp_path / "crashed") == whole
    assert losses(tmp_path / "crashed") == losses(tmp_path / "whole")


@pytest.mark.parametrize(
    ("loss", "dtype"),
    [("sampled_softmax", "float32"), ("uniform_negatives", "bfloat16")],
)
def test_losses_and_mixed_precision_by_name(tmp_path, loss, dtype):
    config = tiny("synthetic", num_users=40, num_items=40, clusters=4, events_max=25)
    config.loss.name, config.model.compute_dtype = loss, dtype
    config.eval.sampled_negatives = 10
    results = next_item.run(config, tmp_path)
    rows = check_workdir(tmp_path, results)
    assert "sampled10/recall@10" in rows["lru"]


def test_the_large_catalogue_config(tmp_path):
    data = {"num_users": 30, "num_items": 5000, "num_events": 40}
    data["cache"] = str(tmp_path / "cache")
    config = tiny("xlong", **data)
    config.eval.max_users = 10
    results = next_item.run(config, tmp_path / "run")
    rows = check_workdir(tmp_path / "run", results)
    assert list(rows) == ["lru"]


def test_a_users_own_file(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["who,what,when"]
    lines += [f"u{u},i{rng.integers(20)},{t}" for u in range(30) for t in range(8)]
    (tmp_path / "events.csv").write_text("\n".join(lines))
    config = tiny("custom", path=str(tmp_path / "events.csv"))
    config.data.columns = {"user": "who", "item": "what", "time": "when", "rating": ""}
    config.data.cache = str(tmp_path / "cache")
    check_workdir(tmp_path / "run", next_item.run(config, tmp_path / "run"))


@pytest.mark.skipif(
    not os.environ.get("JAXREC_DATA_DIR"), reason="JAXREC_DATA_DIR is not set"
)
@pytest.mark.parametrize("name", REAL)
def test_real_data_load_by_name(tmp_path, name):
    config = load_config(f"{CONFIGS / 'lrurec.py'}:{name}")
    config.data.cache = str(tmp_path)
    split = load(config.data)
    assert len(split.test) > 900
    assert split.sequences.values.min() == 1


def test_changed_data_are_refused_and_the_run_stays_whole(tmp_path):
    lines = [f"u{u} " + " ".join(f"i{i}" for i in range(u % 5, 9)) for u in range(20)]
    source = tmp_path / "events.txt"
    source.write_text("\n".join(lines))
    config = tiny("custom", path=str(source), cache=str(tmp_path / "cache"))
    next_item.run(config, tmp_path / "run")
    ids = (tmp_path / "run/ids.npz").read_bytes()
    source.write_text("\n".join(lines).replace("i8", "z8"))
    with pytest.raises(ValueError, match="data of 'custom' have changed since the run"):
        next_item.run(config, tmp_path / "run")
    assert (tmp_path / "run/ids.npz").read_bytes() == ids


def test_a_start_that_failed_does_not_own_the_directory(tmp_path):
    config = tiny("synthetic", num_users=40, num_items=40, clusters=4, events_max=25)
    config.train.monitor = "recal@10"
    with pytest.raises(ValueError, match="did you mean 'recall@10'"):
        next_item.run(config, tmp_path)
    config.train.monitor = "recall@10"
    check_workdir(tmp_path, next_item.run(config, tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optim.lr", -1.0, "optim.lr: want above 0, got -1.0"),
        ("optim.clip_norm", -1.0, "optim.clip_norm: want 0 or more"),
        ("train.steps", 0, "train.steps: want 1 or more, got 0"),
        ("data.events_min", 2, "events_min=2 is out of range"),
    ],
)
def test_values_out_of_range_are_refused_at_once(tmp_path, key, value, message):
    config = tiny("synthetic", num_users=40, num_items=40, clusters=4, events_max=25)
    section, name = key.split(".")
    config[section][name] = value
    with pytest.raises(ValueError, match=message):
        next_item.run(config, tmp_path)


def test_a_workdir_that_is_a_file_and_data_without_targets(tmp_path):
    config = tiny("synthetic", num_users=40, num_items=40, clusters=4, events_max=25)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file, not a directory"):
        next_item.run(config, tmp_path / "file")
    (tmp_path / "one.txt").write_text("u1 a\n")
    config = tiny("custom", path=str(tmp_path / "one.txt"), cache=str(tmp_path))
    with pytest.raises(ValueError, match="has no cases: no user has enough events"):
        next_item.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'ml1m'"):
        load_config(f"{CONFIGS / 'lrurec.py'}:ml1mm")
    config = tiny("synthetic", num_users=40, num_items=40, clusters=4, events_max=25)
    config.loss.name = "softmaxx"
    with pytest.raises(ValueError, match="did you mean 'softmax'"):
        next_item.run(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
