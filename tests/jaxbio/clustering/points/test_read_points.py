"""Tables of points from files, and what is said of bad ones."""

import gzip

import numpy as np
import pytest

from jaxbio.clustering.points.read import read_points


def test_formats(tmp_path):
    table = np.array([[0.5, -1.0], [2.0, 3e2]])
    np.save(tmp_path / "a.npy", table)
    (tmp_path / "b.csv").write_text("x,y\n0.5,-1\n2,3e2\n\n")
    (tmp_path / "c.tsv").write_text("0.5\t-1\n2\t3e2\n")
    (tmp_path / "d.txt").write_text("0.5 -1\n2   3e2\n")
    (tmp_path / "e.csv").write_text("\ufeffname;y;x\na;-1;0.5\nb;3e2;2\n")
    for name in ("a.npy", "b.csv", "c.tsv", "d.txt"):
        np.testing.assert_array_equal(read_points(tmp_path / name), table)
    (tmp_path / "f.csv.gz").write_bytes(gzip.compress(b"0.5,-1\n2,3e2\n"))
    np.testing.assert_array_equal(read_points(tmp_path / "f.csv.gz"), table)
    chosen = read_points(tmp_path / "e.csv", ["x", "1"])
    np.testing.assert_array_equal(chosen, table)


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("x,y\n1,2\n3,b\n", [], "line 3, column 1: 'b' is no number"),
        ("x,y\n1,2\n3,nan\n", [], "line 3, column 1: nan is not finite"),
        ("1,2\n3\n", [], "line 2: 1 columns, 2 before"),
        ("x,y\n", [], "no points"),
        ("", [], "no points"),
        (
            "time,y\n1,2\n",
            ["tim"],
            "there is no column 'tim' of 2; did you mean 'time'",
        ),
        ("1,2\n", ["2"], "there is no column '2' of 2"),
    ],
)
def test_bad_tables_name_the_line(tmp_path, text, columns, message):
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_points(tmp_path / "points.csv", columns)


def test_bad_arrays_and_missing_files(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(
        ValueError, match="want a table .* got float64 of shape \\(3,\\)"
    ):
        read_points(tmp_path / "a.npy")
    with pytest.raises(FileNotFoundError, match="no such file|No such file"):
        read_points(tmp_path / "b.npy")
