"""Figures, the files for phy, and SpikeInterface."""

import sys

import jax
import numpy as np
import pytest

from jaxbio.clustering.spikes import figures, interface, phy, sort
from jaxbio.clustering.spikes.quality import quality
from jaxbio.clustering.spikes.result import Sorting, trains_of
from tests.jaxbio.clustering.spikes.toys import mean_shift, recording

RATE = 30000.0


def made(units=2):
    rng = np.random.default_rng(0)
    samples = np.sort(rng.integers(100, 299900, 60 * units))
    labels = rng.integers(0, max(units, 1), len(samples)).astype(np.int32)
    templates = rng.standard_normal((units, 90, 8)).astype(np.float32)
    trains = trains_of(samples, labels, units)
    sizes = [np.ones(len(train)) for train in trains]
    return Sorting(
        samples,
        labels,
        np.ones(len(samples), np.float32),
        templates,
        30,
        templates.min(1).argmin(1).astype(np.int32),
        quality(trains, sizes, templates, templates, 300000, RATE),
        RATE,
        np.arange(16.0).reshape(8, 2),
        300000,
    )


def test_figures(tmp_path):
    paths = figures.save(made(), tmp_path / "figures")
    assert [path.stem for path in paths] == [
        *("templates", "raster", "correlograms", "quality")
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_what_is_drawn():
    sorting = made()
    (axis,) = figures.raster(sorting).axes
    for line, train in zip(axis.get_lines(), sorting.trains, strict=True):
        np.testing.assert_allclose(line.get_xdata(), train / RATE)
    first, second = figures.templates(sorting).axes
    assert len(first.get_lines()) == 7
    assert second.get_title().startswith("unit 1, electrode")


def test_autocorrelogram_against_all_pairs():
    train = made().trains[0]
    found = figures.autocorrelogram(train, RATE, 0.5, 25)
    apart = np.abs(train[:, None] - train)[np.triu_indices(len(train), 1)]
    wanted = np.histogram(apart[apart < 15000], np.linspace(0, 15000, 26))[0]
    np.testing.assert_array_equal(found[25:], wanted)
    np.testing.assert_array_equal(found[:25], wanted[::-1])


def test_phy(tmp_path):
    sorting = made()
    raw = tmp_path / "raw.bin"
    raw.write_bytes(b"")
    path = phy.export(sorting, tmp_path / "phy", raw, "float32")
    values = {}
    exec(path.read_text(), values)  # as phy reads it
    assert values["dat_path"] == str(raw) and values["dtype"] == "float32"
    assert values["sample_rate"] == RATE and values["n_channels_dat"] == 8
    load = {p.stem: np.load(p) for p in (tmp_path / "phy").glob("*.npy")}
    np.testing.assert_array_equal(load["spike_times"], sorting.samples)
    np.testing.assert_array_equal(load["spike_clusters"], sorting.labels)
    np.testing.assert_array_equal(load["templates"], sorting.templates)
    np.testing.assert_array_equal(load["channel_positions"], sorting.positions)
    np.testing.assert_allclose(np.diag(load["similar_templates"]), 1, atol=1e-5)
    rows = (tmp_path / "phy" / "cluster_quality.tsv").read_text().splitlines()
    assert len(rows) == 3 and rows[0].split("\t")[0] == "cluster_id"


def test_no_unit_and_no_raw_file(tmp_path):
    for write in (figures.save, phy.export):
        with pytest.raises(ValueError, match="no unit"):
            write(made(units=0), tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere.bin"):
        phy.export(made(), tmp_path, tmp_path / "nowhere.bin")


class Fake:
    """As much of a `BaseRecording` as is used."""

    def __init__(self, segments=1, located=True):
        self.segments, self.located = segments, located

    def get_num_segments(self):
        return self.segments

    def get_channel_locations(self):
        if not self.located:
            raise Exception("no channel locations")
        return np.arange(6.0).reshape(2, 3)

    def get_num_samples(self, segment_index):
        return 10 + segment_index

    def get_sampling_frequency(self):
        return 20000

    def get_traces(self, segment_index, start_frame, end_frame):
        return np.arange(start_frame, end_frame)[:, None] + np.zeros(2)


def test_a_recording_of_spikeinterface():
    found = interface.from_spikeinterface(Fake())
    assert (found.samples, found.rate) == (10, 20000.0)
    np.testing.assert_array_equal(found.positions, [[0, 1], [3, 4]])
    np.testing.assert_array_equal(found.get_traces(3, 5), [[3, 3], [4, 4]])


def test_recordings_that_cannot_be_taken():
    with pytest.raises(ValueError, match="2 segments; sort one at a time"):
        interface.from_spikeinterface(Fake(segments=2))
    with pytest.raises(ValueError, match="no electrode locations"):
        interface.from_spikeinterface(Fake(located=False))


@pytest.mark.parametrize("name", ["", "json", "json:nothing", "no_such_module:f"])
def test_what_names_no_clusterer(name):
    with pytest.raises(ValueError, match="is no module:function"):
        interface.clusterer(name)


def test_a_named_clusterer():
    assert interface.clusterer(f"{mean_shift.__module__}:mean_shift") is mean_shift


def test_without_spikeinterface(monkeypatch):
    monkeypatch.setitem(sys.modules, "spikeinterface", None)
    monkeypatch.setitem(sys.modules, "spikeinterface.sorters.sorterlist", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxrec\[spikes\]'"):
        interface.register()


@pytest.mark.filterwarnings("ignore")  # SpikeInterface's own
def test_run_sorter(tmp_path):
    core = pytest.importorskip("spikeinterface.core")
    sorters = pytest.importorskip("spikeinterface.sorters")
    toy, *_ = recording(seconds=4.0, rate=20.0)
    theirs = core.NumpyRecording([toy.traces], RATE)
    theirs.set_dummy_probe_from_locations(toy.positions)
    theirs = theirs.save(folder=tmp_path / "recording", verbose=False)
    interface.register()
    found = sorters.run_sorter(
        "jaxbio",
        theirs,
        folder=tmp_path / "sorted",
        clusterer=f"{mean_shift.__module__}:mean_shift",
        config={"rounds": 1},
    )
    wanted = sort.sort(toy, mean_shift, jax.random.key(0), sort.Config(rounds=1))
    assert len(found.unit_ids) == len(wanted.templates) == 3
    for unit, train in zip(found.unit_ids, wanted.trains, strict=True):
        np.testing.assert_array_equal(found.get_unit_spike_train(unit), train)
