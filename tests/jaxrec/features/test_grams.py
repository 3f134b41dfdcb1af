import collections

import numpy as np
import pytest

from jaxrec.features import grams

KINDS = {"word": 1, "pair": 2, "characters": 3}


def spans(text):
    """The n-grams of a normalised text as (kind, characters), one by one."""
    words = text.split()
    yield from (("word", word) for word in words)
    yield from (
        ("pair", " ".join(pair)) for pair in zip(words, words[1:], strict=False)
    )
    for word in words:
        padded = f" {word} "
        for length in grams.CHARACTERS:
            for start in range(len(padded) - length + 1):
                yield "characters", padded[start : start + length]


def test_normalised():
    assert (
        grams.normalised("Title: The  WORD-\nPerfect_5.1")
        == "title the word perfect 5 1"
    )
    assert grams.normalised("Amélie ２") == "amélie 2"
    assert grams.normalised("?!") == ""


def bucket(kind, span):
    """The bucket by the formula, with Python's integers."""
    total = sum(ord(letter) * grams._PRIME**at for at, letter in enumerate(span))
    x = (total + KINDS[kind] * 0x9E3779B97F4A7C15) % (1 << 64)
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % (1 << 64)
    return (x ^ (x >> 31)) % grams.BUCKETS


def test_counts_are_those_of_n_grams_taken_one_by_one(monkeypatch):
    monkeypatch.setattr(grams, "_BLOCK", 2)
    texts = ["the cat the cat", "", "a", "cat 𝔘 théâtre", "dog cat", ""]
    wanted = collections.Counter(
        (row, bucket(*span)) for row, text in enumerate(texts) for span in spans(text)
    )
    rows, buckets, counts = (part.tolist() for part in grams.count(texts))
    assert list(zip(rows, buckets, strict=True)) == sorted(wanted)
    assert counts == [wanted[key] for key in sorted(wanted)]


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_nothing_to_count(texts):
    assert [len(part) for part in grams.count(texts)] == [0, 0, 0]
    assert all(part.dtype == np.int64 for part in grams.count(texts))
