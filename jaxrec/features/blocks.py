"""Slow encoders, a block of items at a time, each block kept as it comes.

A block is kept under the hash of what is in it, so that a run that was killed goes on
where it was and one with a few new items encodes little more than those.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
from absl import logging

from jaxrec.core.progress import CLEAR, duration, short
from jaxrec.data.cache import content_hash

BLOCK = 256
_LOG_SECONDS = 30.0


def encode(
    items: Sequence[str] | Sequence[Path],
    encoder: Callable[[Sequence], np.ndarray],
    directory: Path,
    what: str,
    stream: TextIO | None = None,
) -> np.ndarray:
    """Encodes items in blocks, those that were encoded before from the directory.

    Args:
        items: One or more texts, or files whose contents are encoded.
        encoder: Some of them to (n, dim) float32.
        directory: Where blocks of this very encoder are kept.
        what: What they are, for the line of progress.
        stream: Where the line goes; standard error if None.

    Returns:
        (len(items), dim) float32.
    """
    directory.mkdir(parents=True, exist_ok=True)
    progress = _Progress(what, len(items), sys.stderr if stream is None else stream)
    blocks = []
    for begin in range(0, len(items), BLOCK):
        block = items[begin : begin + BLOCK]
        path = directory / f"{content_hash(*block)}.npy"
        vectors = _kept(path, len(block))
        if vectors is None:
            vectors = np.asarray(encoder(block), np.float32)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, vectors)
            partial.replace(path)
            progress.encoded(len(block))
        else:
            progress.found(len(block))
        blocks.append(vectors)
    progress.close()
    return np.concatenate(blocks)


def _kept(path: Path, rows: int) -> np.ndarray | None:
    if not path.exists():
        return None
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        logging.warning("%s is damaged (%s); encoding its items again.", path, error)
        return None
    return vectors if len(vectors) == rows else None


class _Progress:
    """A line on a terminal, rewritten; elsewhere a log message every so often."""

    def __init__(self, what: str, total: int, stream: TextIO):
        self._what, self._total, self._stream = what, total, stream
        self._live = stream.isatty()
        self._found = self._encoded = 0
        self._begin = self._shown = time.monotonic()

    def found(self, items: int) -> None:
        """Items that were kept: they say nothing of the rate."""
        self._found += items

    def encoded(self, items: int) -> None:
        self._encoded += items
        now = time.monotonic()
        if not self._live and now - self._shown < _LOG_SECONDS:
            return
        self._shown = now
        rate = self._encoded / max(now - self._begin, 1e-9)
        done = self._found + self._encoded
        text = (
            f"{self._what}: {done}/{self._total}  {short(rate)} items/s  "
            f"ETA {duration((self._total - done) / rate)}"
        )
        if self._live:
            self._stream.write(CLEAR + text)
            self._stream.flush()
        else:
            logging.info("%s", text)

    def close(self) -> None:
        if self._live:
            self._stream.write(CLEAR)
            self._stream.flush()
