"""The low-rank view: how few directions a matrix needs. NumPy only.

Yue et al., "Your Causal Self-Attentive Recommender Hosts a Lonely Neighborhood", WSDM
2025, look at the sorted singular values of attention matrices and at what is left of
them when only the largest are kept. The measures are ours, with s_1 >= s_2 >= ... the
singular values of A and A_k the best matrix of rank k (Eckart and Young, 1936):

    rank_90         the smallest k with s_1^2 + ... + s_k^2 >= .9 (s_1^2 + s_2^2 + ...)
    effective_rank  exp(entropy of s_i / (s_1 + s_2 + ...))     Roy and Vetterli, 2007
    err_2           |A - A_2| / |A| in the Frobenius norm

None depends on the scale of A.
"""

import numpy as np

SHARES = (0.9, 0.95, 0.99)
KS = (1, 2, 5, 10)
_ROWS = 1 << 16  # of a table that are in float64 at one time


def singular_values(matrices: np.ndarray) -> np.ndarray:
    """Singular values (..., min(m, n)) of matrices (..., m, n), largest first."""
    return np.linalg.svd(np.asarray(matrices, np.float64), compute_uv=False)


def table_singular_values(table: np.ndarray) -> np.ndarray:
    """Singular values (d,) of a table (n, d) that may have millions of rows.

    They are the roots of the eigenvalues of its Gram matrix, added up from a part of
    the rows at a time: those below 1e-8 of the largest are rounding.
    """
    gram = np.zeros((table.shape[1],) * 2)
    for begin in range(0, len(table), _ROWS):
        part = np.asarray(table[begin : begin + _ROWS], np.float64)
        gram += part.T @ part
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0))


def gaussian_singular_values(
    rng: np.random.Generator, n: int, d: int, draws: int
) -> np.ndarray:
    """Singular values (draws, min(n, d)) of tables of independent normal numbers.

    Drawn as the triangular factor of such a table, which has the same singular values
    (Bartlett, 1933) and only min(n, d) rows.
    """
    n, d = max(n, d), min(n, d)
    factor = np.triu(rng.normal(size=(draws, d, d)), 1)
    diagonal = np.sqrt(rng.chisquare(n - np.arange(d), (draws, d)))
    factor[:, np.arange(d), np.arange(d)] = diagonal
    return singular_values(factor)


def figures(sigma: np.ndarray) -> dict[str, np.ndarray]:
    """The measures above of matrices, from their singular values.

    Args:
        sigma: (..., n), largest first, not all 0.

    Returns:
        "rank_90", "rank_95", "rank_99", "effective_rank", and "err_k" for k of `KS`,
        (...,) float64; the error is 0 from k = n on.
    """
    energy = np.cumsum(sigma**2, -1)
    share = energy / energy[..., -1:]
    found = {f"rank_{round(100 * q)}": 1.0 + (share < q - 1e-9).sum(-1) for q in SHARES}
    p = sigma / sigma.sum(-1, keepdims=True)
    found["effective_rank"] = np.exp(entropy(p))
    for k in KS:
        left = 1 - share[..., min(k, sigma.shape[-1]) - 1]
        found[f"err_{k}"] = np.sqrt(np.maximum(left, 0))
    return found


def entropy(p: np.ndarray) -> np.ndarray:
    """Entropy (...,) in nats of distributions (..., n), in which 0 log 0 is 0."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def truncated(matrices: np.ndarray, k: int) -> np.ndarray:
    """The nearest matrices of rank k: all singular values but k set to 0."""
    u, s, v = np.linalg.svd(np.asarray(matrices, np.float64), full_matrices=False)
    return (u[..., :k] * s[..., None, :k]) @ v[..., :k, :]
