"""Every model that is shipped."""

import numpy as np
import pytest

from jaxbio.clustering import AttentiveClustering, names
from jaxrec.core.config_file import load_config
from tests.jaxbio.clustering.runs import CONFIGS


@pytest.mark.parametrize("name", names())
def test_shipped_models_are_of_their_configuration_and_answer(name):
    model = AttentiveClustering.load(name)  # verifies the checksum
    card = model.card
    config = load_config(str(CONFIGS / card["command"].split("configs/")[1].split()[0]))
    assert config.seed == card["seed"] and config.train.steps == card["steps"]
    for section, values in model.description.items():
        wanted = config[section].to_dict()
        wanted.pop("name", None)
        assert {key: values[key] for key in wanted} == wanted, section
    assert {"device", "date", "versions", "test", "limits"} < set(card)
    if model.kind == "points":
        dims = model.description["generator"]["dims"]
        points = np.concatenate([np.zeros((3, dims)), np.full((3, dims), 40.0)])
        labels = model.fit_predict(points, samples=8)
        np.testing.assert_array_equal(labels, [0, 0, 0, 1, 1, 1])


def test_a_model_reaches_as_far_as_its_card_says():
    assert AttentiveClustering.load("networks").reach == 1500
    assert AttentiveClustering.load("social").reach == 300


def test_there_are_models():
    proofs = {"crp2d-tau2", "crp2d-tau4", "crp2d-tau10"}
    others = {"points-2d", "points-nd", "sbm", "symmetric", "networks", "social"}
    assert proofs | others | {"spikes"} <= set(names())
