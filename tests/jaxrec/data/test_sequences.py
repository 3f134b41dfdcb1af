import json

import numpy as np
import pytest

from jaxrec.data.sequences import Sequences


def example():
    return Sequences(
        values=np.array([3, 1, 2, 1], np.int32),
        offsets=np.array([0, 3, 3, 4]),
        user_ids=np.array(["ann", "bob", "zoë"]),
        item_ids=np.array(["", "a", "b", "c"]),
        times=np.array([1, 2, 2**62, 4]),
        ratings=np.array([1, 2, 3, 4.5], np.float32),
        titles=np.array(["", "Amélie", "", "C"]),
        name="example",
        report={"events": 4},
    )


def test_sizes_and_history():
    sequences = example()
    assert (sequences.users, sequences.items, sequences.events) == (3, 3, 4)
    assert sequences.lengths.tolist() == [3, 0, 1]
    assert sequences.history(0).tolist() == [3, 1, 2]
    assert sequences.history(1).tolist() == []


@pytest.mark.parametrize("mmap", [True, False])
def test_save_and_load_return_every_array(tmp_path, mmap):
    example().save(tmp_path)
    loaded = Sequences.load(tmp_path, mmap=mmap)
    for field in ("values", "offsets", "user_ids", "item_ids", "times", "titles"):
        wanted, got = getattr(example(), field), getattr(loaded, field)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
        assert isinstance(got.base, np.memmap) == mmap
    assert loaded.name == "example"
    assert loaded.report == {"events": 4}


def test_absent_arrays_stay_absent(tmp_path):
    Sequences.from_histories({"u": ["x"]}).save(tmp_path)
    loaded = Sequences.load(tmp_path)
    assert loaded.times is None and loaded.ratings is None and loaded.titles is None


def test_truncated_array_is_refused(tmp_path):
    example().save(tmp_path)
    file = tmp_path / "values.npy"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError):
        Sequences.load(tmp_path)


def test_header_is_written_last(tmp_path, monkeypatch):
    def full_disk(path, array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(OSError):
        example().save(tmp_path)
    assert not (tmp_path / "sequences.json").exists()


def test_saved_header_is_readable(tmp_path):
    example().save(tmp_path)
    assert json.loads((tmp_path / "sequences.json").read_text())["name"] == "example"


def test_from_histories_numbers_items_in_order():
    sequences = Sequences.from_histories({"u": ["10", "9"], "v": [], "w": ["9", "2"]})
    assert sequences.item_ids.tolist() == ["", "2", "9", "10"]
    assert sequences.values.tolist() == [3, 2, 2, 1]
    assert sequences.offsets.tolist() == [0, 2, 2, 4]
    assert sequences.user_ids.tolist() == ["u", "v", "w"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"offsets": np.array([0, 3, 4])}, r"user_ids must have shape \(2,\)"),
        ({"offsets": np.array([1, 3, 3, 4])}, "begin with 0"),
        ({"times": np.array([1])}, r"times must have shape \(4,\), not \(1,\)"),
        ({"item_ids": np.array(["x", "a", "b", "c"])}, "entry 0 is padding"),
        ({"offsets": np.array([0, 5, 4, 4])}, "they do at user 1"),
        ({"values": np.array([1, 2, 9, 1])}, r"1 to 3, values\[2\] is 9"),
        ({"values": np.array([1, 0, 2, 1])}, r"1 to 3, values\[1\] is 0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    fields = {name: getattr(example(), name) for name in Sequences.__annotations__}
    with pytest.raises(ValueError, match=message):
        Sequences(**fields | change)
