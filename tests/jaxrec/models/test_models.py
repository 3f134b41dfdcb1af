"""Backbones by name: the registry and how a config section becomes a config."""

import dataclasses

import pytest

from jaxrec import models
from jaxrec.models import lru, lru_serving, sar


def test_names_are_backbones_without_companions():
    assert "lru" in models.names()
    assert not [name for name in models.names() if "serving" in name]


@pytest.mark.parametrize("name", models.names())
def test_every_backbone_has_the_common_functions(name):
    module = models.model_module(name)
    wanted = ("init", "encode", "score", "head", "start", "step", "prefill", "decayed")
    assert [n for n in wanted if not callable(getattr(module, n, None))] == []
    cfg = models.config_from(name, {}, items=10)
    assert cfg.items == 10
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.items = 11


def test_module_and_companion():
    assert models.model_module("lru") is lru
    assert models.serving_module("lru") is lru_serving


def test_a_backbone_without_companion(monkeypatch):
    monkeypatch.setattr(models, "_COMPANION", "_nothing")
    assert models.serving_module("lru") is None


@pytest.mark.parametrize("find", [models.model_module, models.serving_module])
def test_unknown_backbone(find):
    wanted = r"model.name 'lrv' is unknown.*'lru'.*Accepted: "
    with pytest.raises(ValueError, match=wanted):
        find("lrv")


@pytest.mark.parametrize("name", ["os.path", "lru_serving", "", "__init__"])
def test_other_modules_are_no_backbones(name):
    with pytest.raises(ValueError, match="model.name .* is unknown"):
        models.model_module(name)


def test_config_from_a_section():
    section = {"name": "lru", "dim": 32, "dropout": 0}
    assert models.config_from("lru", section, 7) == lru.LRUConfig(
        items=7, dim=32, dropout=0.0
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"dimm": 8}, r"config\.model\.dimm: unknown key; did you mean 'dim'\?"),
        ({"dim": "8"}, r"config\.model\.dim: '8' is of type str, not int"),
        ({"items": 9}, r"config\.model\.items: 9 is not a setting; .* 7 items"),
        ({"dim": 6}, "dim a multiple of 4"),
    ],
)
def test_config_section_with_an_error(section, message):
    with pytest.raises(ValueError, match=message):
        models.config_from("lru", section, 7)


def run_config(name, length=12, **fields):
    return {"model": {"name": name, **fields}, "batch": {"length": length}}


def test_a_run_gives_positions_and_shards():
    cfg = models.config_of_run(run_config("sar") | {"parallel": {"model": 4}}, 7)
    assert (cfg.items, cfg.length, cfg.table_multiple) == (7, 12, 4)
    cfg = models.config_of_run(run_config("lru") | {"parallel": {"model": 1}}, 7)
    assert (cfg.items, cfg.table_multiple) == (7, 1)
    assert models.config_of_run({"model": {"name": "lru"}}, 7).items == 7


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (run_config("sar") | {"batch": {}}, r"config\.batch\.length is missing"),
        (
            {"model": {"name": "sar", "length": 9}, "batch": {"length": 12}},
            r"model\.length: 9 is not a setting; .* config\.batch\.length",
        ),
        (run_config("sar", users=3), r"model\.users: want true or false, got 3; .*0"),
        (run_config("sar", users=True), r"model\.users: true, but no users are known"),
        (run_config("hstu", users=True), r"model\.users: unknown key"),
        (run_config("sar", times=True), r"model\.times: unknown key"),
        (run_config("hstu", times=1), r"model\.times"),
    ],
)
def test_what_other_sections_decide_is_no_setting(config, message):
    with pytest.raises(ValueError, match=message):
        models.config_of_run(config, 7)


def test_users_are_those_of_the_data_where_they_are_asked_for():
    for asked, users in ((True, 5), (False, 0)):
        cfg = models.config_of_run(run_config("sar", users=asked), 7, 5)
        assert cfg.users == models.users_of(cfg) == users
    assert models.config_of_run(run_config("sar"), 7, 5).users == 0
    assert models.users_of(lru.LRUConfig(7)) == 0


def test_what_a_backbone_says_of_itself():
    ar = models.config_from("sar", {}, 7)
    ae = dataclasses.replace(ar, causal=False)
    assert models.window_of(sar, ar) == 50 and models.window_of(sar, ae) == 49
    assert models.window_of(lru, lru.LRUConfig(7)) is None
    assert models.mask_token_of(sar, ae) == 8
    assert models.mask_token_of(sar, ar) is None
    assert models.mask_token_of(lru, lru.LRUConfig(7)) is None


def test_whether_anything_is_dropped():
    none = lru.LRUConfig(7, dropout=0.0, dropout_lru=0.0)
    assert not models.drops(none)
    assert models.drops(dataclasses.replace(none, dropout_lru=0.1))
