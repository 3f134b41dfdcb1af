"""What is sorted: the traces of many electrodes, read piece by piece.

The pipeline takes any object that has what `Traces` names, so that a recording need not
fit into memory; `Recording` is one of an array or a memory map.
"""

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np


class Traces(Protocol):
    """A recording that can be read piece by piece.

    Attributes:
        samples: Its length.
        rate: Samples per second.
        positions: (channels, 2) of the electrodes, micrometres.
    """

    samples: int
    rate: float
    positions: np.ndarray

    def get_traces(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, channels) samples, of any unit."""


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """A recording in an array.

    Attributes:
        traces: (samples, channels), real numbers of any type and unit; may be a memory
            map.
        rate: Samples per second.
        positions: (channels, 2) of the electrodes, micrometres.

    Raises:
        ValueError: A shape or the rate makes no sense.
    """

    traces: np.ndarray
    rate: float
    positions: np.ndarray

    def __post_init__(self):
        if self.traces.ndim != 2 or 0 in self.traces.shape:
            raise ValueError(
                "a recording needs traces of shape (samples, channels), got "
                f"{self.traces.shape}"
            )
        if np.shape(self.positions) != (self.traces.shape[1], 2):
            raise ValueError(
                f"a recording of {self.traces.shape[1]} channels needs positions of "
                f"shape ({self.traces.shape[1]}, 2), got {np.shape(self.positions)}"
            )
        if not np.isfinite(self.positions).all():
            raise ValueError("a recording's positions must be finite")
        if not 0 < self.rate < np.inf:
            raise ValueError(f"a recording's rate must be positive, got {self.rate}")

    @property
    def samples(self) -> int:
        return self.traces.shape[0]

    def get_traces(self, start: int, stop: int) -> np.ndarray:
        return self.traces[start:stop]


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Samples `first` to `last` of a recording, as a recording."""

    whole: Traces
    first: int
    last: int

    @property
    def samples(self) -> int:
        return self.last - self.first

    @property
    def rate(self) -> float:
        return self.whole.rate

    @property
    def positions(self) -> np.ndarray:
        return self.whole.positions

    def get_traces(self, start: int, stop: int) -> np.ndarray:
        return self.whole.get_traces(self.first + start, self.first + stop)


@dataclasses.dataclass(frozen=True)
class Piece:
    """One of the pieces that a recording is worked through in.

    Attributes:
        start, stop: The samples whose result counts.
        low, high: The samples to read: the same with a margin, as far as there is one.
    """

    start: int
    stop: int
    low: int
    high: int


def pieces(samples: int, length: int, margin: int) -> Iterator[Piece]:
    """Yields pieces of `length` samples that together cover a recording.

    A last piece shorter than half of that is joined to the one before.
    """
    start = 0
    while start < samples:
        stop = start + length
        if samples - stop < length // 2:
            stop = samples
        yield Piece(start, stop, max(start - margin, 0), min(stop + margin, samples))
        start = stop
