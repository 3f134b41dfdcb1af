import numpy as np
import pytest

from jaxrec.data import Sequences, catalog
from jaxrec.features import texts


@pytest.fixture(autouse=True)
def no_data_directory(monkeypatch):
    monkeypatch.delenv(catalog.DATA_DIRECTORY, raising=False)


def sequences(titles=None):
    return Sequences(
        values=np.array([1, 2, 1], np.int32),
        offsets=np.array([0, 3]),
        user_ids=np.array(["u"]),
        item_ids=np.array(["", "7", "9"]),
        titles=titles,
    )


def test_text_of_an_item():
    fields = {
        "description": "d\ne",
        "categories": "Beauty, Skin",
        "brand": "b",
        "title": "t",
        "price": "3.5",
    }
    assert texts.text_of(fields) == (
        "Title: t\nPrice: 3.5\nBrand: b\nCategories: Beauty, Skin\nDescription: d\ne"
    )
    assert texts.text_of({"brand": "b"}) == "Brand: b"
    assert texts.text_of({}) == ""


def test_texts_come_from_the_item_file(tmp_path):
    events, items = tmp_path / "a.txt", tmp_path / "items.tsv"
    events.write_text("u 7 9\n")
    items.write_text("item_id\ttitle\tbrand\n9\tNine\t\n7\tSeven\tB\n5\t\t\n")
    data = {"name": "custom", "path": str(events), "titles": str(items)}
    wanted = {"9": "Title: Nine", "7": "Title: Seven\nBrand: B", "5": ""}
    assert texts.item_file(data) == items
    assert texts.texts_of(data, sequences()) == wanted
    assert list(texts.read_texts(items)) == ["9", "7", "5"]


def test_texts_of_titles_that_came_with_the_sequences(tmp_path):
    titles = np.array(["", "Seven", ""])
    found = texts.texts_of({"name": "synthetic"}, sequences(titles))
    assert found == {"7": "Title: Seven", "9": ""}
    assert texts.texts_of({"name": "ml1m"}, sequences(titles)) == found


def test_no_texts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("u 7 9\n")
    with pytest.raises(
        ValueError, match=r"'custom' has no texts.*data\.titles.*\.path"
    ):
        texts.texts_of({"name": "custom", "path": str(path)}, sequences())
    with pytest.raises(ValueError, match="did you mean 'games'"):
        texts.item_file({"name": "gamess"})
