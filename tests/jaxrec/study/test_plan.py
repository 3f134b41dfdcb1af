"""Cells, candidates and whole configs from a study's configuration."""

import pytest
from tiny_study import CONFIG, tiny_study

from jaxrec.core.config_file import load_config
from jaxrec.models import config_of_run
from jaxrec.study import plan


def test_cells_come_arm_by_arm_with_what_their_mode_brings():
    cells = plan.cells(tiny_study(arms=("local", "lru")))
    assert [cell.name for cell in cells] == ["local-ae", "local-ar", "lru-ar"]
    ae, ar, lru = (cell.config for cell in cells)
    assert ae["entry"] == "jaxrec.tasks.masked_item"
    assert ae["model"]["causal"] is False and ar["model"]["causal"] is True
    assert ae["model"]["windows"] == ar["model"]["windows"] == [0, 2]
    assert ae["batch"]["mask_probability"] == 0.5
    assert "mask_probability" not in ar["batch"]
    assert "causal" not in lru["model"] and "heads" not in lru["model"]
    assert cells[0].seeds == (42, 43)
    assert ar["optim"] == ae["optim"] and ar["data"] == ae["data"]


def test_candidates_are_all_combinations_of_keys_that_the_run_has():
    config = tiny_study()
    config.search.optim.lr = (0.1, 0.2)
    config.search.batch.mask_probability = (0.3, 0.6)
    ae, ar = plan.cells(config)
    assert len(ae.candidates) == 4
    assert ar.candidates == ({"optim.lr": 0.1}, {"optim.lr": 0.2})
    chosen = {"batch.mask_probability": 0.6, "optim.lr": 0.1}
    assert chosen in ae.candidates
    run = ae.run_config(chosen, 7)
    assert (run["optim"]["lr"], run["batch"]["mask_probability"]) == (0.1, 0.6)
    assert run["seed"] == 7
    assert ae.config["optim"]["lr"] == config.run.optim.lr  # a copy was changed


@pytest.mark.parametrize(
    "argument", ["ml100k", "ml1m", "beauty", "toys", "games", "yelp", "beauty_sasrec"]
)
def test_every_shipped_cell_is_possible(argument):
    config = load_config(f"{CONFIG}:{argument}")
    names = {cell.name for cell in plan.cells(config)}
    assert {"ce-ae", "ce-ar", "local-ae", "local-ar", "lru-ar", "hstu-ar"} <= names
    assert set(config.published) <= names
    more = ("local_conv", "local_rnn", "local_initial", "local_adapt")
    assert not any(name.startswith(more) for name in names)
    config.study.arms = ()
    every = {cell.name: cell.config for cell in plan.cells(config)}
    assert every.keys() - names == {f"{arm}-{m}" for arm in more for m in ("ae", "ar")}
    for name, run in every.items():
        cfg = config_of_run(run, 9, 3)
        if "causal" in run["model"]:
            assert cfg.causal == name.endswith("-ar")
        if name.startswith(more):
            assert f"local_{cfg.local}" == name.split("-")[0]


def cells(**changes):
    return plan.cells({**tiny_study(), **changes})


def study(**changes):
    return {"study": {**tiny_study().study, **changes}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (study(arms=("locla",)), "study.arms 'locla' .*did you mean 'local'"),
        (study(modes=("ea",)), "study.modes 'ea' is unknown"),
        (study(seeds=0), "study.seeds: want 1 or more, got 0"),
        (
            {"run": {"eval": {"max_users": 9, "sampled_negatives": 0}}},
            "run.eval.max_users: a study ranks all targets",
        ),
        (
            {
                "run": {
                    "eval": {
                        "max_users": 0,
                        "sampled_negatives": 0,
                        "popularity": (0.5,),
                    }
                }
            },
            r"run.eval.popularity: .* as they are scored, want \(\), got",
        ),
        (study(arms=("lru",), modes=("ae",)), "none of the arms .* runs in modes"),
        ({"arms": {"ce": {"model": {"name": "lru"}}}}, "'lru' reads from left to"),
        (
            {"arms": {"ce": {"optim": {"lrr": 1.0}}}, **study(arms=("ce",))},
            "arms.ce.optim.lrr: .*; did you mean 'lr'",
        ),
        (
            {"search": {"optim": {"lr": 0.1}}},
            "search.optim.lr: want a list of values",
        ),
    ],
)
def test_what_is_impossible_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        cells(**changes)


def test_ae_has_a_dropout_of_its_own_where_the_model_has_one():
    config = load_config(f"{CONFIG}:games")
    rates = {
        cell.name: cell.config["model"].get("dropout") for cell in plan.cells(config)
    }
    assert rates["ce-ae"] == rates["bert4rec-ae"] == 0.2
    assert rates["ce-ar"] == rates["bert4rec-ar"] == rates["lru-ar"] == 0.5
    assert rates["llama-ae"] is rates["llama-ar"] is None
    config.modes.ae.model.dropout = 0.1
    cells = {cell.name: cell.config["model"] for cell in plan.cells(config)}
    assert cells["ce-ae"]["dropout"] == cells["albert-ae"]["dropout"] == 0.1
    assert cells["ce-ae"]["dropout_attention"] == 0.2
    with config.unlocked():
        config.modes.ae.model.dropuot = 0.1
    with pytest.raises(ValueError, match="modes.ae.model.dropuot: .* 'dropout'"):
        plan.cells(config)
