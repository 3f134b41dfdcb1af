import numpy as np
import pytest

from jaxrec.features.svd import Matrix, left_singular, product


def sparse(dense):
    rows, columns = np.nonzero(dense)
    return Matrix(rows, columns, dense[rows, columns], dense.shape)


def random(height, width, seed=0):
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((height, width))
    return np.where(rng.random((height, width)) < 0.2, dense, 0)


def falling(height, width, singular):
    """A matrix with these singular values."""
    rng = np.random.default_rng(1)
    left = np.linalg.qr(rng.standard_normal((height, len(singular))))[0]
    right = np.linalg.qr(rng.standard_normal((width, len(singular))))[0]
    return (left * singular) @ right.T


@pytest.mark.parametrize("width", [1, 64, 70])
def test_product(width):
    outer, inner = random(7, 30), random(30, 9, seed=1)
    dense = np.random.default_rng(2).standard_normal((9, width))
    found = product(sparse(outer), sparse(inner), dense.astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, outer @ inner @ dense, rtol=1e-5, atol=1e-5)


def test_transposed():
    dense = random(7, 30)
    found = sparse(dense).transposed()
    wanted = sparse(dense.T)
    for part in ("rows", "columns", "values"):
        np.testing.assert_array_equal(getattr(found, part), getattr(wanted, part))
    assert found.shape == (30, 7)


def test_against_numpy():
    dense = falling(60, 90, 5 * 0.8 ** np.arange(40))
    left, singular = left_singular(sparse(dense), 12)
    wanted_left, wanted, _ = np.linalg.svd(dense)
    np.testing.assert_allclose(singular, wanted[:12], rtol=1e-4)
    wanted_left = wanted_left[:, :12]
    largest = np.take_along_axis(wanted_left, np.abs(wanted_left).argmax(0)[None], 0)
    np.testing.assert_allclose(left, wanted_left * np.sign(largest), atol=2e-3)
    np.testing.assert_allclose(left.T @ left, np.eye(12), atol=1e-5)
    assert left.dtype == singular.dtype == np.float32


def test_beyond_the_rank_there_are_zeros():
    dense = falling(30, 50, np.array([3.0, 2, 1]))
    for rank in (5, 40):
        left, singular = left_singular(sparse(dense), rank)
        assert left.shape == (30, rank)
        np.testing.assert_allclose(singular, [3, 2, 1] + [0] * (rank - 3), atol=1e-5)
        assert not left[:, 3:].any() and left[:, :3].any(axis=0).all()


def test_the_same_again():
    matrix = sparse(random(50, 80))
    first, second = left_singular(matrix, 20), left_singular(matrix, 20)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
