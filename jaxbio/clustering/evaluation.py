"""How good a model is on sets whose partition is known."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbio.clustering import programs
from jaxbio.clustering.layers import Params
from jaxbio.clustering.metrics import adjusted_mutual_info, adjusted_rand
from jaxbio.clustering.model import Model
from jaxbio.clustering.partitions import canonical


def scores(
    params: Params,
    model: Model,
    sets: Mapping[str, Any],
    key: jax.Array,
    *,
    samples: int,
    orders: int,
    draws: int,
) -> dict[str, np.ndarray]:
    """Figures of every set, each (B,) float64.

    Args:
      params: of the model.
      model: the model.
      sets: B sets as a generator draws them: "inputs" and "labels" (B, N).
      key: typed key.
      samples: of the posterior, per set.
      orders: of clusters, for probabilities.
      draws: of a Gaussian z, for probabilities.

    Returns:
      nats: -log p of the true partition; its mean is at least the mean entropy of the
        exact posterior.
      ami, ari: of one sample of the posterior.
      best_ami, best_ari: of the most probable of the samples.
      clusters: their number in that one; true_clusters: the true number.
      excess: mean number of clusters of all samples, less the true one.
    """
    labels = np.asarray(sets["labels"])
    inputs, valid = sets["inputs"], jnp.asarray(labels >= 0)
    count, size = labels.shape
    drawn_keys, truth_keys, own_keys = (
        jax.random.split(k, count) for k in jax.random.split(key, 3)
    )
    drawn = canonical(
        np.asarray(
            programs.sample(
                params, model, inputs, valid, drawn_keys, samples, "posterior"
            )
        )
    )
    options = {"orders": orders, "anchors": 1, "draws": draws}
    truth = canonical(labels)[:, None]
    shared = (params, model, inputs, valid)
    nats = -np.asarray(programs.log_prob(*shared, truth, truth_keys, **options))[:, 0]
    own = np.asarray(programs.log_prob(*shared, drawn, own_keys, **options))
    found: dict[str, list[float]] = {name: [] for name in _NAMES}
    for row in range(count):
        real = labels[row] >= 0
        true, mine = labels[row][real], drawn[row][:, real]
        best = mine[own[row].argmax()]
        numbers = mine.max(1) + 1
        found["ami"].append(adjusted_mutual_info(true, mine[0]))
        found["ari"].append(adjusted_rand(true, mine[0]))
        found["best_ami"].append(adjusted_mutual_info(true, best))
        found["best_ari"].append(adjusted_rand(true, best))
        found["clusters"].append(best.max() + 1)
        found["true_clusters"].append(len(np.unique(true)))
        found["excess"].append(numbers.mean() - len(np.unique(true)))
    return {"nats": nats.astype(float)} | {k: np.array(v) for k, v in found.items()}


_NAMES = (
    *("ami", "ari", "best_ami", "best_ari"),
    *("clusters", "true_clusters", "excess"),
)


def summary(found: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means over sets, with their standard errors as NAME_se."""
    means = {}
    for name, values in found.items():
        means[name] = float(values.mean())
        means[f"{name}_se"] = float(values.std(ddof=1) / len(values) ** 0.5)
    return means
