import numpy as np
import pytest

from jaxbio.clustering.spikes.recording import Part, Recording, pieces


def two_channels(samples=10):
    traces = np.arange(2 * samples, dtype=np.int16).reshape(samples, 2)
    return Recording(traces, 30000.0, np.zeros((2, 2)))


@pytest.mark.parametrize("samples", [1, 4, 10, 11, 12, 13, 25])
def test_pieces_cover_a_recording_once(samples):
    found = list(pieces(samples, 10, 3))
    assert found[0].start == 0 and found[-1].stop == samples
    assert all(a.stop == b.start for a, b in zip(found, found[1:], strict=False))
    for piece in found:
        assert piece.low == max(piece.start - 3, 0)
        assert piece.high == min(piece.stop + 3, samples)
    assert all(piece.stop - piece.start >= min(5, samples) for piece in found)


def test_a_part_is_read_from_where_it_starts():
    whole = two_channels()
    part = Part(whole, 4, 9)
    assert part.samples == 5 and part.rate == whole.rate
    np.testing.assert_array_equal(part.get_traces(1, 3), whole.traces[5:7])


@pytest.mark.parametrize(
    ("traces", "rate", "positions", "message"),
    [
        (np.zeros(5), 1.0, np.zeros((1, 2)), r"\(samples, channels\), got \(5,\)"),
        (np.zeros((0, 2)), 1.0, np.zeros((2, 2)), r"got \(0, 2\)"),
        (np.zeros((5, 2)), 1.0, np.zeros((3, 2)), r"positions of shape \(2, 2\)"),
        (np.zeros((5, 2)), 1.0, np.full((2, 2), np.nan), "positions must be finite"),
        (np.zeros((5, 2)), 0.0, np.zeros((2, 2)), "rate must be positive, got 0"),
    ],
)
def test_what_is_no_recording(traces, rate, positions, message):
    with pytest.raises(ValueError, match=message):
        Recording(traces, rate, positions)
