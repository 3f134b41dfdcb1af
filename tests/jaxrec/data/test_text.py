import gzip

import numpy as np
import pytest

from jaxrec.data import text


@pytest.mark.parametrize(
    "field, value",
    [("0", 0), ("7", 7), ("-12", -12), ("999999999999999999", 10**18 - 1)],
)
def test_plain_integers(field, value):
    values, plain = text.plain_integers(np.array([field.encode(), b"5"]))
    assert plain.all()
    assert values.tolist() == [value, 5]


@pytest.mark.parametrize(
    "field", ["", "-", "-0", "00", "01", "1.0", "+1", "1e3", "a", "1" * 19, "1-", "é"]
)
def test_what_is_not_a_plain_integer(field):
    _, plain = text.plain_integers(np.array([field.encode(), b"5"]))
    assert plain.tolist() == [False, True]


def test_plain_integers_agree_with_python():
    rng = np.random.default_rng(1)
    wanted = rng.integers(-(10**18) + 1, 10**18, 1000) // 10 ** rng.integers(
        0, 19, 1000
    )
    values, plain = text.plain_integers(np.array([str(v).encode() for v in wanted]))
    assert plain.all()
    np.testing.assert_array_equal(values, wanted)


def lines_of(path, **kwargs):
    blocks = list(text.separated(path, ",", [0, 2], 3, **kwargs))
    rows = [tuple(row) for b in blocks for row in zip(*b.fields, strict=True)]
    return rows, [int(line) for block in blocks for line in block.lines]


def test_separated_counts_lines_and_passes_blank_ones(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"h,h,h\r\n1,x,22\r\n\r\n333, y ,4 \n5,,")
    rows, lines = lines_of(path, skip=1)
    assert rows == [(b"1", b"22"), (b"333", b"4"), (b"5", b"")]
    assert lines == [2, 4, 5]


@pytest.mark.parametrize("size", [1, 7, 16, 1000])
def test_blocks_do_not_change_the_result(tmp_path, monkeypatch, size):
    monkeypatch.setattr(text, "BLOCK_BYTES", size)
    path = tmp_path / "a.gz"
    path.write_bytes(
        gzip.compress(b"".join(b"%d,x,%d\n" % (i, i * i) for i in range(99)))
    )
    rows, lines = lines_of(path)
    assert rows == [(b"%d" % i, b"%d" % (i * i)) for i in range(99)]
    assert lines == list(range(1, 100))
    words, counts, at = zip(*text.tokens(path), strict=True)
    assert np.concatenate(words).tolist() == [
        b"%d,x,%d" % (i, i * i) for i in range(99)
    ]
    assert np.concatenate(counts).tolist() == [1] * 99
    assert np.concatenate(at).tolist() == list(range(1, 100))


def test_byte_order_mark_is_no_part_of_the_first_field(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbf1,2,3\n")
    assert lines_of(path)[0] == [(b"1", b"3")]


def test_wrong_number_of_fields_names_the_line(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1,2,3\n\n1,2\n")
    with pytest.raises(ValueError, match=r"a, line 3: 2 fields separated by ','.* 3"):
        lines_of(path)


def test_tokens_of_uneven_lines(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b" u  a\tb \n\n   \nv c")
    ((words, counts, lines),) = text.tokens(path)
    assert words.tolist() == [b"u", b"a", b"b", b"v", b"c"]
    assert counts.tolist() == [3, 2]
    assert lines.tolist() == [1, 4]


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file: .*absent"):
        list(text.tokens(tmp_path / "absent"))
    with pytest.raises(ValueError, match="is a directory"):
        list(text.tokens(tmp_path))


def test_damaged_gzip_names_the_file(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"u i\n" * 1000)[:-12])
    with pytest.raises(ValueError, match=r"a\.gz: damaged gzip file"):
        list(text.tokens(path))
