"""Raw ids at the border: strings and integers in, strings out, no other type."""

import numpy as np
import pytest

from jaxrec.serve.ids import ItemIds, raw_id

IDS = ItemIds(np.array(["", "10", "x", "7"]), np.array(["", "Ten", "", "Seven"]))


def test_numbers_and_back():
    assert len(IDS) == 3
    raws = ("10", "x", "7", 7, np.int64(10))
    assert [IDS.number(raw) for raw in raws] == [1, 2, 3, 3, 1]
    assert IDS.raw([3, 1]) == ("7", "10")
    assert IDS.titles([1, 2, 3]) == ("Ten", "", "Seven")


def test_numpy_strings_are_strings():
    (raw,) = np.array(["10"])
    assert IDS.number(raw) == 1


@pytest.mark.parametrize("raw", ["", "11", "X", " 7", -1])
def test_unknown_is_zero(raw):
    assert IDS.number(raw) == 0


def test_a_history():
    numbers, unknown = IDS.numbers(["7", 8, "x", "7", "y"])
    assert numbers.tolist() == [3, 2, 3]
    assert numbers.dtype == np.int32
    assert unknown == ["8", "y"]
    assert IDS.numbers([])[0].tolist() == []


def test_without_titles():
    assert ItemIds(np.array(["", "a"])).titles([1]) == ("",)


@pytest.mark.parametrize("value", [1.0, None, b"7", True, ["7"], np.float32(7)])
def test_other_types_are_refused(value):
    with pytest.raises(ValueError, match="an item id is a string or an integer, got"):
        raw_id(value)
    with pytest.raises(ValueError, match="an item id is a string or an integer, got"):
        IDS.numbers(["7", value])


@pytest.mark.parametrize(
    ("ids", "titles", "message"),
    [
        (["a", "b"], None, "begin with ''"),
        ([""], None, r"begin with '', got shape \(1,\)"),
        (["", "a", "a"], None, "item_ids has an id twice"),
        (["", "a"], ["", "A", "B"], r"titles must have shape \(2,\), not \(3,\)"),
    ],
)
def test_arrays_that_do_not_fit(ids, titles, message):
    titles = None if titles is None else np.array(titles)
    with pytest.raises(ValueError, match=message):
        ItemIds(np.array(ids), titles)


def test_items_are_added_behind_the_others():
    ids = ItemIds(np.array(["", "a", "b"]))
    assert ids.titles_array is None
    ids.extend(["c"], None)
    assert ids.titles_array is None
    ids.extend(["d", "e"], ["D", ""])
    assert len(ids) == 5
    assert ids.numbers(["e", "c", "x"])[0].tolist() == [5, 3]
    assert ids.array.tolist() == ["", "a", "b", "c", "d", "e"]
    assert ids.titles_array.tolist() == ["", "", "", "", "D", ""]
