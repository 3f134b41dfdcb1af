"""The low-rank measures on matrices whose answers are known."""

import math

import numpy as np
import pytest

from jaxrec.eval import low_rank


def measured(matrix):
    return low_rank.figures(low_rank.singular_values(matrix))


def test_identity():
    found = measured(np.eye(10))
    assert (found["rank_90"], found["rank_95"], found["rank_99"]) == (9, 10, 10)
    assert found["effective_rank"] == pytest.approx(10)
    assert found["err_1"] == pytest.approx(math.sqrt(0.9))
    assert found["err_5"] == pytest.approx(math.sqrt(0.5))
    assert found["err_10"] == 0


def test_rank_one():
    uniform = np.full((6, 6), 1 / 6)
    found = measured(np.stack([uniform, 50 * np.outer(np.arange(6), np.ones(6))]))
    for name in ("rank_90", "rank_95", "rank_99", "effective_rank"):
        np.testing.assert_allclose(found[name], [1, 1])
    for k in low_rank.KS:
        np.testing.assert_allclose(found[f"err_{k}"], 0, atol=1e-7)


def test_uniform_causal_attention_has_full_rank():
    n = 7
    matrix = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
    sigma = low_rank.singular_values(matrix)
    # Triangular: the determinant is the product of the diagonal.
    assert np.prod(sigma) == pytest.approx(1 / math.factorial(n))
    assert low_rank.figures(sigma)["effective_rank"] > 3.5


def test_measures_equal_a_loop():
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(2, 3, 12, 12)) ** 3
    found = measured(matrices)
    for place in np.ndindex(2, 3):
        sigma = np.sqrt(np.linalg.eigvalsh(matrices[place].T @ matrices[place]))[::-1]
        for share, name in ((0.9, "rank_90"), (0.95, "rank_95"), (0.99, "rank_99")):
            k = 1
            while sum(sigma[:k] ** 2) < share * sum(sigma**2):
                k += 1
            assert found[name][place] == k
        p = sigma / sigma.sum()
        wanted = math.exp(-sum(x * math.log(x) for x in p))
        assert found["effective_rank"][place] == pytest.approx(wanted)
        for k in low_rank.KS:
            nearest = low_rank.truncated(matrices[place], k)
            assert np.linalg.matrix_rank(nearest) == k
            wanted = np.linalg.norm(matrices[place] - nearest)
            wanted /= np.linalg.norm(matrices[place])
            assert found[f"err_{k}"][place] == pytest.approx(wanted)


def test_a_table_part_by_part(monkeypatch):
    table = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    monkeypatch.setattr(low_rank, "_ROWS", 16)
    wanted = low_rank.singular_values(table)
    np.testing.assert_allclose(low_rank.table_singular_values(table), wanted)


@pytest.mark.parametrize("shape", [(40, 5), (5, 40)])
def test_gaussian_tables_without_their_rows(shape):
    drawn = low_rank.gaussian_singular_values(np.random.default_rng(0), *shape, 4000)
    tables = np.random.default_rng(1).normal(size=(4000, *shape))
    wanted = low_rank.singular_values(tables)
    assert drawn.shape == wanted.shape == (4000, 5)
    error = np.sqrt((drawn.var(0) + wanted.var(0)) / 4000)
    assert (np.abs(drawn.mean(0) - wanted.mean(0)) < 5 * error).all()
    np.testing.assert_allclose(drawn.std(0), wanted.std(0), rtol=0.1)
