"""The shipped HSTU config, made tiny, runs and answers."""

import numpy as np
import pytest
from tiny_runs import CONFIGS, WORLD, check_workdir, tiny

import jaxrec
from jaxrec import recommend
from jaxrec.core.config_file import load_config
from jaxrec.serve.users import user_history
from jaxrec.tasks import masked_item, next_item

NAMES = ["ml1m", "ml100k", "beauty", "toys", "games", "yelp", "beauty_sasrec"]


def test_the_default_trains_and_answers(tmp_path):
    config = tiny(config="hstu", **WORLD)
    results = next_item.run(config, tmp_path)
    rows = check_workdir(tmp_path, results, "hstu")
    assert list(rows) == ["hstu", "popularity", "transitions", "ceiling"]
    rec = jaxrec.load(tmp_path)
    history = [f"i{n}" for n in range(1, 19)]  # longer than the window of 12
    state = rec.start()
    for n, item in enumerate(history, 1):
        state = rec.observe(state, item)
        if n in (1, 12, 13, 18):
            (stepped,), (whole,) = rec.top(state, 5), rec.recommend([history[:n]], 5)
            assert stepped.ids == whole.ids
            np.testing.assert_allclose(stepped.scores, whole.scores, rtol=0, atol=1e-4)


def test_data_with_time_stamps_train_a_model_that_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        f"u{user},i{item},{1_700_000_000 + 10 ** int(step / 3) * step}"
        for user in range(40)
        for step, item in enumerate(rng.permutation(20)[:15])
    ]
    file = tmp_path / "events.csv"
    file.write_text("\n".join(["user,item,time", *rows]) + "\n")
    where = {"path": str(file), "cache": str(tmp_path / "cache")}
    config = tiny("custom", config="hstu", **where)
    config.model.times, config.eval.sampled_negatives = True, 5
    results = next_item.run(config, tmp_path / "run")
    check_workdir(tmp_path / "run", results, "hstu")
    rec = jaxrec.load(tmp_path / "run")
    history, times = user_history(tmp_path / "run", "u7")
    assert rec.recommend([history], 5, times=[times])[0].scores != pytest.approx(
        rec.recommend([history], 5, times=[[0] * 15])[0].scores, abs=1e-5
    )
    assert recommend.main([f"--workdir={tmp_path / 'run'}", "--user=u7"]) == 0
    found = jaxrec.eval.analyse(tmp_path / "run", users=3, draws=1)
    assert found["views"]["all"]["model"]
    # Another clock, and the run is another one.
    file.write_text(file.read_text().replace(",17000", ",16000"))
    config.train.steps = 7
    with pytest.raises(ValueError, match="the data of .* have changed since the run"):
        next_item.run(config, tmp_path / "run")


def test_data_without_time_stamps_are_refused(tmp_path):
    config = tiny(config="hstu", **WORLD)
    config.model.times = True
    with pytest.raises(ValueError, match="times=true: the data 'synthetic' have no ti"):
        next_item.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["synthetic", "custom", "games2018", *NAMES])
def test_every_argument_is_a_whole_configuration(name):
    config = load_config(f"{CONFIGS / 'hstu.py'}:{name}")
    assert config.model.name == "hstu" and config.data.name == name
    assert config.loss.name == "uniform_negatives" and config.loss.mask_hits
    assert config.train.steps >= config.train.eval_every
    assert config.model.times == (name == "ml100k")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": {"name": "softmax"}}, "loss.mask_hits is for uniform_negatives, not"),
        ({"model": {"temperature": 0.0}}, "want temperature > 0, got 0.0"),
        ({"model": {"heads": 0}}, "want heads >= 1, got 0"),
    ],
)
def test_impossible_choices_are_refused_before_anything_is_written(
    tmp_path, change, message
):
    config = tiny(config="hstu", **WORLD)
    config.update(change)
    with pytest.raises(ValueError, match=message):
        next_item.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_masked_items_are_refused(tmp_path):
    config = tiny(config="hstu", **WORLD)
    with config.unlocked():
        config.batch.mask_probability = 0.2
    with pytest.raises(ValueError, match="model 'hstu' reads from left to right here"):
        masked_item.run(config, tmp_path / "run")


def test_unknown_data_are_refused():
    with pytest.raises(ValueError, match="hstu.py:ml1mm .* mean 'ml1m'"):
        load_config(f"{CONFIGS / 'hstu.py'}:ml1mm")
