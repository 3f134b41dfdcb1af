"""Time stamps in batches and requests: int32, seconds modulo 2^32.

Only differences count, and those of two int32 are exact, whatever the clock, as long as
the true ones stay below 2^31 seconds, 68 years. Float32 would round seconds to minutes.
"""

import numpy as np

from jaxrec.data.sequences import Sequences

LONGEST = 2**31 - 1  # seconds between two events of a user


def seconds(times: np.ndarray) -> np.ndarray:
    """Times modulo 2^32 as int32, of integer seconds."""
    return times.astype(np.int64).astype(np.int32)


def check_times(sequences: Sequences) -> None:
    """Refuses data without time stamps, or with times that int32 cannot compare.

    Raises:
      ValueError: either; the data set is named.
    """
    name, times = sequences.name, sequences.times
    if times is None:
        raise ValueError(
            f"model.times=true: the data {name!r} have no time stamps, only an order "
            "of events"
        )
    begin = sequences.offsets[:-1][sequences.lengths > 0]
    spans = np.maximum.reduceat(times, begin) - np.minimum.reduceat(times, begin)
    if spans.max() > LONGEST:
        raise ValueError(
            f"model.times=true: the data {name!r} have a user with more than "
            f"{LONGEST} seconds (68 years) between events; times must be in seconds"
        )
