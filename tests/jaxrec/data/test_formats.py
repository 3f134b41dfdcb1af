import gzip
import time

import numpy as np
import pytest

from jaxrec.data import formats


def written(tmp_path, content, name="data.csv", compress=False):
    path = tmp_path / (name + ".gz" * compress)
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if compress else content)
    return path


def ids(array):
    return [x.decode() if isinstance(x, bytes) else str(x) for x in array.tolist()]


# The same three events, in every format that can hold them.
EVENTS = {
    "data.csv": "userId,movieId,rating,timestamp\n8,40,3.5,100\n8,41,1,90\n9,40,5,80\n",
    "data.tsv": "rating\tuser\ttime\titem\n"
    "3.5\t8\t100\t40\n1\t8\t90\t41\n5\t9\t80\t40\n",
    "data.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "8\t40\t3.5\t100.0\n8\t41\t1.0\t90.0\n9\t40\t5.0\t80\n",
    "ratings.dat": "8::40::3.5::100\n8::41::1::90\n9::40::5::80\n",
    "u.data": "8\t40\t3.5\t100\n8\t41\t1\t90\n9\t40\t5\t80\n",
    "tab.txt": "8\t40\t3.5\t100\n8\t41\t1\t90\n9\t40\t5\t80\n",
    "tabs.csv": "user\titem\trating\ttime\n"
    "8\t40\t3.5\t100\n8\t41\t1\t90\n9\t40\t5\t80\n",
    "semicolon.csv": "user;item;stars;ts\n8;40;3.5;100\n8;41;1;90\n9;40;5;80\n",
    "quoted.csv": '"user","item","note","rating","time"\r\n'
    '8,"40","a ""b"", c\nd",3.5,100\r\n8,41,,1,90\r\n9,40,x,5,80\r\n',
    "pairs.txt": "8 40\n8 41\n9 40\n",
    "sequences.txt": "8 40 41\n9 40\n",
}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", EVENTS)
def test_auto_reads_every_format(tmp_path, name, compress):
    table = formats.read(written(tmp_path, EVENTS[name], name, compress))
    assert table.user.tolist() == [8, 8, 9]
    assert table.item.tolist() == [40, 41, 40]
    if name in ("pairs.txt", "sequences.txt"):
        assert table.time is None and table.rating is None
    else:
        assert table.time.tolist() == [100, 90, 80]
        assert table.time.dtype == np.int64
        assert table.rating.tolist() == [3.5, 1, 5]
        assert table.rating.dtype == np.float32


@pytest.mark.parametrize(
    "name, form",
    [
        ("ratings.dat", "movielens"),
        ("u.data", "u.data"),
        ("tab.txt", "u.data"),
        ("data.csv", "csv"),
        ("data.inter", "tsv"),
        ("pairs.txt", "pairs"),
        ("sequences.txt", "sequences"),
    ],
)
def test_detect(tmp_path, name, form):
    assert formats.detect(written(tmp_path, EVENTS[name], name)) == form


def test_lines_that_are_sequences_or_columns_are_refused(tmp_path):
    path = written(tmp_path, "8 40 41\n9 40 42\n", "data.txt")
    with pytest.raises(ValueError, match="every line has 3 words; set data.format"):
        formats.read(path)
    assert formats.read(path, "sequences").item.tolist() == [40, 41, 40, 42]


def test_named_columns(tmp_path):
    path = written(tmp_path, "who,when,what,user\nann,5,x,1\nbob,6,y,2\n")
    table = formats.read(path, "csv", {"user": "who", "item": "what", "time": "when"})
    assert ids(table.user) == ["ann", "bob"]
    assert ids(table.item) == ["x", "y"]
    assert table.time.tolist() == [5, 6]


def test_positions_for_a_file_without_header(tmp_path):
    path = written(tmp_path, "5,ann,x\n6,bob,y\n")
    table = formats.read(path, "csv", {"user": "1", "item": "2", "time": "0"})
    assert ids(table.user) == ["ann", "bob"]
    assert table.time.tolist() == [5, 6]
    with pytest.raises(ValueError, match="data.columns.item=3 but line 1 has 3 fields"):
        formats.read(path, "csv", {"user": "1", "item": "3"})


def test_wrong_column_names_file_columns_and_the_nearest(tmp_path):
    path = written(tmp_path, "user_id,item_id,rating\n1,2,3\n")
    with pytest.raises(
        ValueError,
        match=r"data\.csv: data\.columns\.user 'user_idd' is unknown; did you mean "
        r"'user_id'\? Accepted: user_id, item_id, rating",
    ):
        formats.read(path, "csv", {"user": "user_idd"})


def test_no_column_for_a_role(tmp_path):
    path = written(tmp_path, "a,b\n1,2\n")
    with pytest.raises(
        ValueError, match=r"no column for user among a, b; name it with"
    ):
        formats.read(path)


def test_columns_of_a_format_without_names_are_refused(tmp_path):
    path = written(tmp_path, EVENTS["u.data"], "u.data")
    with pytest.raises(ValueError, match="'u.data' has no column names"):
        formats.read(path, columns={"user": "user"})


@pytest.mark.parametrize("quote", ["", '"'])
def test_time_that_is_no_number_names_the_line(tmp_path, quote):
    rows = f"user,item,time\n{quote}1{quote},2,3\n1,2,2020-01-01\n"
    with pytest.raises(
        ValueError, match=r"data\.csv, line 3: the time '2020-01-01' is"
    ):
        formats.read(written(tmp_path, rows))


