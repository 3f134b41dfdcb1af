"""Small graphs with three known blocks, the last with few edges inside."""

import numpy as np

RATES = np.array([[0.7, 0.1, 0.2], [0.1, 0.6, 0.4], [0.2, 0.4, 0.05]])


def planted(size=60, length=60, seed=0):
    """Adjacency matrix (length, length) float32, valid (length,) bool, labels."""
    rng = np.random.default_rng(seed)
    labels = np.where(np.arange(length) < size, np.arange(length) % 3, -1)
    wanted = RATES[labels[:size, None], labels[:size]]
    upper = np.triu(rng.random((size, size)) < wanted, 1)
    adjacency = np.zeros((length, length), np.float32)
    adjacency[:size, :size] = upper | upper.T
    return adjacency, labels >= 0, labels
