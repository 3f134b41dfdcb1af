import math

import numpy as np
import pytest

from jaxrec.eval.metrics import KS, Ranks, per_case, summary, table


def test_values_of_single_ranks():
    values = per_case(np.array([0, 3, 9, 10, 49, 50]))
    assert set(values) == {f"{n}@{k}" for n in ("recall", "ndcg", "mrr") for k in KS}
    np.testing.assert_array_equal(values["recall@1"], [1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(values["recall@10"], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(values["recall@50"], [1, 1, 1, 1, 1, 0])
    expected = [1, 1 / math.log2(5), 1 / math.log2(11), 0, 0, 0]
    np.testing.assert_allclose(values["ndcg@10"], expected)
    np.testing.assert_allclose(values["mrr@10"], [1, 1 / 4, 1 / 10, 0, 0, 0])
    np.testing.assert_allclose(values["mrr@5"], [1, 1 / 4, 0, 0, 0, 0])


def test_a_fractional_rank_is_used_as_it_stands():
    # Two better items and three equal ones: 2 + 3 / 2.
    values = per_case(np.array([3.5, 9.5]), ks=(5, 10))
    np.testing.assert_array_equal(values["recall@5"], [1, 0])
    np.testing.assert_array_equal(values["recall@10"], [1, 1])
    np.testing.assert_allclose(values["ndcg@5"], [1 / math.log2(5.5), 0])
    np.testing.assert_allclose(values["mrr@10"], [1 / 4.5, 1 / 10.5])


def test_summary_is_the_mean_with_the_standard_error_of_the_mean():
    result = summary(np.array([0, 0, 1, 20]), ks=(1, 10))
    assert result["recall@1"] == 2 / 4
    # Deviations of 1, 1, 0, 0 from 1/2, divided by 4 - 1, then by 4.
    assert result["recall@1_se"] == pytest.approx(math.sqrt(4 * 0.25 / 3 / 4))
    assert result["recall@10"] == 3 / 4
    mean = (1 + 1 + 1 / math.log2(3) + 0) / 4
    assert result["ndcg@10"] == pytest.approx(mean)
    squares = 2 * (1 - mean) ** 2 + (1 / math.log2(3) - mean) ** 2 + mean**2
    assert result["ndcg@10_se"] == pytest.approx(math.sqrt(squares / 3 / 4))
    assert len(result) == 2 * 3 * 2


def test_one_case_has_no_standard_error_and_none_no_figures():
    assert math.isnan(summary(np.array([3]))["recall@10_se"])
    with pytest.raises(ValueError, match="no cases"):
        summary(np.zeros(0))


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_a_rank_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="for case 1"):
        per_case(np.array([0, bad, 2]))


def test_a_list_length_below_one_is_refused():
    with pytest.raises(ValueError, match="1 or more"):
        per_case(np.array([0]), ks=(0, 10))


def test_ranks_put_their_prefix_before_every_name():
    ranks = Ranks(np.arange(2), np.array([0.0, 30.0]), "sampled100/")
    result = ranks.summary((10,))
    assert result["sampled100/recall@10"] == 1 / 2
    assert all(key.startswith("sampled100/") for key in result)


def test_the_table_is_aligned_and_shows_errors_and_shares():
    rows = {
        "popularity": {"recall@10": 0.05, "recall@10_se": 0.001},
        "model": {"recall@10": 0.3, "recall@10_se": 0.006, "ndcg@10": 0.2},
        "ceiling": {"recall@10": 0.4, "recall@10_se": 0.006, "ndcg@10": 0.25},
    }
    lines = table(rows, ("recall@10", "ndcg@10")).split("\n")
    assert lines[1].split() == ["popularity", "0.0500", "±", "0.0010", "-"]
    assert lines[2].split() == ["model", "0.3000", "±", "0.0060", "0.2000"]
    assert lines[0].index("recall@10") + 9 == lines[2].index("0.0060") + 6
    shares = table(rows, ("recall@10", "ndcg@10"), relative_to="ceiling")
    assert "0.3000 ± 0.0060 ( 75 %)" in shares and "0.2000 ( 80 %)" in shares
    with pytest.raises(ValueError, match="'top' is not a row.*'model'"):
        table(rows, relative_to="top")
