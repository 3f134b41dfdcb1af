"""Figures that the cases of `benchmarks.clustering` have in common."""

import numpy as np


def error(values: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def mean(values) -> list[float]:
    """Mean and standard error."""
    values = np.asarray(values, float)
    return [round(float(values.mean()), 5), round(error(values), 5)]


def reliability(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Per tenth of the predictions: their mean, that of the truth, and their share."""
    bins = np.minimum((predicted * 10).astype(int), 9)
    rows = [
        (predicted[bins == k].mean(), true[bins == k].mean(), (bins == k).mean())
        for k in range(10)
        if (bins == k).any()
    ]
    return np.array(rows)


def calibration(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean distance of the mean prediction to the mean truth over ten bins."""
    mine, truth, share = reliability(predicted, true).T
    return round(float((np.abs(mine - truth) * share).sum()), 5)
