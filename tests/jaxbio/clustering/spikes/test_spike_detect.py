import numpy as np
import pytest

from jaxbio.clustering.spikes import detect
from jaxbio.clustering.spikes.probes import linear

POSITIONS = linear(8, 20.0)


def reference(traces, positions, config, dead):
    """By definition: deepest within the dead time and the radius, first of equals."""
    distance = np.linalg.norm(positions[:, None] - positions, axis=-1)
    found = []
    for time, channel in zip(*np.nonzero(traces < -config.threshold), strict=True):
        low, high = max(time - dead, 0), time + dead + 1
        near = distance[channel] <= config.radius
        window = traces[low:high][:, near]
        if traces[time, channel] == window.min():
            found.append((time, channel))
    return found


@pytest.mark.parametrize("radius", [0.0, 45.0, 100.0])
def test_against_the_definition(radius):
    rng = np.random.default_rng(0)
    traces = rng.standard_normal((70000, 16)).astype(np.float32)
    config = detect.Config(threshold=3.5, radius=radius)
    found = detect.detect(traces, 30000.0, POSITIONS, config)
    wanted = reference(traces, POSITIONS, config, 15)
    assert list(zip(found.samples, found.channels, strict=True)) == wanted
    np.testing.assert_array_equal(found.depths, -traces[found.samples, found.channels])
    assert len(wanted) > 50


def test_equals_are_one_peak():
    traces = np.zeros((100, 16), np.float32)
    traces[50:52, 3:5] = -9
    near = detect.near_channels(POSITIONS, 100.0)
    found = detect.peaks_of(traces, near, 5.0, 15)
    assert (found.samples.tolist(), found.channels.tolist()) == ([50], [3])


def test_joins_between_pieces_do_not_show():
    traces = np.zeros((65000, 2), np.float32)
    traces[[29999, 30000, 30010], 0] = -6, -7, -6.5
    found = detect.detect(traces, 30000.0, POSITIONS[:2], detect.Config())
    assert found.samples.tolist() == [30000]


def test_no_spikes():
    found = detect.detect(np.zeros((500, 2)), 30000.0, POSITIONS[:2], detect.Config())
    assert len(found.samples) == len(found.channels) == len(found.depths) == 0
