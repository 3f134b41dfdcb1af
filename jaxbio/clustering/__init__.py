"""Amortised probabilistic clustering: posterior samples over partitions.

from jaxbio.clustering import AttentiveClustering

model = AttentiveClustering.load("points-2d")
labels = model.fit_predict(points)
"""

from jaxbio.clustering.estimator import AttentiveClustering, Samples
from jaxbio.clustering.stored import names

__all__ = ["AttentiveClustering", "Samples", "names"]
