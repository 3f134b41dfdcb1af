import pytest

from jaxrec.data.titles import read_titles


@pytest.mark.parametrize(
    "name, content",
    [
        (
            "movies.dat",
            "1::Amélie (2001)::Comedy\n20::Heat::Crime|Drama\n".encode("latin-1"),
        ),
        ("u.item", "1|Amélie (2001)|01-Jan|x\n20|Heat||\n".encode("latin-1")),
        (
            "items.tsv",
            "item_id\tasin\tkeyphrase\n1\tB1\tAmélie (2001)\n20\t\tHeat".encode(),
        ),
        (
            "items.tsv",
            "item_id\tname\tkind\r\n1\tAmélie (2001)\tx\r\n20\tHeat\t\r\n".encode(),
        ),
        (
            "Games.item",
            "item_id:token\ttitle:token_seq\n1\tAmélie (2001)\n20\tHeat\n".encode(),
        ),
    ],
)
def test_read_titles(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_titles(tmp_path / name) == {"1": "Amélie (2001)", "20": "Heat"}


def test_bad_title_files(tmp_path):
    path = tmp_path / "items.tsv"
    path.write_text("item_id\tprice\n1\t2\n")
    with pytest.raises(ValueError, match=r"items\.tsv: .*title, name, keyphrase"):
        read_titles(path)
    path.write_text("item_id\ttitle\n1\tx\n2\n")
    with pytest.raises(ValueError, match="line 3: 1 fields, expected at least 2"):
        read_titles(path)
    path.write_text("")
    with pytest.raises(ValueError, match="the file is empty"):
        read_titles(path)
