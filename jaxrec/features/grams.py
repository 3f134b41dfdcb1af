"""Texts to counts of hashed n-grams, many texts at once.

A text is lower-cased and reduced to its words, runs of letters and digits. Counted are

    words and pairs of neighbouring words
    3 to 5 characters within a word, a blank before and behind it included

The hash of a span is that of the polynomial of its code points, modulo 2**64,

    sum_j c[s + j] * P**j  =  P**-s * (S[e] - S[s]),   S[i] = sum_{j<i} c[j] * P**j,

which prefix sums give for all spans of all texts without a loop over texts. It is the
same in every process and on every machine, which Python's own `hash` is not.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

BUCKETS = 1 << 20
CHARACTERS = (3, 4, 5)
# Part of the meaning of kept encoders: with other n-grams it must change.
VERSION = 1

_BLOCK = 1024  # texts at a time
_WORD = re.compile(r"[^\W_]+")
_BLANK = ord(" ")
_PRIME = 0x100000001B3  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_PRIME, -1, 1 << 64)


def normalised(text: str) -> str:
    """The words of a text in lower case, one blank between two."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).lower()))


def count(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts the n-grams of texts.

    Args:
        texts: Normalised texts.

    Returns:
        rows, buckets and counts, each (entries,): in text `rows[i]` the n-grams of
        bucket `buckets[i]`, int64 below `BUCKETS`, occur `counts[i]` times. Sorted by
        row, then by bucket, each pair once.
    """
    parts = [
        _count_block(texts[begin : begin + _BLOCK], begin)
        for begin in range(0, len(texts), _BLOCK)
    ]
    if not parts:
        return (np.zeros(0, np.int64),) * 3
    rows, buckets, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, buckets, counts


def _count_block(texts: Sequence[str], first: int) -> tuple[np.ndarray, ...]:
    # Every word has a blank before and behind it: " the cat " + " a dog ".
    padded = [f" {text} " if text else "" for text in texts]
    characters = np.frombuffer("".join(padded).encode("utf-32-le"), "<u4")
    text_of = np.repeat(np.arange(len(texts)), [len(text) for text in padded])
    if len(characters) == 0:
        return (np.zeros(0, np.int64),) * 3
    hashes = _Spans(characters)
    blank = characters == _BLANK
    begins = np.flatnonzero(blank[:-1] & ~blank[1:]) + 1
    ends = np.flatnonzero(~blank[:-1] & blank[1:]) + 1
    found = [(text_of[begins], hashes(begins, ends, kind=1))]
    paired = text_of[begins[:-1]] == text_of[begins[1:]]
    firsts, lasts = begins[:-1][paired], ends[1:][paired]
    found.append((text_of[firsts], hashes(firsts, lasts, kind=2)))
    # Blanks up to each place, to see whether a span has one that is not at its ends.
    blanks = np.concatenate([[0], np.cumsum(blank)])
    for length in CHARACTERS:
        starts = np.arange(len(characters) - length + 1)
        inner = blanks[starts + length - 1] - blanks[starts + 1]
        starts = starts[inner == 0]
        found.append((text_of[starts], hashes(starts, starts + length, kind=3)))
    rows, buckets = (np.concatenate(part) for part in zip(*found, strict=True))
    keys, counts = np.unique(rows * BUCKETS + buckets, return_counts=True)
    return first + keys // BUCKETS, keys % BUCKETS, counts


class _Spans:
    """Buckets of spans of a text."""

    def __init__(self, characters: np.ndarray):
        with np.errstate(over="ignore"):
            powers = _powers(_PRIME, len(characters))
            sums = np.cumsum(characters.astype(np.uint64) * powers, dtype=np.uint64)
        self._sums = np.concatenate([np.zeros(1, np.uint64), sums])
        self._inverses = _powers(_INVERSE, len(characters))

    def __call__(self, begins: np.ndarray, ends: np.ndarray, kind: int) -> np.ndarray:
        """(n,) int64 buckets of the spans [begin, end); kinds do not share hashes."""
        with np.errstate(over="ignore"):
            x = (self._sums[ends] - self._sums[begins]) * self._inverses[begins]
            # The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
            x = x + np.uint64(kind * 0x9E3779B97F4A7C15 % (1 << 64))
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
        return (x % np.uint64(BUCKETS)).astype(np.int64)


def _powers(base: int, count: int) -> np.ndarray:
    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
