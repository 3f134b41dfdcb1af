"""Slow encoders, a block of items at a time, each block kept as it comes.

A block is kept under the hash of what is in it, so that a run that was killed goes on
where it was and one with a few new items encodes little more than those.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
from absl import logging

from jaxrec.core.progress import CountLine
from jaxrec.data.cache import content_hash

BLOCK = 256


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
    blocks = []
    with CountLine(what, len(items), unit="items", stream=stream) as progress:
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
                progress.done(len(block))
            else:
                progress.found(len(block))
            blocks.append(vectors)
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
