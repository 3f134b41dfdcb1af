import numpy as np
import pytest
from ml_collections import ConfigDict

import jaxrec.data


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(
        "user,item,rating,time\n"
        "ann,tea,5,30\nann,milk,1,20\nann,bread,4,10\nann,jam,5,40\n"
        "bob,tea,4,10\nbob,jam,5,5\ncem,jam,3,50\n"
    )
    return {"name": "custom", "path": str(path), "cache": str(tmp_path / "cache")}


def raw_items(sequences, positions):
    return sequences.item_ids[sequences.values[positions]].tolist()


def test_load_orders_by_time_and_leaves_one_out(config):
    split = jaxrec.data.load(config)
    sequences = split.sequences
    assert sequences.user_ids.tolist() == ["ann", "bob", "cem"]
    assert raw_items(sequences, slice(0, 4)) == ["bread", "milk", "tea", "jam"]
    assert raw_items(sequences, split.test.position) == ["jam"]
    assert raw_items(sequences, split.valid.position) == ["tea"]
    assert split.train_end.tolist() == [2, 6, 7]
    assert sequences.report["events_read"] == 7


def test_load_takes_a_config_dict_with_options(config):
    options = {"min_rating": 4.0, "split": "temporal", "valid_fraction": 0.2}
    split = jaxrec.data.load(ConfigDict(config | options | {"test_fraction": 0.2}))
    # Left: ann bread 10, tea 30, jam 40; bob jam 5, tea 10. The cuts lie at the fourth
    # and the fifth of the times 5, 10, 10, 30, 40.
    assert split.sequences.times.tolist() == [10, 30, 40, 5, 10]
    assert raw_items(split.sequences, split.valid.position) == ["tea"]
    assert raw_items(split.sequences, split.test.position) == ["jam"]
    assert split.train_end.tolist() == [1, 5]
    assert split.sequences.report["dropped_low_rating"] == 2


def test_ids_go_round(config):
    sequences = jaxrec.data.load(config).sequences
    number = {raw: at for at, raw in enumerate(sequences.item_ids.tolist()) if at}
    assert sorted(number) == ["bread", "jam", "milk", "tea"]
    assert [number[raw] for raw in sequences.item_ids[1:].tolist()] == [1, 2, 3, 4]
    assert sequences.values.dtype == np.int32
    assert sequences.values.min() >= 1


def test_a_mistake_fails_before_any_file_is_read(config):
    absent = config | {"path": "/absent/file.csv"}
    with pytest.raises(ValueError, match="data key 'min_ratings' is unknown"):
        jaxrec.data.load(absent | {"min_ratings": 3})
    with pytest.raises(FileNotFoundError, match="/absent/file.csv"):
        jaxrec.data.load(absent)


def test_unknown_name():
    with pytest.raises(ValueError, match="data.name 'synthetics' .* 'synthetic'"):
        jaxrec.data.load({"name": "synthetics"})
    with pytest.raises(ValueError, match="data.name '' is unknown"):
        jaxrec.data.load({})


def test_synthetic_goes_to_the_generator():
    config = {
        "name": "synthetic",
        "num_users": 20,
        "num_items": 90,
        "clusters": 5,
        "seed": 0,
    }
    assert jaxrec.data.load(config).sequences.users == 20
