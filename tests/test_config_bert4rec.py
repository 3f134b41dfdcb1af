"""The shipped BERT4Rec config, made tiny, runs, resumes and answers."""

import json

import numpy as np
import pytest
from tiny_runs import CONFIGS, WORLD, check_workdir, losses, tiny

import jaxrec
from jaxrec.core.config_file import load_config
from jaxrec.tasks import masked_item, next_item

NAMES = ["ml1m", "ml100k", "beauty", "toys", "games", "yelp", "beauty_sasrec"]


def test_the_default_trains_resumes_and_answers(tmp_path):
    config = tiny(config="bert4rec", **WORLD)
    results = masked_item.run(config, tmp_path)
    rows = check_workdir(tmp_path, results, "bert4rec")
    assert list(rows) == ["bert4rec", "popularity", "transitions", "ceiling"]
    assert (
        "items of the last 11 events masked" in (tmp_path / "results.txt").read_text()
    )
    assert masked_item.run(config, tmp_path) == results
    rec = jaxrec.load(tmp_path)
    history = [f"i{n}" for n in range(1, 19)]  # longer than the window of 12
    state = rec.start()
    for n, item in enumerate(history, 1):
        state = rec.observe(state, item)
        (stepped,), (whole,) = rec.top(state, 5), rec.recommend([history[:n]], 5)
        assert stepped.ids == whole.ids
        np.testing.assert_allclose(stepped.scores, whole.scores, rtol=0, atol=1e-5)


def test_padded_and_packed_batches_have_the_same_mean_loss(tmp_path):
    """One batch of the whole data: the same labels, each with the same outputs."""
    means = []
    for layout in ("packed", "padded"):
        config = tiny(config="bert4rec", **WORLD)
        config.model.dropout = config.model.dropout_attention = 0.0
        config.batch.layout, config.batch.size = layout, 60
        config.train.steps = config.train.eval_every = config.train.log_every = 1
        masked_item.run(config, tmp_path / layout)
        means.append(losses(tmp_path / layout)[0]["loss"])
    assert means[0] == pytest.approx(means[1], rel=1e-5)


def test_the_encoder_of_the_study_trains_on_both_tasks(tmp_path):
    base = tiny(config="sasrec", **WORLD)
    config = tiny(config="bert4rec", **WORLD)
    with config.unlocked():
        config.model = base.model.copy_and_resolve_references()
    config.model.causal, config.model.users = False, True
    config.batch.sse_item, config.batch.sse_user = 0.2, 0.3
    check_workdir(tmp_path, masked_item.run(config, tmp_path), "sar")
    rec = jaxrec.load(tmp_path)
    one, two = rec.recommend([["i1", "i2"]] * 2, k=5, users=["u1", "u2"])
    assert len(one) == 5 and one.scores != two.scores


def test_the_causal_encoder_trains_on_next_items(tmp_path):
    config = tiny(config="bert4rec", **WORLD)
    with config.unlocked():
        config.batch.bos_target = False
    config.model.causal = True
    check_workdir(tmp_path, next_item.run(config, tmp_path), "bert4rec")


@pytest.mark.parametrize(
    "name", ["sampled_softmax", pytest.param("bce", marks=pytest.mark.slow)]
)
def test_other_losses(tmp_path, name):
    config = tiny(config="bert4rec", **WORLD)
    config.loss.name = name
    check_workdir(tmp_path, masked_item.run(config, tmp_path), "bert4rec")


@pytest.mark.parametrize("name", ["synthetic", "custom", "games2018", *NAMES])
def test_every_argument_is_a_whole_configuration(name):
    config = load_config(f"{CONFIGS / 'bert4rec.py'}:{name}")
    assert config.model.name == "bert4rec" and not config.model.causal
    assert config.data.name == name
    assert 0 < config.batch.mask_probability < 1


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("batch", "mask_probability", 0.0, "mask_probability: want above 0 and below"),
        ("batch", "mask_probability", 1.0, "above 0 and below 1, got 1.0"),
        ("batch", "mask_probability", 0.05, "no item would be masked"),
        ("model", "causal", True, "reads from left to right here .*tasks.next_item"),
        ("loss", "name", "softmaxx", "did you mean 'softmax'"),
    ],
)
def test_impossible_values_are_refused_before_anything_is_written(
    tmp_path, section, key, value, message
):
    config = tiny(config="bert4rec", **WORLD)
    config[section][key] = value
    with pytest.raises(ValueError, match=message):
        masked_item.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_models_without_mask_token_and_windows_are_refused(tmp_path):
    config = tiny(config="bert4rec", **WORLD)
    with config.unlocked():
        config.model = tiny(**WORLD).model
    with pytest.raises(ValueError, match="'lru' reads from left to right here"):
        masked_item.run(config, tmp_path / "run")
    config = tiny(config="bert4rec", **WORLD)
    with config.unlocked():
        config.model.windows = (0, 2)
    with pytest.raises(ValueError, match=r"model\.windows: unknown key"):
        masked_item.run(config, tmp_path / "run")


def test_a_checkpoint_of_another_family_is_refused(tmp_path):
    config = tiny(config="bert4rec", **WORLD)
    masked_item.run(config, tmp_path)
    other = tiny(config="sasrec", **WORLD)
    with pytest.raises(ValueError, match="model.name: 'bert4rec' there, 'sar' now"):
        next_item.run(other, tmp_path)
    text = json.loads((tmp_path / "config.json").read_text())
    text["model"] = other.model.to_dict()
    (tmp_path / "config.json").write_text(json.dumps(text))
    with pytest.raises(ValueError, match="another architecture"):
        jaxrec.load(tmp_path)
