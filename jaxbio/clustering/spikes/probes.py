"""Layouts of electrodes, and what a window around one of them looks like."""

import numpy as np

from jaxbio.clustering.spikes.extract import Order, neighbours


def linear(rows: int, pitch: float) -> np.ndarray:
    """(2 * rows, 2) positions of two columns, micrometres, `pitch` apart both ways."""
    column, row = np.divmod(np.arange(2 * rows), rows)
    return np.stack([column, row], axis=1) * pitch


def hexagonal(rows: int, pitch: float) -> np.ndarray:
    """(rows * rows, 2) positions, every inner one with six at `pitch` micrometres."""
    row, column = np.divmod(np.arange(rows * rows), rows)
    return np.stack([column + (row % 2) / 2, row * np.sqrt(0.75)], axis=1) * pitch


def windows_of(
    positions: np.ndarray, count: int, order: Order, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """The different windows that a probe has.

    Args:
        positions: (channels, 2), micrometres.
        count: Channels in a window.
        order: See `neighbours`.
        radius: Micrometres.

    Returns:
        (windows, count, 2) float32 positions relative to the first channel, and
        (windows, count) bool, False where a channel is missing.
    """
    near = neighbours(positions, count, order, radius)
    there = near >= 0
    away = np.where(there[..., None], positions[near] - positions[:, None], 0)
    both = np.concatenate([np.round(away, 3), there[..., None]], axis=-1)
    different = np.unique(both, axis=0)
    return different[..., :2].astype(np.float32), different[..., 2] > 0
