"""The clusterer of a sorter: a trained clustering process."""

import os

import jax
import numpy as np

from jaxbio.clustering.estimator import AttentiveClustering
from jaxbio.clustering.spikes.candidates import Cluster


def learned(name: str | os.PathLike[str] = "spikes", samples: int = 16) -> Cluster:
    """What `sort` takes: from prepared snippets and a key to labels.

    Args:
        name: Of a shipped model, or the directory of a run.
        samples: Partitions of which a consensus is taken.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: It is not of spikes.
    """
    model = AttentiveClustering.load(name)
    if model.kind != "spikes":
        raise ValueError(f"model {str(name)!r} is of {model.kind}, not of spikes")

    def cluster(snippets: np.ndarray, key: jax.Array) -> np.ndarray:
        return model.fit_predict(snippets, samples=samples, key=key)

    return cluster
