"""The built-in encoder of texts: nothing to download, half a minute on a CPU.

Latent semantic analysis (Deerwester et al., JASIS 41(6), 1990) of hashed n-grams. A
text is a row of its n-grams of words and characters (`jaxrec.features.grams`), weighted

    (1 + log count) * log((1 + texts) / (1 + texts that have it)),

at length 1. With U S V^T the truncated singular value decomposition of these rows A,
the vectors are the rows of A V = U S, at length 1 again. N-grams that one text alone
has say nothing of how texts are alike and are left out; what all texts have, such as
the word "title", weighs nothing.

Whitened they are the rows of U at length 1: what few texts share counts as much as what
tells categories apart, of which recommenders can make more (Zhang et al., "Are ID
Embeddings Necessary? Whitening Pre-trained Text Embeddings for Effective Sequential
Recommendation", arXiv 2402.10602; there the mean is taken off first, here it is about
the first singular vector, one dimension of many).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jaxrec.features import grams
from jaxrec.features.svd import Matrix, left_singular, product

KIND = "hashed"
_ARRAYS = ("version", "texts", "left", "singular")


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A fitted encoder.

    Attributes:
        texts: (n,) the texts that it was fitted on, normalised.
        left: (n, dim) float16 U, times the square root of n so that its elements are
            about 1. From it follows V = A^T U / S, which is many times larger.
        singular: (dim,) float32 S, falling; zeros beyond the rank of the texts.
        whitened: Whether vectors are rows of U rather than of U S.
    """

    texts: tuple[str, ...]
    left: np.ndarray
    singular: np.ndarray
    whitened: bool = False

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, old or new.

        Returns:
            (len(texts), dim) float32 of length 1; zeros where a text has none of the
            n-grams that the encoder knows.
        """
        counts = grams.count(self.texts)
        idf = _idf(counts[1], len(self.texts))
        fitted = _weighted(*counts, idf)
        new = _weighted(*grams.count([grams.normalised(text) for text in texts]), idf)
        # Of V only the rows of these n-grams are needed.
        known = np.unique(new[1])
        rows, buckets, values = (part[np.isin(fitted[1], known)] for part in fitted)
        columns = np.searchsorted(known, buckets)
        inner = Matrix(rows, columns, values, (len(self.texts), len(known)))
        columns = np.searchsorted(known, new[1])
        outer = Matrix(new[0], columns, new[2], (len(texts), len(known)))
        scale = np.where(self.singular, self.singular, 1) ** (1 + self.whitened)
        scale = scale * np.sqrt(len(self.texts))
        found = product(outer, inner.transposed(), self.left / scale.astype(np.float32))
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.where(lengths, lengths, 1)

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept in a file, see `from_arrays`."""
        return {
            "kind": np.array(KIND),
            "version": np.array(grams.VERSION),
            "texts": np.frombuffer("\n".join(self.texts).encode(), np.uint8),
            "left": self.left,
            "singular": self.singular,
            "whitened": np.array(self.whitened),
        }


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Encoder:
    """The encoder whose `arrays` were kept.

    Raises:
        ValueError: An array is missing or does not fit, or the encoder is of another
            version.
    """
    if absent := [key for key in _ARRAYS if key not in arrays]:
        raise ValueError(f"the built-in encoder lacks {', '.join(absent)}")
    if int(arrays["version"]) != grams.VERSION:
        raise ValueError(
            f"the built-in encoder is of version {arrays['version']}, this program's "
            f"is {grams.VERSION}; make the features again"
        )
    texts = tuple(arrays["texts"].tobytes().decode().split("\n"))
    left, singular = arrays["left"], arrays["singular"]
    if left.shape != (len(texts), len(singular)):
        raise ValueError(
            f"the built-in encoder has {len(texts)} texts, {len(singular)} singular "
            f"values and singular vectors of shape {left.shape}"
        )
    # Files of before there was a choice are not whitened.
    return Encoder(texts, left, singular, bool(arrays.get("whitened", False)))


def fit(texts: Sequence[str], dim: int, whitened: bool = False) -> Encoder:
    """Fits the encoder; the same texts give the same encoder.

    Args:
        texts: One text per item, "" where there is none.
        dim: Dimensions of the vectors. Those beyond the rank of the texts are zeros.
        whitened: Whether all dimensions are to weigh the same, see above.

    Raises:
        ValueError: `dim` is not positive, or no two texts have anything in common
            that not all have.
    """
    if dim < 1:
        raise ValueError(f"the built-in encoder needs 1 dimension or more, got {dim}")
    texts = tuple(grams.normalised(text) for text in texts)
    rows, buckets, counts = grams.count(texts)
    rows, buckets, values = _weighted(rows, buckets, counts, _idf(buckets, len(texts)))
    if len(values) == 0:
        raise ValueError(
            f"the built-in encoder cannot be fitted on {len(texts)} texts of which no "
            "two share a word, or all say the same"
        )
    known, columns = np.unique(buckets, return_inverse=True)
    matrix = Matrix(rows, columns, values, (len(texts), len(known)))
    left, singular = left_singular(matrix, dim)
    left = (left * np.sqrt(len(texts))).astype(np.float16)
    return Encoder(texts, left, singular, whitened)


def _idf(buckets: np.ndarray, texts: int) -> np.ndarray:
    """(grams.BUCKETS,) weights, 0 for what fewer than two texts have."""
    having = np.bincount(buckets, minlength=grams.BUCKETS)
    return np.where(having > 1, np.log((1 + texts) / (1 + having)), 0)


def _weighted(rows, buckets, counts, idf: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows, buckets and weights without the zeros, each row at length 1."""
    values = (1 + np.log(counts)) * idf[buckets]
    rows, buckets, values = (part[values > 0] for part in (rows, buckets, values))
    squares = np.bincount(rows, values**2)
    return rows, buckets, (values / np.sqrt(squares[rows])).astype(np.float32)
