"""Backbones by name: the registry and how a config section becomes a config."""

import dataclasses

import pytest

from jaxrec import models
from jaxrec.models import lru, lru_serving


def test_names_are_backbones_without_companions():
    assert "lru" in models.names()
    assert not [name for name in models.names() if "serving" in name]


@pytest.mark.parametrize("name", models.names())
def test_every_backbone_has_the_common_functions(name):
    module = models.model_module(name)
    wanted = ("init", "encode", "score", "head", "start", "step", "prefill")
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
    with pytest.raises(ValueError, match=r"unknown backbone 'lrv'.*'lru'.*Known: "):
        find("lrv")


@pytest.mark.parametrize("name", ["os.path", "lru_serving", "", "__init__"])
def test_other_modules_are_no_backbones(name):
    with pytest.raises(ValueError, match="unknown backbone"):
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
