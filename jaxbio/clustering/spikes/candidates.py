"""Clusters of peaks, channel by channel: what may be units."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from jaxbio.clustering.spikes import snippets
from jaxbio.clustering.spikes.detect import Peaks
from jaxbio.clustering.spikes.extract import Order, neighbours, windows
from jaxbio.clustering.spikes.preprocess import Preprocessing

Cluster = Callable[[np.ndarray, jax.Array], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Config:
    """How peaks are handed to the clusterer.

    Attributes:
        block: Most peaks of a channel in one problem, a random subset if there are
            more.
        smallest: Peaks; smaller clusters, and channels with fewer, are dropped.
        order: Of a channel's neighbours, as the clusterer was trained.
        radius: Micrometres within which they lie.
        rate: Samples per second that the clusterer was trained at; snippets of a
            recording of another rate are interpolated.
    """

    block: int = 1000
    smallest: int = 20
    order: Order = "distance"
    radius: float = 100.0
    rate: float = snippets.RATE


def discover(
    traces: np.ndarray,
    rate: float,
    peaks: Peaks,
    positions: np.ndarray,
    fitted: Preprocessing,
    cluster: Cluster,
    key: jax.Array,
    config: Config,
) -> list[np.ndarray]:
    """Clusters the peaks of every channel.

    Args:
        traces: (time, channels), noise sd; may be a memory map.
        rate: Samples per second.
        peaks: Of these traces.
        positions: (channels, 2), micrometres.
        fitted: The noise.
        cluster: From (n, LENGTH, CHANNELS) float32 prepared snippets and a key to (n,)
            int labels, negative for none.
        key: PRNG key.
        config: See `Config`.

    Returns:
        The spike times of each cluster, ascending.

    Raises:
        ValueError: The clusterer returned something else than labels.
    """
    near = neighbours(positions, snippets.CHANNELS, config.order, config.radius)
    before, resample = snippets.resampling(rate, config.rate)
    temporal = snippets.temporal_whitening(
        snippets.resampled_autocovariance(fitted.autocovariance, rate, config.rate)
    )
    found = []
    for channel in range(len(positions)):
        key_block, key_cluster = jax.random.split(jax.random.fold_in(key, channel))
        (here,) = np.nonzero(peaks.channels == channel)
        if len(here) < config.smallest:
            continue
        if len(here) > config.block:
            chosen = jax.random.permutation(key_block, len(here))[: config.block]
            here = here[np.sort(np.asarray(chosen))]
        times = peaks.samples[here]
        group = np.broadcast_to(near[channel], (len(times), snippets.CHANNELS))
        cut = windows(traces, times, group, before, resample.shape[1])
        cut = np.einsum("st,ntc->nsc", resample, cut)
        spatial = snippets.spatial_whitening(fitted.covariance, near[channel])
        prepared = snippets.prepare(cut, temporal, spatial)
        labels = _checked(cluster(prepared, key_cluster), len(times))
        members = [times[labels == label] for label in np.unique(labels[labels >= 0])]
        found += [train for train in members if len(train) >= config.smallest]
    return found


def _checked(labels: np.ndarray, count: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"the clusterer must return ({count},) integers for {count} snippets, got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    return labels
