"""configs/fmrlrec.py: data and protocols by name, and items made of their texts."""

import numpy as np
import pytest
from tiny_runs import CONFIGS, WORLD, check_workdir

from jaxrec.core.config_file import load_config
from jaxrec.tasks import next_item


def config_of(argument):
    return load_config(f"{CONFIGS / 'fmrlrec.py'}:{argument}")


@pytest.mark.parametrize(
    ("argument", "mask", "monitor"),
    [
        ("synthetic", "window", "recall@10"),
        ("synthetic@paper", "none", "ndcg@10"),
        ("beauty", "none", "ndcg@10"),
        ("beauty@lrurec", "window", "recall@10"),
    ],
)
def test_a_protocol_has_its_own_masking_and_selection(argument, mask, monitor):
    config = config_of(argument)
    assert (config.eval.mask, config.train.monitor) == (mask, monitor)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("beuty", "fmrlrec.py:beuty is unknown; did you mean 'beauty'"),
        (
            "beauty@papre",
            "fmrlrec.py:beauty@papre is unknown; did you mean 'beauty@paper'",
        ),
    ],
)
def test_unknown_names(argument, message):
    with pytest.raises(ValueError, match=message):
        config_of(argument)


def test_the_default_run_makes_items_of_their_titles(tmp_path):
    config = config_of("synthetic")
    config.data.update(WORLD)
    config.data.seed = 3
    config.features.text_dim = 8
    config.features.text_whitened = True  # locked: a key that is not there is refused
    config.model.update({"sizes": (4, 8), "blocks": 1})
    config.batch.update({"size": 8, "length": 12})
    config.train.update({"steps": 6, "log_every": 2, "eval_every": 3})
    rows = check_workdir(tmp_path, next_item.run(config, tmp_path), "fmrlrec")
    assert {"fmrlrec@4", "nearest features", "ceiling"} <= rows.keys()
    with np.load(tmp_path / "ids.npz") as ids:
        assert ids["feature_names"].tolist() == ["text"]
        assert ids["feature_dims"].tolist() == [8]
