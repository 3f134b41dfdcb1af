"""A small batch and parameters of LRURec for the tests of peers."""

import numpy as np
import pytest

from benchmarks.peers import reference
from benchmarks.shapes import Histories, padded

ITEMS, DIM = 17, 8


@pytest.fixture(name="batch", scope="session")
def fixture_batch():
    """Histories of 1, 3, 7 and 20 items in rows of 7, which is no power of two."""
    random = np.random.default_rng(5)
    lengths = [1, 3, 7, 20]
    values = random.integers(1, ITEMS + 1, sum(lengths)).astype(np.int32)
    return padded(Histories(values, np.cumsum([0, *lengths])), 7)


@pytest.fixture(name="state", scope="session")
def fixture_state():
    """Parameters large enough that every part of the model shows in the loss."""
    state = reference.published_parameters(ITEMS, DIM, seed=3, scale=0.4)
    random = np.random.default_rng(4)
    for name, value in state.items():
        if "layer_norm" in name:
            state[name] = value + 0.2 * random.normal(size=DIM).astype(np.float32)
    return state
