import gzip
import json

import pytest

from jaxrec.data.items import read_items

FLAGS = "|".join("1" if genre in (5, 8) else "0" for genre in range(19))
JSON = {
    "7": {
        "title": "A\u00e9ro",
        "description": "['First part.', 'Second.']",
        "brand": "B",
        "categories": "",
    },
    "8": {"title": None, "price": 9.5, "category": ["Video Games", "PC"]},
}
LITERALS = (
    "{'asin': 'B1', 'price': 3.5, 'title': \"It's\", "
    "'categories': [['Beauty', 'Skin'], ['Other']]}\n"
    "\n"
    '{"asin": "B2", "description": ["[no list", "x"], "title": "[odd"}\n'
)


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        (
            "movies.dat",
            "1::Amélie (2001)::Comedy|Romance\n2::Heat::\n".encode("latin-1"),
            {
                "1": {"title": "Amélie (2001)", "categories": "Comedy, Romance"},
                "2": {"title": "Heat"},
            },
        ),
        (
            "u.item",
            f"1|Heat|01-Jan||url|{FLAGS}\n2|Short|x\n".encode(),
            {
                "1": {"title": "Heat", "categories": "Comedy, Drama"},
                "2": {"title": "Short"},
            },
        ),
        (
            "items.tsv",
            b"asin\tprice\ttitle\tbrand\titem_id\r\nB\t 3\tx\ty\t1\r\nC\t\t\tz\t2",
            {"1": {"price": "3", "title": "x", "brand": "y"}, "2": {"brand": "z"}},
        ),
        (
            "items.csv",
            b'item_id:token,Name:token_seq,categories\n1,"a, ""b""\nc",d\n2,e,\n',
            {"1": {"title": 'a, "b"\nc', "categories": "d"}, "2": {"title": "e"}},
        ),
        (
            "items.json",
            json.dumps(JSON, indent=1).encode(),
            {
                "7": {
                    "title": "Aéro",
                    "brand": "B",
                    "description": "First part. Second.",
                },
                "8": {"price": "9.5", "categories": "Video Games, PC"},
            },
        ),
        (
            "meta.json",
            LITERALS.encode(),
            {
                "B1": {"price": "3.5", "title": "It's", "categories": "Beauty, Skin"},
                "B2": {"title": "[odd", "description": "[no list x"},
            },
        ),
        ("one.jsonl", b'{"item_id": 5, "title": "x"}\n', {"5": {"title": "x"}}),
    ],
)
def test_read_items(tmp_path, name, content, wanted):
    (tmp_path / name).write_bytes(content)
    assert read_items(tmp_path / name) == wanted
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    assert read_items(tmp_path / f"{name}.gz") == wanted
    titles = {
        key: {k: v for k, v in fields.items() if k == "title"}
        for key, fields in wanted.items()
    }
    assert read_items(tmp_path / name, ("title",)) == titles


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("i.tsv", "", "the file is empty"),
        ("i.tsv", "item_id\tcolour\n1\tx\n", "header .* Accepted: title, name"),
        ("i.tsv", "key\ttitle\n1\tx\n", "header 'key.ttitle' is unknown.*item_id"),
        ("i.tsv", "item_id\ttitle\n\n1\n", "line 3: 1 fields, expected at least 2"),
        ("i.csv", 'item_id,title\n1,"a\nb"\n2\n', "line 4: 1 fields"),
        ("i.dat", "1::x\n", "line 1: 2 fields, expected at least 3"),
        ("i.json", '{\n"1": {"title": "x"},\n}', "not JSON .*line 3"),
        ("i.jsonl", '{"asin": "1"}\n{"asin": x}\n', "line 2: not JSON"),
        ("i.jsonl", '{"asin": "1"}\n[1]\n', "line 2: not a JSON object"),
        ("i.jsonl", '{"asin": "1"}\n{"title": "x"}\n', "line 2: no item id.*title"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name}(:|,) .*{message}"):
        read_items(tmp_path / name)


def test_absent(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.tsv"):
        read_items(tmp_path / "absent.tsv")