@pytest.mark.parametrize(
    "text", ["nan", "1.5", "inf", "1e300", "", "8812.250", "1..", "."]
)
def test_times_that_are_no_whole_numbers(tmp_path, text):
    with pytest.raises(ValueError, match="line 2: the time"):
        formats.read(written(tmp_path, f"user,item,time\n1,2,{text}\n"))


@pytest.mark.parametrize(
    "text, value",
    [
        ("881250949.0", 881250949),
        ("1649581149287", 1649581149287),
        ("8.81250949e8", 881250949),
        ("9007199254740993.0", 2**53 + 1),  # A float64 cannot hold it.
        ("-5", -5),
        ("0.0", 0),
        ("50.", 50),
        ("1200.000", 1200),
        ("007", 7),
    ],
)
def test_times_are_exact(tmp_path, text, value):
    table = formats.read(written(tmp_path, f"user,item,time\n1,2,{text}\n1,2,3\n"))
    assert table.time.tolist() == [value, 3]


def test_rating_that_is_no_number_names_the_line(tmp_path):
    with pytest.raises(ValueError, match="line 3: the rating 'good' is not finite"):
        formats.read(written(tmp_path, "user,item,rating\n1,2,3\n1,2,good\n"))


def test_too_few_and_too_many_fields_name_the_line(tmp_path):
    path = written(tmp_path, "1::2::3::4\n1::2::3\n", "ratings.dat")
    with pytest.raises(
        ValueError, match=r"line 2: 3 fields separated by '::', expected 4"
    ):
        formats.read(path)
    with pytest.raises(ValueError, match="line 2: 3 fields .* expected 2"):
        formats.read(written(tmp_path, "user,item\n1,2,3\n"))
    with pytest.raises(ValueError, match="line 3: 3 fields .* expected 2"):
        formats.read(written(tmp_path, 'user,item\n"1",2\n1,2,3\n'))
    with pytest.raises(ValueError, match="line 2: 1 word, expected a user and at"):
        formats.read(written(tmp_path, "1 2 3\n4\n", "s.txt"), "sequences")
    with pytest.raises(
        ValueError, match="line 2: 3 words, expected a user and an item"
    ):
        formats.read(written(tmp_path, "1 2\n4 5 6\n", "p.txt"), "pairs")


def test_empty_id_names_the_line(tmp_path):
    with pytest.raises(ValueError, match="line 3: the item id is empty"):
        formats.read(written(tmp_path, "user,item\n1,2\n3,\n"))


def test_id_that_is_not_utf8_names_the_line(tmp_path):
    for quote in (b"", b'"'):
        content = b"user,item\n1,a\n1," + quote + b"\xff" + quote + b"\n"
        with pytest.raises(ValueError, match="line 3: the item id .* is not UTF-8"):
            formats.read(written(tmp_path, content))


@pytest.mark.parametrize(
    "name", ["a.csv", "a.txt", "ratings.dat", "u.data", "a.parquet"]
)
def test_empty_file(tmp_path, name):
    with pytest.raises(ValueError, match="the file is empty"):
        formats.read(written(tmp_path, "", name))


@pytest.mark.parametrize(
    "form", ["csv", "tsv", "sequences", "pairs", "movielens", "u.data"]
)
def test_file_without_events(tmp_path, form):
    content = {"csv": "user,item\n", "tsv": "user\titem\n"}.get(form, "\n\n")
    with pytest.raises(ValueError, match="no interactions in this file"):
        formats.read(written(tmp_path, content), form)


def test_missing_file(tmp_path):
    for form in ("auto", "csv", "sequences"):
        with pytest.raises(FileNotFoundError, match="absent.csv"):
            formats.read(tmp_path / "absent.csv", form)


def test_ids_of_mixed_kind_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxrec.data.text.BLOCK_BYTES", 8)
    path = written(tmp_path, "user,item\n1,10\n2,11\n3,B0001\n4,é\n")
    assert ids(formats.read(path).item) == ["10", "11", "B0001", "é"]


def test_a_user_on_several_lines(tmp_path):
    table = formats.read(written(tmp_path, "1 5 6 7\n2 5\n1 8 9\n", "a.txt"))
    assert table.user.tolist() == [1, 1, 1, 2, 1, 1]


def test_reading_is_fast(tmp_path):
    rng = np.random.default_rng(0)
    rows = 200_000
    columns = rng.integers(1, 10**5, (rows, 2)), rng.integers(10**9, 2 * 10**9, rows)
    lines = [
        f"A{u},{i},3,{t}" for (u, i), t in zip(columns[0], columns[1], strict=True)
    ]
    path = written(tmp_path, "user,item,rating,time\n" + "\n".join(lines))
    begin = time.process_time()
    table = formats.read(path)
    seconds = time.process_time() - begin
    np.testing.assert_array_equal(table.time, columns[1])
    np.testing.assert_array_equal(table.item, columns[0][:, 1])
    assert seconds < 3 * rows / 1e6 * 2  # 3 s per million, and as much again to spare.


def test_columns_that_are_not_read_are_named(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("jaxrec.data.delimited.logging.warning", said.append)
    path = tmp_path / "events.csv"
    path.write_text("who,what,whenever\na,x,3\na,y,1\n")
    formats.read(str(path), columns={"user": "who", "item": "what"})
    assert "user = who, item = what, no time" in said[0]
    assert "not read: whenever" in said[0]
