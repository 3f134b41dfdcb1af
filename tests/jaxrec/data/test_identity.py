import numpy as np
import pytest

from jaxrec.data.identity import as_integers, number


@pytest.mark.parametrize(
    "raw",
    [
        np.array([10, 9, -3, 10]),
        np.array([b"10", b"9", b"-3", b"10"]),
        np.array(["10", "9", "-3", "10"]),
        # Too far apart for a table of all values.
        np.array([10, 9, -3, 10]) * 10**15,
    ],
)
def test_integers_go_in_numeric_order(raw):
    ids, codes = number(raw)
    assert [int(i) // (10**15 if raw[0] == 10**16 else 1) for i in ids] == [-3, 9, 10]
    assert codes.tolist() == [2, 1, 0, 2]


def test_other_ids_go_by_code_point():
    ids, codes = number(np.array(["b", "é".encode().decode(), "10", "9", "b"]))
    assert ids.tolist() == ["10", "9", "b", "é"]
    assert codes.tolist() == [2, 3, 0, 1, 2]


def test_bytes_are_utf8():
    ids, codes = number(np.array(["é".encode(), b"z"]))
    assert ids.tolist() == ["z", "é"]
    assert codes.tolist() == [1, 0]


@pytest.mark.parametrize(
    "text", ["007", "+7", " 7", "7.0", "", "-0", "1_000", "9" * 20]
)
def test_what_is_not_written_plainly_is_text(text):
    assert as_integers(np.array([text, "1"])) is None


def test_leading_zeros_stay_distinct():
    ids, _ = number(np.array([b"7", b"07"]))
    assert ids.tolist() == ["07", "7"]


def test_numbering_does_not_depend_on_the_order_of_the_file():
    raw = np.random.default_rng(0).integers(0, 50, 400)
    ids, codes = number(raw)
    shuffled, _ = number(raw[::-1])
    assert ids.tolist() == shuffled.tolist() == [str(i) for i in np.unique(raw)]
    np.testing.assert_array_equal(ids[codes], raw.astype(str))
