"""Case of `benchmarks.clustering` on tables of 2 to 32 columns.

Adjusted mutual information with the truth, mean and standard error over sets. Peers see
columns of variance 1. Only k-means is told the number of clusters.
"""

import dataclasses
import warnings
from collections.abc import Mapping

import jax
import numpy as np

from benchmarks import harness
from benchmarks.clustering_scores import mean
from jaxbio.clustering import AttentiveClustering, stored
from jaxbio.clustering.consensus import consensus
from jaxbio.clustering.metrics import adjusted_mutual_info
from jaxbio.clustering.points import mixtures

_SAMPLES = 32
_SEED = 1_000_003  # of the sets; no training drew with it


def tables(bench: harness.Benchmark, where: str) -> None:
    """Drawn tables, and those of scikit-learn with their classes."""
    model = AttentiveClustering.load(where)
    sets, truth = _drawn(where, 20 if bench.quick else 300)
    answers = _ours(model, sets)
    for seed, x in enumerate(sets):
        for name, labels in _by_peers(x, len(np.unique(truth[seed])), seed).items():
            answers.setdefault(name, []).append(labels)
    for name, found in answers.items():
        pairs = zip(truth, found, strict=True)
        ami = np.array([adjusted_mutual_info(*pair) for pair in pairs])
        gap = [
            len(np.unique(a)) - len(np.unique(b))
            for a, b in zip(found, truth, strict=True)
        ]
        bench.record(
            f"tables: {name}",
            sets=len(sets),
            ami=mean(ami),
            clusters_less_true=mean(gap),
        )
    for name, (x, classes) in _known().items():
        found = {kind: rows[0] for kind, rows in _ours(model, [x]).items()}
        found |= _by_peers(x, len(np.unique(classes)), 0)
        bench.record(
            f"table {name}",
            rows=len(x),
            columns=x.shape[1],
            classes=len(np.unique(classes)),
            ami={
                kind: round(float(adjusted_mutual_info(classes, labels)), 3)
                for kind, labels in found.items()
            },
            clusters={kind: len(np.unique(row)) for kind, row in found.items()},
        )


def _ours(model: AttentiveClustering, sets: list) -> dict[str, list[np.ndarray]]:
    drawn = model.sample(sets, _SAMPLES, orders=2)
    return {
        "posterior sample": [one.labels[0] for one in drawn],
        f"best of {_SAMPLES}": [one.labels[one.log_prob.argmax()] for one in drawn],
        f"consensus of {_SAMPLES}": [consensus(one.labels) for one in drawn],
    }


def _drawn(where: str, count: int) -> tuple[list, list]:
    """Tables as they are before a model prepares them, without columns they lack."""
    cfg = stored.load(where).data_cfg
    raw = {"centre": False, "standardise": False, "principal": False}
    cfg = dataclasses.replace(cfg, **raw)
    keys = jax.random.split(jax.random.key(_SEED), count)
    found = jax.jit(jax.vmap(lambda key: mixtures.draw(key, cfg)))(keys)
    labels = np.asarray(found["labels"])
    tables = []
    for x, row in zip(np.asarray(found["inputs"]["x"], float), labels, strict=True):
        x = x[row >= 0]
        tables.append(x[:, (x**2).mean(0) > 1e-8 * (x**2).mean()])
    return tables, [row[row >= 0] for row in labels]


def _by_peers(x: np.ndarray, count: int, seed: int) -> Mapping[str, np.ndarray]:
    from sklearn.cluster import HDBSCAN, KMeans
    from sklearn.mixture import GaussianMixture

    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what does not converge
        mixtures_ = [
            GaussianMixture(
                k, covariance_type=kind, reg_covar=1e-3, random_state=seed
            ).fit(x)
            for k in range(1, min(10, len(x)))
            for kind in ("spherical", "diag", "full")
        ]
        found = KMeans(count, n_init=10, random_state=seed).fit_predict(x)
        dense = HDBSCAN(min_cluster_size=5, copy=True).fit_predict(x)
    return {
        "k-means, true K": found,
        "HDBSCAN": dense,
        "Gaussian mixture, BIC": min(mixtures_, key=lambda m: m.bic(x)).predict(x),
    }


def _known() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from sklearn import datasets

    return {
        name: getattr(datasets, f"load_{name}")(return_X_y=True)
        for name in ("iris", "wine", "breast_cancer")
    }
