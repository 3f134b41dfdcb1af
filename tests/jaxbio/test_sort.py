"""`python -m jaxbio.sort`: what is written, and what is said of bad recordings."""

import numpy as np
import pytest

from jaxbio import sort
from jaxbio.clustering.spikes import learned
from tests.jaxbio.clustering.spikes import toys


@pytest.fixture
def files(tmp_path):
    recording, samples, labels = toys.recording()
    whole = np.round(recording.traces * 20).astype(np.int16)
    np.save(tmp_path / "recording.npy", whole)
    whole.tofile(tmp_path / "recording.dat")
    np.savetxt(tmp_path / "probe.csv", recording.positions, delimiter=",")
    return tmp_path, samples, labels


def arguments(folder, name, *more):
    return [
        str(folder / name),
        "--rate=30000",
        f"--positions={folder / 'probe.csv'}",
        f"--out={folder / 'sorted'}",
        *more,
    ]


def test_a_recording_of_raw_samples_is_sorted(files, monkeypatch, capsys):
    folder, samples, labels = files
    monkeypatch.setattr(learned, "learned", lambda name: toys.mean_shift)
    assert sort.main(arguments(folder, "recording.dat", "--dtype=int16")) == 0
    out = folder / "sorted"
    assert "spikes of 3 units" in capsys.readouterr().out
    with np.load(out / "sorting.npz") as found:
        for unit in range(3):
            train = found["samples"][found["labels"] == unit]
            scores = [
                toys.accuracy(train, samples[labels == true]) for true in range(3)
            ]
            assert max(scores) > 0.9
    rows = (out / "units.csv").read_text().splitlines()
    assert rows[0].startswith("unit,channel,spikes,rate,depth") and len(rows) == 4
    assert (out / "phy/params.py").exists() and (out / "templates.png").exists()
    first = (out / "units.csv").read_bytes()
    assert sort.main(arguments(folder, "recording.npy")) == 0
    assert (out / "units.csv").read_bytes() == first


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("none.npy", [], "recording: there is no file"),
        ("recording.dat", [], "no .npy file; of raw samples tell the --dtype"),
        ("recording.dat", ["--dtype=int17"], "--dtype=int17: unknown to NumPy"),
        ("probe.csv", ["--dtype=float64"], "are no whole number of samples of 8"),
        ("recording.npy", ["--rate=0"], "a recording's rate must be positive"),
        ("recording.npy", ["--model=crp2d-tau4"], "is of points, not of spikes"),
    ],
)
def test_bad_recordings_end_in_a_line(files, capsys, name, more, message):
    assert sort.main(arguments(files[0], name, *more)) == 2
    assert message in capsys.readouterr().err
