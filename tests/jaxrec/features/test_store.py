import numpy as np
import pytest

from jaxrec.features import Features, load, save

IDS = np.array(["b", "a", "c"])
TEXT = np.array([[1, 2], [0, 0], [3, 4]], np.float32)
IMAGE = np.array([[0, 0, 0], [5, 6, 7], [0, 0, 0]], np.float32)


def features(**changes):
    return Features(
        **{"item_ids": IDS, "tables": {"text": TEXT, "image": IMAGE}} | changes
    )


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_save_and_load(tmp_path):
    encoders = {"text": {"kind": np.array("hashed"), "norms": np.arange(3.0)}}
    path = tmp_path / "new" / "features"
    save(path, features(encoders=encoders))
    assert [file.name for file in path.parent.iterdir()] == ["features"]
    loaded = load(path)
    np.testing.assert_array_equal(loaded.item_ids, IDS)
    assert list(loaded.tables) == ["text", "image"]
    np.testing.assert_array_equal(loaded.tables["text"], TEXT)
    np.testing.assert_array_equal(loaded.tables["image"], IMAGE)
    assert list(loaded.encoders) == ["text"]
    assert str(loaded.encoders["text"]["kind"]) == "hashed"
    np.testing.assert_array_equal(loaded.encoders["text"]["norms"], np.arange(3.0))


def test_aligned_puts_rows_in_the_order_of_the_run():
    found = features().aligned(np.array(["c", "zz", "a", "0"]))
    assert found.item_ids.tolist() == ["c", "zz", "a", "0"]
    wanted = np.array([[3, 4], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(found.tables["text"], wanted)
    wanted = np.array([[0, 0, 0], [0, 0, 0], [5, 6, 7], [0, 0, 0]])
    np.testing.assert_array_equal(found.tables["image"], wanted)
    assert found.tables["image"].dtype == np.float32
    assert found.missing() == {"text": 3, "image": 3}
    assert features().missing() == {"text": 1, "image": 2}


def test_no_common_item():
    with pytest.raises(ValueError, match="such as '1', '2', those .* 'b', 'a', 'c'"):
        features().aligned(np.array(["1", "2"]))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"table/text": TEXT}, "item_ids is missing; there are table/text"),
        ({"item_ids": IDS}, r"there is no table \(table/MODALITY\)"),
        ({"item_ids": np.arange(3), "table/t": TEXT}, "list of text, got int64"),
        ({"item_ids": IDS[None], "table/t": TEXT}, r"got <U1 of shape \(1, 3\)"),
        (
            {"item_ids": np.array(["a", "b", "a"]), "table/t": TEXT},
            "item_ids: 'a' is there twice",
        ),
        (
            {"item_ids": IDS, "table/t": TEXT[:2]},
            r"table/t must have shape \(3, dim\) .* got \(2, 2\)",
        ),
        ({"item_ids": IDS, "table/t": TEXT[:, 0]}, r"table/t must have shape .*\(3,\)"),
        (
            {"item_ids": IDS, "table/t": TEXT.astype(np.float64)},
            "table/t must be float32, got float64",
        ),
        (
            {"item_ids": IDS, "table/t": np.where(TEXT == 3, np.nan, TEXT)},
            "table/t: the row of item 'c' has NaN or infinite",
        ),
        (
            {"item_ids": IDS, "table/t": np.where(TEXT == 1, np.inf, TEXT)},
            "table/t: the row of item 'b' has NaN or infinite",
        ),
    ],
)
def test_bad_arrays(tmp_path, arrays, message):
    path = write(tmp_path / "f.npz", **arrays)
    with pytest.raises(ValueError, match=rf"f\.npz: .*{message}"):
        load(path)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.npz.*jaxrec.features makes"):
        load(tmp_path / "absent.npz")
    text = tmp_path / "text.npz"
    text.write_text("item_ids")
    with pytest.raises(ValueError, match="text.npz: not a file of item features"):
        load(text)
    array = tmp_path / "array.npz"
    with array.open("wb") as stream:
        np.save(stream, TEXT)
    with pytest.raises(ValueError, match="array.npz: not a file of item features"):
        load(array)
    cut = write(tmp_path / "cut.npz", item_ids=IDS, **{"table/t": TEXT})
    cut.write_bytes(cut.read_bytes()[:-40])
    with pytest.raises(ValueError, match="cut.npz: not a file of item features"):
        load(cut)
    pickled = write(tmp_path / "pickled.npz", item_ids=np.array([{}]))
    with pytest.raises(ValueError, match="pickled.npz: not a file of item features"):
        load(pickled)
