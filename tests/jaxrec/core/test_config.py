"""Configurations: to dataclasses, to JSON, and compared with a run's own."""

import dataclasses
import json
from typing import Any, Literal

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrec.core.config import (
    check_same_run,
    dataclass_from,
    differences,
    nearest,
    to_json,
    unknown,
)


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.5


@dataclasses.dataclass(frozen=True)
class Outer:
    items: int
    dim: int = 64
    name: str = "lru"
    shape: tuple[int, ...] = ()
    mode: Literal["a", "b"] = "a"
    limit: int | None = None
    flag: bool = False
    inner: Inner = Inner()
    anything: Any = None


def test_nearest():
    names = ["lr", "final_lr", "warmup", "weight_decay"]
    assert nearest("warm_up", names) == "warmup"
    assert nearest("learnig_rate", names) == "lr"  # what it is short for
    assert nearest("wd", names) == "weight_decay"
    assert nearest("x", []) == ""
    assert nearest("momentum", names) == ""  # like none of them


def test_what_is_said_of_an_unknown_name():
    known = ("toys", "games")
    wanted = "data 'gamse' is unknown; did you mean 'games'? Accepted: toys, games"
    assert unknown("data", "gamse", known) == wanted
    wanted = "data 'mine' is unknown. Accepted: toys, games"
    assert unknown("data", "mine", known) == wanted
    assert unknown("size", 3, ()) == "size 3 is unknown. Accepted: "


def test_dataclass_from_a_config():
    config = ConfigDict(
        {
            "items": 5,
            "shape": [2, 3],
            "mode": "b",
            "limit": 7,
            "flag": True,
            "inner": {"rate": 1},
            "anything": "x",
        }
    )
    assert dataclass_from(Outer, config) == Outer(
        5, 64, "lru", (2, 3), "b", 7, True, Inner(1.0), "x"
    )
    rate = dataclass_from(Outer, {"items": 1, "inner": {"rate": 1}}).inner.rate
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dmi": 3}, r"config.model.dmi: unknown key; did you mean 'dim'\? Known keys"),
        ({"inner": {"rte": 1.0}}, r"config.model.inner.rte: .* did you mean 'rate'"),
        ({"dim": "3"}, "config.model.dim: '3' is of type str, not int"),
        ({"dim": 3.0}, "config.model.dim: 3.0 is of type float, not int"),
        ({"dim": True}, "config.model.dim: True is of type bool, not int"),
        ({"flag": 1}, "config.model.flag: 1 is of type int, not bool"),
        ({"mode": "c"}, "config.model.mode: 'c' is not one of 'a', 'b'"),
        ({"limit": "x"}, "config.model.limit: 'x' is not of type int | None"),
        ({"inner": {"rate": "x"}}, "config.model.inner.rate: 'x' is of type str"),
    ],
)
def test_what_a_dataclass_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        dataclass_from(Outer, {"items": 1} | change, "config.model")


def test_a_field_without_default_is_needed():
    with pytest.raises(ValueError, match="Outer.items: missing, and it has no default"):
        dataclass_from(Outer, {})


def test_json_is_the_same_for_equal_configs():
    config = ConfigDict({"b": (1, 2.5), "a": {"y": None, "x": True}})
    assert json.loads(to_json(config)) == {"a": {"x": True, "y": None}, "b": [1, 2.5]}
    assert to_json(config) == to_json(ConfigDict({"a": config.a, "b": [1, 2.5]}))


def test_json_refuses_what_it_cannot_hold():
    with pytest.raises(ValueError, match=r"config.a.b\[1\]: array.* of type ndarray"):
        to_json({"a": {"b": [1, np.ones(1)]}})


def test_differences():
    one = {"a": {"b": 1, "c": (1, 2)}, "d": float("nan"), "e": 1.0, "g": {}}
    other = {"a": {"b": 2, "c": [1, 2]}, "d": float("nan"), "e": 1, "f": 0.5, "g": {}}
    assert differences(one, other) == {"a.b": (1, 2), "f": ("(absent)", 0.5)}


@pytest.mark.parametrize("off", [None, False, "", [], {}])
def test_what_is_off_does_not_differ_from_what_is_absent(off):
    assert differences({"a": {"b": 1}}, {"a": {"b": 1, "c": off}}) == {}
    assert differences({"a": {"b": 1, "c": off}}, {"a": {"b": 1}}) == {}


@pytest.mark.parametrize("value", [True, 0, 0.0, "no", [0]])
def test_what_is_set_differs_from_what_is_absent(value):
    assert differences({}, {"c": value}) == {"c": ("(absent)", value)}
    assert differences({"c": value}, {}) == {"c": (value, "(absent)")}


def test_what_is_off_differs_from_what_is_set():
    assert differences({"a": None}, {"a": False}) == {"a": (None, False)}


def run_config(**changes):
    train = {"steps": 10, "log_every": 5}
    return {"seed": 0, "train": train, "optim": {"lr": 0.1, "name": "adamw"}} | changes


def test_the_first_run_writes_its_config(tmp_path):
    check_same_run(run_config(), tmp_path / "new")
    written = json.loads((tmp_path / "new" / "config.json").read_text())
    assert written == run_config()
    check_same_run(run_config(), tmp_path / "new")


def test_a_resumed_run_may_change_some_keys(tmp_path):
    check_same_run(run_config(), tmp_path)
    longer = run_config(train={"steps": 20, "log_every": 1})
    check_same_run(
        longer, tmp_path, may_differ=iter(["train.steps", "train.log_every"])
    )
    assert json.loads((tmp_path / "config.json").read_text()) == longer
    check_same_run(run_config(), tmp_path, may_differ=["train"])  # all below it


def test_a_run_that_an_earlier_version_began_goes_on(tmp_path):
    """That version did not know a key; what is new there is off."""
    check_same_run(run_config(), tmp_path)
    check_same_run(run_config(eval={"popularity": ()}), tmp_path)
    with pytest.raises(ValueError, match=r"eval.popularity: \[\] there, \[0.5\] now"):
        check_same_run(run_config(eval={"popularity": (0.5,)}), tmp_path)


def test_a_resumed_run_may_not_change_others(tmp_path):
    check_same_run(run_config(), tmp_path)
    other = run_config(seed=1, train={"steps": 20, "log_every": 5})
    with pytest.raises(ValueError) as caught:
        check_same_run(other, tmp_path, may_differ=["train.steps"])
    assert str(caught.value).splitlines() == [
        f"{tmp_path} was made with another configuration:",
        "  seed: 0 there, 1 now",
        "Use another --workdir, or the values it was made with.",
    ]
    assert json.loads((tmp_path / "config.json").read_text()) == run_config()
    with pytest.raises(ValueError, match="train.steps: 10 there, 20 now"):
        check_same_run(other, tmp_path, may_differ=["seed", "train.step"])


def test_a_broken_config_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"seed"')
    with pytest.raises(ValueError, match=r"config.json is no JSON \("):
        check_same_run(run_config(), tmp_path)


def test_only_process_0_writes_the_config(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    check_same_run(run_config(), tmp_path / "new")
    assert not (tmp_path / "new").exists()
