import jax
import numpy as np
import pytest

from jaxbio.clustering.spikes import candidates, detect, preprocess
from tests.jaxbio.clustering.spikes.toys import mean_shift, recording


@pytest.fixture(scope="module")
def prepared():
    made, samples, labels = recording(seconds=4.0)
    fitted = preprocess.fit(made, preprocess.Config())
    traces = np.empty(made.traces.shape, np.float32)
    preprocess.scale_all(made, fitted, traces)
    peaks = detect.detect(traces, made.rate, made.positions, detect.Config())
    return made, fitted, traces, peaks, samples, labels


def discover(prepared, cluster, **config):
    made, fitted, traces, peaks, *_ = prepared
    config = candidates.Config(**{"smallest": 10} | config)
    return candidates.discover(
        traces,
        made.rate,
        peaks,
        made.positions,
        fitted,
        cluster,
        jax.random.key(0),
        config,
    )


def test_clusters_are_of_one_unit(prepared):
    *_, samples, labels = prepared
    found = discover(prepared, mean_shift)
    owners = set()
    for train in found:
        near = np.abs(samples[:, None] - train).argmin(0)
        assert np.mean(np.abs(samples[near] - train) < 12) > 0.9
        shares = np.bincount(labels[near]) / len(train)
        assert shares.max() > 0.9
        owners.add(int(shares.argmax()))
    assert owners == {0, 1, 2}


def test_what_the_clusterer_sees(prepared):
    seen = []

    def cluster(snippets, key):
        seen.append((snippets, jax.random.key_data(key).tolist()))
        return np.full(len(snippets), -1)

    assert discover(prepared, cluster, block=15) == []
    assert all(x.shape[1:] == (32, 7) and x.dtype == np.float32 for x, _ in seen)
    assert max(len(x) for x, _ in seen) == 15
    assert len({str(key) for _, key in seen}) == len(seen) > 1


@pytest.mark.parametrize(
    "labels", [lambda n: np.zeros(n - 1, int), lambda n: np.zeros(n)]
)
def test_what_are_no_labels(prepared, labels):
    with pytest.raises(ValueError, match="clusterer must return"):
        discover(prepared, lambda snippets, key: labels(len(snippets)))
