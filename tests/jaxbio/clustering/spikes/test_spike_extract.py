import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.spikes.extract import align, neighbours, shifts, windows
from jaxbio.clustering.spikes.probes import hexagonal, linear


def test_neighbours_by_distance():
    found = neighbours(linear(16, 20.0), 7)
    assert found.shape == (32, 7)
    # The window of channel 15, at the end of a column, and of one inside.
    assert found[15].tolist() == [15, 14, 31, 30, 13, 29, 12]
    assert found[5].tolist() == [5, 4, 6, 21, 20, 22, 3]


def test_neighbours_by_angle():
    layout = hexagonal(5, 30.0)
    found = neighbours(layout, 7, "angle", 36.0)
    turn = layout[found[12, 1:]] - layout[12]
    angles = np.degrees(np.arctan2(turn[:, 1], turn[:, 0])) % 360
    np.testing.assert_allclose(angles, [0, 60, 120, 180, 240, 300], atol=1e-6)
    assert (found[0] >= 0).sum() == 3 and (found[0, 3:] == -1).all()


def test_fewer_channels_than_a_window():
    assert neighbours(np.zeros((1, 2)), 3).tolist() == [[0, -1, -1]]


def test_windows_are_zeros_beyond_borders():
    traces = np.arange(1, 41, dtype=np.float32).reshape(10, 4)
    near = np.array([[2, 0, -1], [1, 3, -1], [0, 1, -1]])
    found = windows(traces, np.array([0, 5, 9]), near, 2, 5)
    assert found.dtype == np.float32 and found.shape == (3, 5, 3)
    np.testing.assert_array_equal(found[1, :, :2], traces[3:8][:, [1, 3]])
    assert not found[:, :, 2].any()
    assert not found[0, :2].any() and not found[2, 3:].any()
    np.testing.assert_array_equal(found[0, 2:, 0], traces[:3, 2])
    everything = windows(traces, np.array([5]), None, 2, 5)
    np.testing.assert_array_equal(everything[0], traces[3:8])


def bell(shift):
    return -np.exp(-(((np.arange(40) - 20 - shift) / 3) ** 2)).astype(np.float32)


def test_shifts_move_a_smooth_signal():
    for step, matrix in enumerate(shifts(40, 5)):
        moved = matrix @ bell(0.0)
        np.testing.assert_allclose(moved, bell((2 - step) / 5), atol=2e-3)


@pytest.mark.parametrize("xp", [np, jnp])
def test_aligned_troughs_agree(xp):
    places = np.array([-0.4, -0.2, 0.0, 0.2, 0.4])
    snippets = np.stack([np.stack([bell(p), 0.5 * bell(p)], 1) for p in places])
    found = align(xp.asarray(snippets), 20)
    assert isinstance(found, type(xp.zeros(1)))
    wanted = np.stack([bell(0.0), 0.5 * bell(0.0)], 1)
    np.testing.assert_allclose(found, np.stack([wanted] * 5), atol=3e-3)
