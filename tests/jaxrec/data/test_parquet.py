import builtins

import numpy as np
import pytest

from jaxrec.data import formats

pyarrow = pytest.importorskip("pyarrow", reason="needs the extra jaxrec[parquet]")


def written(tmp_path, columns):
    import pyarrow.parquet

    path = tmp_path / "events.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_integers_text_and_time_stamps(tmp_path):
    path = written(
        tmp_path,
        {
            "user_id": pyarrow.array(["b", "é", "b"]),
            "asin": pyarrow.array([3, 1, 2], pyarrow.int32()),
            "timestamp": pyarrow.array([5, 6, 2**40], pyarrow.timestamp("ms")),
            "rating": [1.0, 2.5, 3.0],
        },
    )
    table = formats.read(path)
    assert [user.decode() for user in table.user] == ["b", "é", "b"]
    assert table.item.tolist() == [3, 1, 2]
    assert table.time.tolist() == [5, 6, 2**40]
    assert table.time.dtype == np.int64
    assert table.rating.tolist() == [1.0, 2.5, 3.0]


def test_dictionary_columns(tmp_path):
    users = pyarrow.array(["x", "y", "x"]).dictionary_encode()
    table = formats.read(written(tmp_path, {"user": users, "item": [1, 2, 3]}))
    assert table.user.tolist() == [b"x", b"y", b"x"]


def test_float_times_must_be_whole(tmp_path):
    columns = {"user": [1, 2], "item": [1, 2], "time": [881250949.0, 1.0]}
    assert formats.read(written(tmp_path, columns)).time.tolist() == [881250949, 1]
    columns["time"] = [1.0, 1.5]
    with pytest.raises(ValueError, match="line 2: the time 1.5 is not an integer"):
        formats.read(written(tmp_path, columns))


def test_empty_cell_names_row_and_column(tmp_path):
    path = written(tmp_path, {"user": [1, 2, None], "item": [1, 2, 3]})
    with pytest.raises(ValueError, match="line 3: column 'user' is empty"):
        formats.read(path)


def test_wrong_column(tmp_path):
    path = written(tmp_path, {"user": [1], "item": [2]})
    with pytest.raises(ValueError, match="did you mean 'item'"):
        formats.read(path, columns={"item": "itm"})


def test_no_rows(tmp_path):
    empty = pyarrow.array([], pyarrow.int64())
    with pytest.raises(ValueError, match="no interactions in this file"):
        formats.read(written(tmp_path, {"user": empty, "item": empty}))


def test_not_parquet_and_missing(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"user,item\n1,2\n")
    with pytest.raises(ValueError, match="not a Parquet file"):
        formats.read(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        formats.read(tmp_path / "absent.parquet", "parquet")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = written(tmp_path, {"user": [1], "item": [2]})
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'jaxrec\[parquet\]'"):
        formats.read(path)
