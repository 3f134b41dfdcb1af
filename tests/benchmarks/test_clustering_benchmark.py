"""What the clustering benchmark computes by itself, and what it refuses."""

import json
import types

import numpy as np
import pytest

from benchmarks import clustering, clustering_scores, harness


def test_shares_of_known_partitions():
    found = clustering._shares(np.array([7, 7, 3, 9]), np.array([3, 5, 7]))
    np.testing.assert_array_equal(found, [0.25, 0, 0.5])


def test_calibration_is_the_mean_gap_over_bins():
    predicted = np.array([0.05, 0.05, 0.95, 0.95, 1.0, 0.91])
    true = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    expected = (2 * 0.05 + 4 * (1 - np.mean(predicted[2:]))) / 6
    assert clustering_scores.calibration(predicted, true) == pytest.approx(
        expected, abs=1e-5
    )
    assert clustering_scores.calibration(true, true) == 0


def test_unknown_cases_are_refused(tmp_path):
    flags = harness.parser()
    flags.add_argument("--only", default="exakt")
    flags.add_argument("--model")
    options = flags.parse_args(["--out", str(tmp_path), "--quick"])
    with pytest.raises(
        ValueError, match="--only: want some of exact, points, variants"
    ):
        clustering.main(harness.Benchmark("trial", options))


def test_rates_are_of_sets_whatever_a_side_was_given(tmp_path, monkeypatch):
    """Half a millisecond a set against five, of 256 sets against 8."""
    clock = [0.0]

    def takes(seconds):
        def run(sets):
            clock[0] += seconds * len(sets)

        return run

    fake = types.SimpleNamespace(perf_counter=lambda: clock[0])
    monkeypatch.setattr(clustering, "time", fake)
    options = harness.parser().parse_args(["--out", str(tmp_path), "--quick"])
    bench = harness.Benchmark("trial", options)
    clustering.throughput(bench, takes(0.0005), takes(0.005), "points-2d")
    [line] = (tmp_path / "trial.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row["target"] == "C1" and row["sets"] == 256
    assert row["reached"] == pytest.approx(10) and row["p10"] == pytest.approx(10)
    assert row["sets_per_second"] == pytest.approx(2000)
