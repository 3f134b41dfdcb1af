"""What the clustering benchmark computes by itself, and what it refuses."""

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
