"""Figures that the cases of `benchmarks.clustering` have in common."""

import numpy as np


def error(values: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def mean(values) -> list[float]:
    """Mean and standard error."""
    values = np.asarray(values, float)
    return [round(float(values.mean()), 5), round(error(values), 5)]


def calibration(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean distance of the mean prediction to the mean truth over ten bins."""
    bins = np.minimum((predicted * 10).astype(int), 9)
    total = 0.0
    for k in range(10):
        if (bins == k).any():
            gap = predicted[bins == k].mean() - true[bins == k].mean()
            total += abs(gap) * (bins == k).mean()
    return round(float(total), 5)
