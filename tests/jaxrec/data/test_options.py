import dataclasses

import pytest
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from jaxrec.data.options import PRESETS, DataOptions, from_config


def test_a_preset_fills_what_is_unset_and_an_explicit_key_wins():
    options = from_config({"name": "custom", "preset": "lrurec_ml1m"})
    assert (options.dedup, options.core, options.ties) == ("adjacent", "once", "item")
    options = from_config(
        {"name": "custom", "preset": "lrurec_ml1m", "core": "iterated", "dedup": ""}
    )
    assert (options.dedup, options.core) == ("adjacent", "iterated")


def test_none_and_empty_text_are_unset_in_a_config_dict():
    config = ConfigDict(
        {
            "name": "ml1m",
            "preset": "",
            "core": "",
            "min_rating": placeholder(float),
            "min_user_events": placeholder(int),
            "columns": {"user": "", "item": "asin"},
        }
    )
    options = from_config(config, preset="five_core")
    assert options.preset == "five_core"
    assert options.core == "iterated"
    assert options.min_rating is None
    assert options.min_user_events == 5
    assert options.columns == {"item": "asin"}


@pytest.mark.parametrize(
    "preset, wanted",
    [
        ("as_is", {"dedup": "none", "core": "none", "order": "auto", "ties": "file"}),
        ("lrurec_ml1m", {"dedup": "adjacent", "core": "once", "ties": "item"}),
        ("lrurec_text", {"dedup": "adjacent", "core": "none", "order": "file"}),
        ("five_core", {"dedup": "none", "core": "iterated", "order": "auto"}),
    ],
)
def test_presets(preset, wanted):
    options = from_config({"name": "custom", "preset": preset})
    assert {key: getattr(options, key) for key in wanted} == wanted
    assert options.min_user_events == options.min_item_events == 5
    assert options.min_rating is None


def test_every_preset_sets_every_key_of_preprocessing():
    fields = {field.name for field in dataclasses.fields(DataOptions)}
    for preset in PRESETS.values():
        assert set(preset) == set(PRESETS["as_is"]) < fields


@pytest.mark.parametrize(
    "config, message",
    [
        (
            {"min_ratting": 3},
            "data key 'min_ratting' is unknown; did you mean 'min_rat",
        ),
        ({"preset": "five_cor"}, "data.preset 'five_cor' .* did you mean 'five_core'"),
        (
            {"core": "iterate"},
            "data.core 'iterate' is unknown; did you mean 'iterated'",
        ),
        ({"dedup": "al"}, "data.dedup 'al' is unknown; did you mean 'all'"),
        ({"order": "times"}, "data.order 'times' .* did you mean 'time'"),
        ({"split": "temporals"}, "data.split .* did you mean 'temporal'"),
        ({"format": "parket"}, "data.format .* did you mean 'parquet'"),
        ({"columns": {"usr": "a"}}, "data.columns key 'usr' .* did you mean 'user'"),
        ({"min_user_events": 3}, "data.min_user_events=3 has no effect with data.core"),
        ({"core": "once", "min_item_events": 0}, "min_item_events must be 1 or more"),
        ({"order": "file", "ties": "item"}, "data.ties='item' has no effect"),
        ({"min_length": "3"}, "data.min_length: '3' is of type str, not int"),
        ({"name": ""}, "data.name is not set"),
    ],
)
def test_mistakes_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        from_config({"name": "custom"} | config)
