"""Random numbers that belong to events, whatever batch they stand in."""

import numpy as np


def event_draws(seed: int, epoch: int, events: np.ndarray, salt: int = 0) -> np.ndarray:
    """One uniform 64-bit number per event, a function of (seed, epoch, event, salt).

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) with the event as its counter.

    Args:
      seed: of the run.
      epoch: from 0.
      events: (n,) integers, positions in the values of the data.
      salt: numbers of different salts, for different purposes, are independent.

    Returns:
      (n,) uint64.
    """
    state = np.random.SeedSequence((seed, epoch, salt)).generate_state(1, np.uint64)
    x = state + (events.astype(np.uint64) + 1) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
