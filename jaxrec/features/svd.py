"""The largest singular values and left singular vectors of a sparse matrix.

Subspace iteration from a random start (Halko, Martinsson and Tropp, SIAM Review 53(2),
2011, algorithm 4.4): Q <- orth(A A^T Q), then the eigenvectors of Q^T A A^T Q. All of
it is on the side of the rows, of which there are fewer than columns here, so that
nothing of columns times rank has to be orthonormalised; columns of Q are multiplied a
few at a time, so that nothing of that size is held either.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

_OVERSAMPLED = 16
_ITERATIONS = 4
_COLUMNS = 64  # of Q at a time
_HIGHEST = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix:
    """A sparse matrix.

    Attributes:
        rows: (entries,) row of each entry, ascending.
        columns: (entries,) column of each entry; no pair of row and column twice.
        values: (entries,) the entries.
        shape: Of the matrix.
    """

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]

    def transposed(self) -> "Matrix":
        order = np.argsort(self.columns, kind="stable")
        return Matrix(
            self.columns[order], self.rows[order], self.values[order], self.shape[::-1]
        )

    def compressed(self) -> sparse.BCSR:
        """The matrix for JAX, float32, by rows: what CPUs have a fast product for."""
        counts = np.bincount(self.rows, minlength=self.shape[0])
        starts = np.concatenate([[0], np.cumsum(counts)])
        return sparse.BCSR(
            (
                jnp.asarray(self.values, jnp.float32),
                jnp.asarray(self.columns, jnp.int32),
                jnp.asarray(starts, jnp.int32),
            ),
            shape=self.shape,
            indices_sorted=True,
            unique_indices=True,
        )


def left_singular(matrix: Matrix, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Truncated singular value decomposition.

    Args:
        matrix: (rows, columns) with at least one entry.
        rank: How many singular values are wanted.

    Returns:
        left: (rows, rank) float32 left singular vectors; in each the element of
            largest magnitude is positive.
        singular: (rank,) float32 singular values, falling. Beyond the rank of the
            matrix, as far as float32 can tell, both are zeros.
    """
    size = min(rank + _OVERSAMPLED, matrix.shape[0])
    found = _subspace(matrix.compressed(), matrix.transposed().compressed(), size)
    left, singular = (np.asarray(part)[..., :rank] for part in found)
    absent = rank - len(singular)
    return np.pad(left, ((0, 0), (0, absent))), np.pad(singular, (0, absent))


def product(outer: Matrix, inner: Matrix, dense: np.ndarray) -> np.ndarray:
    """(rows of `outer`, d) float32: outer @ (inner @ dense), for a (n, d) dense."""
    multiply = jax.jit(_product)
    return np.asarray(multiply(outer.compressed(), inner.compressed(), dense))


def _product(outer: sparse.BCSR, inner: sparse.BCSR, dense: jax.Array) -> jax.Array:
    height, width = dense.shape
    blocks = -(-width // _COLUMNS)
    dense = jnp.pad(dense.astype(jnp.float32), ((0, 0), (0, -width % _COLUMNS)))
    dense = dense.reshape(height, blocks, _COLUMNS).transpose(1, 0, 2)
    found = jax.lax.map(lambda block: outer @ (inner @ block), dense)
    return found.transpose(1, 0, 2).reshape(outer.shape[0], -1)[:, :width]


@functools.partial(jax.jit, static_argnames="size")
def _subspace(
    matrix: sparse.BCSR, transposed: sparse.BCSR, size: int
) -> tuple[jax.Array, jax.Array]:
    def step(_, q):
        return _nearly_orthonormal(_product(matrix, transposed, q))

    start = jax.random.normal(jax.random.key(0), (matrix.shape[0], size))
    q = jax.lax.fori_loop(0, _ITERATIONS, step, start)
    q = jnp.linalg.qr(q)[0]
    small = jnp.matmul(q.T, _product(matrix, transposed, q), precision=_HIGHEST)
    squares, vectors = jnp.linalg.eigh((small + small.T) / 2)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    left = jnp.matmul(q, vectors, precision=_HIGHEST)
    # What is within rounding errors of zero is no singular value.
    is_real = squares > 10 * jnp.finfo(squares.dtype).eps * size * squares[0]
    largest = jnp.take_along_axis(left, jnp.abs(left).argmax(0)[None], axis=0)
    left = left * jnp.where(largest < 0, -1, 1) * is_real
    return left, jnp.sqrt(jnp.where(is_real, squares, 0))


def _nearly_orthonormal(q: jax.Array) -> jax.Array:
    """Columns that span what those of `q` do, by a far cheaper way than Q R.

    It is that of Stathopoulos and Wu (SIAM J. Sci. Comput. 23(6), 2002); between two
    iterations the columns need not be orthonormal to the last digit.
    """
    squares, vectors = jnp.linalg.eigh(jnp.matmul(q.T, q, precision=_HIGHEST))
    least = jnp.finfo(squares.dtype).eps * len(squares) * squares[-1]
    vectors = vectors / jnp.sqrt(jnp.maximum(squares, least))
    return jnp.matmul(q, vectors, precision=_HIGHEST)
