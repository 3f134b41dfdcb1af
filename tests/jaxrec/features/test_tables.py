import numpy as np
import pytest

from jaxrec.features.tables import read_table

VECTORS = np.array([[1.5, 2], [0, 0], [3, 4]])
IDS = ["b", "a", "c"]


def npy(path, vectors=VECTORS):
    np.save(path, vectors)
    return path


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def parquet(path, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), path)
    return path


def check(found, ids=IDS):
    assert found[0].tolist() == ids and found[0].dtype.kind == "U"
    np.testing.assert_array_equal(found[1], VECTORS)
    assert found[1].dtype == np.float32


def test_npy(tmp_path):
    path = npy(tmp_path / "a.npy")
    check(read_table(path, IDS))
    (tmp_path / "a.ids").write_text("7\n8\n9\n")
    check(read_table(path, IDS), ["7", "8", "9"])


@pytest.mark.parametrize("name", ["ids", "item_ids"])
def test_npz(tmp_path, name):
    path = tmp_path / "a.npz"
    check(read_table(npz(path, vectors=VECTORS, **{name: np.array(IDS)})))
    check(read_table(npz(path, **{name: np.arange(3), "x": VECTORS})), list("012"))


def test_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    check(read_table(parquet(path, embedding=VECTORS.tolist(), item_id=IDS)))
    check(read_table(parquet(path, x=VECTORS[:, 0], ASIN=IDS, y=VECTORS[:, 1])))
    check(read_table(parquet(path, who=[1, 2, 3], v=VECTORS.tolist())), list("123"))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (VECTORS[:2], ": 2 rows, but 3 ids; those of a .npy are in NAME.ids"),
        (np.where(VECTORS == 4, np.nan, VECTORS), r", row 3 \(item 'c'\): NaN"),
        (np.where(VECTORS == 2, 1e300, VECTORS), r", row 1 \(item 'b'\): .*infinite"),
        (VECTORS.astype(str), ": elements of type <U.* are no numbers"),
        (VECTORS[:, 0], r": shape \(3,\) is not \(items, dimensions\)"),
        (VECTORS[:, :0], r": shape \(3, 0\) is not"),
    ],
)
def test_bad_vectors(tmp_path, vectors, message):
    with pytest.raises(ValueError, match=rf"a\.npy{message}"):
        read_table(npy(tmp_path / "a.npy", vectors), IDS)
    with pytest.raises(ValueError, match=rf"a\.npz{message}"):
        read_table(npz(tmp_path / "a.npz", ids=np.array(IDS), v=vectors))


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.npy"):
        read_table(tmp_path / "absent.npy")
    text = tmp_path / "a.txt"
    text.write_text("x")
    with pytest.raises(ValueError, match="a.txt: the name does not end in .npy"):
        read_table(text)
    for suffix in ("npy", "npz"):
        (tmp_path / f"t.{suffix}").write_text("x")
        with pytest.raises(ValueError, match=rf"t\.{suffix}: not readable by NumPy"):
            read_table(tmp_path / f"t.{suffix}", IDS)
    with pytest.raises(ValueError, match=r"whose rows are these\?.*a\.ids"):
        read_table(npy(tmp_path / "a.npy"))
    npz(tmp_path / "b.npz", x=VECTORS).rename(tmp_path / "b.npy")
    with pytest.raises(ValueError, match="b.npy: an archive of arrays"):
        read_table(tmp_path / "b.npy", IDS)
    npy(tmp_path / "c.npy").rename(tmp_path / "c.npz")
    with pytest.raises(ValueError, match="c.npz: a single array"):
        read_table(tmp_path / "c.npz")
    with pytest.raises(ValueError, match="arrays are x, y; wanted are item_ids or ids"):
        read_table(npz(tmp_path / "d.npz", x=VECTORS, y=VECTORS))
    twice = npz(tmp_path / "e.npz", ids=np.array(["a", "b", "a"]), x=VECTORS)
    with pytest.raises(ValueError, match=r"e\.npz, row 3: item 'a' once more"):
        read_table(twice)


def test_bad_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    for columns, message in (
        ({"item_id": IDS, "x": [1.0, None, 2.0]}, "row 2: column 'x' is empty"),
        (
            {"item_id": IDS, "v": [[1, 2], [3, 4], [5]]},
            "row 3: 1 dimensions, row 1 ",
        ),
        ({"item_id": IDS, "v": [[1, 2], [3, None], [5, 6]]}, "row 2: an element is"),
        ({"item_id": IDS, "x": IDS}, "elements of type object are no numbers"),
        ({"item_id": IDS}, "a column of ids and one of vectors"),
    ):
        with pytest.raises(ValueError, match=rf"a\.parquet.*{message}"):
            read_table(parquet(path, **columns))
    path.write_text("x")
    with pytest.raises(ValueError, match="a.parquet: not a Parquet file"):
        read_table(path)


def test_parquet_without_its_library(tmp_path, monkeypatch):
    path = parquet(tmp_path / "a.parquet", item_id=IDS, x=[1, 2, 3])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxrec\[features\]'"):
        read_table(path)
