import numpy as np
import pytest

import jaxrec.data
from jaxrec.features import Features, built_in, for_run, hashed, save

TITLES = {
    "3": "Star Quest II",
    "1": "Star Quest III",
    "9": "Garden Simulator",
    "8": "Garden Builder",
    "7": "",
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREC_CACHE_DIR", str(tmp_path / "cache"))
    events, items = tmp_path / "a.txt", tmp_path / "items.tsv"
    events.write_text("u 1 9 3\nv 3 7 1\n")
    rows = [f"{item}\t{title}" for item, title in TITLES.items()]
    items.write_text("item_id\ttitle\n" + "\n".join(rows))
    return {"name": "custom", "path": str(events), "titles": str(items), "cache": None}


@pytest.fixture
def sequences():
    return jaxrec.data.Sequences.from_histories({"u": "193", "v": "371"})


def test_built_in_features_of_the_items_of_the_run(data, sequences):
    features = for_run({"text_dim": 3}, data, sequences)
    assert features.item_ids.tolist() == ["1", "3", "7", "9"]
    # Fitted on all items of the file, those that the run lacks too.
    texts = [f"Title: {title}" if title else "" for title in TITLES.values()]
    wanted = hashed.fit(texts, 3).encode(texts)
    np.testing.assert_array_equal(features.tables["text"], wanted[[1, 0, 4, 2]])
    assert features.missing() == {"text": 1}
    assert not features.encoders


def test_built_in_features_are_kept(data, sequences, tmp_path, monkeypatch):
    first = for_run({"text_dim": 3}, data, sequences)
    (kept,) = (tmp_path / "cache" / "features").glob("*.npz")

    def fit(texts, dim, whitened):
        raise AssertionError("fitted again")

    with monkeypatch.context() as patch:
        patch.setattr(built_in.hashed, "fit", fit)
        second = for_run({"text_dim": 3}, data, sequences)
        np.testing.assert_array_equal(first.tables["text"], second.tables["text"])
        for other in ({"text_dim": 2}, {"text_dim": 3, "text_whitened": True}):
            with pytest.raises(AssertionError):
                for_run(other, data, sequences)
    kept.write_bytes(kept.read_bytes()[:-100])
    third = for_run({"text_dim": 3}, data, sequences)
    np.testing.assert_array_equal(first.tables["text"], third.tables["text"])


def test_built_in_features_that_weigh_the_same(data, sequences):
    features = for_run({"text_dim": 3, "text_whitened": True}, data, sequences)
    texts = [f"Title: {title}" if title else "" for title in TITLES.values()]
    wanted = hashed.fit(texts, 3, whitened=True).encode(texts)
    np.testing.assert_array_equal(features.tables["text"], wanted[[1, 0, 4, 2]])


def test_a_file_and_its_modalities(data, sequences, tmp_path):
    path = tmp_path / "f.npz"
    tables = {
        name: np.full((2, dim), dim, np.float32)
        for name, dim in (("text", 4), ("image", 3), ("audio", 2))
    }
    save(path, Features(np.array(["9", "5"]), tables))
    features = for_run({"path": str(path)}, data, sequences)
    assert list(features.tables) == ["text", "image", "audio"]
    wanted = {"path": str(path), "modalities": ["audio", "text"]}
    features = for_run(wanted, data, sequences)
    assert list(features.tables) == ["audio", "text"]
    np.testing.assert_array_equal(features.tables["audio"][:, 0], [0, 0, 0, 2])
    assert features.missing() == {"audio": 3, "text": 3}


def test_bad_options(data, sequences, tmp_path):
    path = tmp_path / "f.npz"
    save(path, Features(np.array(["x"]), {"text": np.ones((1, 2), np.float32)}))
    for options, message in (
        ({"pth": ""}, "features.pth: unknown key; did you mean 'path'"),
        ({"modalities": ["txt"], "path": str(path)}, "'txt' .* did you mean 'text'"),
        ({"path": str(path)}, "f.npz: none of the items has features: .*'1'.*'x'"),
        ({"text_dim": 0}, "needs 1 dimension or more, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            for_run(options, data, sequences)
    with pytest.raises(FileNotFoundError, match="absent.npz"):
        for_run({"path": str(tmp_path / "absent.npz")}, data, sequences)
    with pytest.raises(ValueError, match="'custom' has no texts"):
        for_run({}, data | {"titles": ""}, sequences)


def test_titles_of_a_generated_world(tmp_path):
    config = {"name": "synthetic", "num_users": 20, "num_items": 60, "clusters": 3}
    sequences = jaxrec.data.load(config).sequences
    config["cache"] = str(tmp_path)
    features = for_run({"text_dim": 8}, config, sequences)
    assert features.tables["text"].shape == (60, 8)
    assert features.missing() == {"text": 0}
