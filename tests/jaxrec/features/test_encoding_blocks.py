import io

import numpy as np
import pytest

from jaxrec.core import progress
from jaxrec.features import blocks


def lengths(texts):
    return np.array([[len(text), 1] for text in texts], np.float64)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 2)


def test_a_killed_run_goes_on(tmp_path):
    texts, seen = ["a", "bb", "ccc", "dddd", "eeeee"], []

    def killed(block):
        if "ccc" in block:
            raise KeyboardInterrupt
        seen.extend(block)
        return lengths(block)

    def goes_on(block):
        seen.extend(block)
        return lengths(block)

    with pytest.raises(KeyboardInterrupt):
        blocks.encode(texts, killed, tmp_path / "new", "texts")
    found = blocks.encode(texts, goes_on, tmp_path / "new", "texts")
    np.testing.assert_array_equal(found, lengths(texts))
    assert found.dtype == np.float32
    assert seen == texts  # each of them once
    # One item of other content: its block alone is encoded again.
    texts[2] = "cc"
    blocks.encode(texts, goes_on, tmp_path / "new", "texts")
    assert seen[5:] == ["cc", "dddd"]


def test_files_go_by_their_contents(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    calls = []

    def read(block):
        calls.append(1)
        return lengths([path.read_text() for path in block])

    for content, wanted in (("xx", 1), ("xx", 1), ("y", 2)):
        for file in files:
            file.write_text(content)
        found = blocks.encode(files, read, tmp_path / "kept", "images")
        np.testing.assert_array_equal(found[:, 0], [len(content)] * 2)
        assert len(calls) == wanted


def test_a_damaged_block_is_encoded_again(tmp_path):
    blocks.encode(["a", "bb"], lengths, tmp_path, "texts")
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-1], b"no array"):
        kept.write_bytes(damaged)
        found = blocks.encode(["a", "bb"], lengths, tmp_path, "texts")
        np.testing.assert_array_equal(found, lengths(["a", "bb"]))
        assert kept.read_bytes() == whole


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress(tmp_path, monkeypatch):
    seconds = iter(range(0, 100, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    stream = Terminal()
    texts = ["a", "bb", "ccc", "dddd", "eeeee", "f"]
    blocks.encode(texts[:2], lengths, tmp_path, "first", Terminal())
    blocks.encode(texts, lengths, tmp_path, "texts", stream)
    lines = stream.getvalue().split(progress.CLEAR)
    # The two that were kept take no part in the rate: 2 in 2 s, 4 in 4 s.
    assert lines[1:] == [
        "texts: 4/6  1 items/s  ETA 0:02",
        "texts: 6/6  1 items/s  ETA 0:00",
        "",
    ]
