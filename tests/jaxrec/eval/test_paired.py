"""Means, errors and tests over seeds and users."""

import numpy as np
import pytest

from jaxrec.eval.paired import difference, figure, holm


def test_a_figure_has_the_errors_of_both_sources():
    values = np.array([[0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]])
    found = figure(values)
    assert found.mean == 0.625 and found.seeds == 2
    assert found.se_seeds == pytest.approx(np.std([0.5, 0.75], ddof=1) / 2**0.5)
    assert found.se_users == pytest.approx(np.std([0.5, 1, 0, 1], ddof=1) / 2)
    assert found.se == pytest.approx(np.hypot(found.se_seeds, found.se_users))
    assert figure(values[:1]).se == figure(values[:1]).se_users


def test_a_difference_is_taken_user_by_user():
    # Users differ by far more than the methods do.
    rng = np.random.default_rng(0)
    users = rng.normal(0, 10, 400)
    a = users + rng.normal(0, 0.1, (3, 400))
    b = users + 0.05 + rng.normal(0, 0.1, (5, 400))
    found = difference(a, b)
    assert found.mean == pytest.approx(b.mean() - a.mean())
    assert found.se < 0.02 and found.p < 0.01
    low, high = found.interval
    assert low < 0.05 < high and low > 0
    assert difference(b, a).mean == -found.mean


def test_the_p_value_is_that_of_a_normal_difference():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (2, 1, 200))
    z = difference(a, b).mean / difference(a, b).se
    assert difference(a, b).p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)
    assert difference(a, a).p == 1.0


def test_intervals_cover_what_is_true_as_often_as_they_say():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        a, b = rng.normal(0, 1, (2, 3, 50)) + rng.normal(0, 0.3, (2, 3, 1))
        low, high = difference(a, b).interval
        covered += low <= 0 <= high
    assert 0.88 < covered / 400 <= 0.99


def test_holm_adjusts_for_the_number_of_tests():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_other_users_are_refused():
    with pytest.raises(ValueError, match="want the same users, got 3 and 4"):
        difference(np.zeros((2, 3)), np.zeros((2, 4)))
