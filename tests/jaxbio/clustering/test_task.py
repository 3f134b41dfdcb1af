"""Training runs: every configuration, resuming, devices, shipping, what is refused."""

import json
import shutil

import jax
import numpy as np
import pytest

from jaxbio import package
from jaxbio.clustering import AttentiveClustering, task
from jaxrec.core import parallel
from jaxrec.core.config_file import load_config
from jaxrec.core.optim import make_optimiser
from tests.jaxbio.clustering.runs import CONFIGS, tiny, tiny_graphs, train


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run and what it returned."""
    path = tmp_path_factory.mktemp("whole")
    return path, train(path)


def test_a_run_trains_tests_and_is_not_mixed_with_another(whole):
    path, results = whole
    assert results["best_step"] in (2, 4)
    rows = json.loads((path / "test.json").read_text())
    assert rows["elbo"] == -rows["nats"] == results["test/elbo"]
    assert {"ami", "ami_se", "best_ari", "excess"} < set(rows)
    config = tiny()
    config.seed = 7
    with pytest.raises(ValueError, match="seed: 42 there, 7 now"):
        task.run(config, str(path))


def test_a_run_that_was_stopped_ends_with_the_same_bits(whole, tmp_path, monkeypatch):
    make = task.Clustering.batch

    def crash(self, step):
        if step == 3:
            raise KeyError("stop")
        return make(self, step)

    monkeypatch.setattr(task.Clustering, "batch", crash)
    with pytest.raises(KeyError):
        train(tmp_path / "again")
    monkeypatch.undo()
    assert train(tmp_path / "again") == whole[1]


def test_a_run_becomes_a_model_with_a_card(whole, tmp_path, capsys):
    shutil.copytree(whole[0], tmp_path / "run")
    arguments = ["--config=configs/acp_points.py", "--limits=for tests"]
    where = [f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'tiny'}"]
    where.append("--reach=17")
    assert package.main([*arguments, *where]) == 0
    assert "tiny: " in capsys.readouterr().out
    model = AttentiveClustering.load(tmp_path / "tiny")
    card = model.card
    assert model.reach == 17
    assert card["command"].endswith("acp_points.py --workdir=runs/tiny")
    assert card["seed"] == 42 and card["limits"] == "for tests" and card["steps"] == 4
    assert {"ami", "nats", "nats_se"} < set(card["test"])
    assert str(tmp_path) not in str(card)
    (tmp_path / "run/test.json").unlink()
    assert package.main([*arguments, *where]) == 2
    assert "test.json is missing; want a run that has ended" in capsys.readouterr().err


@pytest.mark.slow
def test_the_published_configuration(tmp_path):
    results = train(tmp_path / "run", "crp2d-tau4@paper", steps=2)
    assert np.isfinite(list(results.values())).all()


@pytest.mark.slow
def test_graphs_train(tmp_path):
    results = task.run(tiny_graphs(), str(tmp_path / "run"))
    assert np.isfinite(list(results.values())).all()


@pytest.mark.parametrize(
    "argument",
    [
        "acp_points.py:points-2d",
        "acp_points.py:points-2d@paper",
        "acp_points.py:points-2d@ncp",
        "acp_points.py:points-nd",
        "acp_points.py:crp2d-tau10",
        "acp_graphs.py:sbm",
        "acp_graphs.py:symmetric",
        "acp_graphs.py:networks",
        "acp_spikes.py:features",
        "acp_spikes.py:network",
    ],
)
def test_every_configuration_is_accepted(argument):
    config = load_config(f"{CONFIGS / argument}")
    process = task.Clustering(config, parallel.make_mesh(1, jax.devices()[:1]))
    shapes = jax.eval_shape(process.init, jax.random.key(0))
    batch = {"set": np.zeros(2, np.uint32)}
    sums = jax.eval_shape(process.loss, shapes, batch, jax.random.key(0))
    assert sums["loss"][0].shape == ()


def test_unknown_arguments_are_refused():
    with pytest.raises(ValueError, match="points-3d"):
        load_config(f"{CONFIGS / 'acp_points.py'}:points-3d")
    with pytest.raises(ValueError, match="after the @ want 'paper' or 'ncp'"):
        load_config(f"{CONFIGS / 'acp_points.py'}:points-2d@papr")


def test_eight_devices_give_the_loss_of_one():
    config = tiny()
    losses = []
    for devices in (jax.devices()[:1], jax.devices()):
        mesh = parallel.make_mesh(1, devices)
        process = task.Clustering(config, mesh)
        params = process.init(jax.random.key(0))
        optimiser = make_optimiser(config.optim, 4, process.decayed)
        step = parallel.make_step(process.loss, optimiser, mesh)
        state = {"params": params, "opt": optimiser.init(params), "step": 0}
        state["step"] = jax.numpy.zeros((), jax.numpy.int32)
        batch = parallel.put_batch(process.batch(0), mesh)
        _, report = step(state, batch, jax.random.key(1))
        losses.append([float(report["loss"]), float(report["grad_norm"])])
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("batch", {"sets": 0}, "batch.sets=0: want a multiple of"),
        ("batch", {"steps": 0}, "batch.steps: want 1 or more, got 0"),
        ("eval", {"samples": 0}, "eval.samples: want 1 or more, got 0"),
        ("model", {"variant": "xcp"}, "config.model.variant: 'xcp' is not one of"),
        ("model", {"dim": 16}, "encoder.dim=8 is not model.dim=16"),
        ("encoder", {"name": "points.encodr"}, "did you mean 'points.encoder'"),
        ("generator", {"name": "points.encoder"}, "generator.name 'points.encoder'"),
        ("generator", {"spread": -1.0}, "generator.spread: want above 0"),
    ],
)
def test_impossible_configurations_are_refused(tmp_path, section, values, message):
    config = tiny()
    config[section].update(values)
    with pytest.raises(ValueError, match=message):
        task.run(config, str(tmp_path / "run"))
