"""Features of a graph's nodes: eigenvectors of its adjacency matrix, and degrees.

A graph without attributes has nothing but its edges. Leading eigenvectors put nodes
of a block near each other before the encoder's first layer. Adjusted mutual information
of k-means with the true number of blocks, on 40 graphs of the general stochastic block
model (`jaxbio.clustering.graphs.sbm`) with two or more blocks, 20 eigenvectors, mean ±
standard error (`python -m benchmarks.clustering --only features`):

    of the Laplacian, as published                          .20 ± .03
    the same times the root of the size, and the degree     .47 ± .04
    of the normalised adjacency by magnitude, times their
      eigenvalues (`weighting`)                             .56 ± .06
    the same and the degree                                 .69 ± .04

Magnitude finds blocks with few edges inside as well, the eigenvalue shrinks columns
that are noise, and blocks differ in their degrees, which normalising hides.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

_SPARE = 4  # Columns iterated beyond those wanted; the last ones converge slowest.
_PRODUCTS = 3  # Products with the matrix between two orthonormalisations.


@dataclasses.dataclass(frozen=True)
class Features:
    """Which columns a node has.

    Attributes:
      eigenvectors: their number.
      operator: "laplacian": of I - S by increasing eigenvalue, the first left out,
        where S is the adjacency matrix over the roots of both ends' degrees (at least
        1); "normalised": of S by decreasing magnitude of the eigenvalue; "adjacency":
        of the adjacency matrix by decreasing magnitude; "regularised": as
        "normalised", with a quarter of the mean degree added to the degrees (Amini et
        al., Annals of Statistics 41, 2013), and entries over the roots of these: in
        sparse graphs hanging trees take no columns, and degrees do not show.
      weighting: "none": eigenvectors of norm 1, as published; "root_size": times the
        root of the number of nodes, so that entries do not shrink with the graph;
        "eigenvalue": and times the eigenvalue's magnitude, over the largest.
      iterations: rounds of subspace iteration, three products each, or 0 for all
        eigenvectors by `jnp.linalg.eigh`. Eigenvectors of the bulk, which tell nothing
        of blocks, are not resolved by few rounds. 2.1 CPU ms instead of 13.3 for 299
        places, and as good (the same command).
      degree: two more columns, the logarithm of the degree (at least 1), once
        standardised over the graph's nodes, once as that of the degree over the number
        of nodes.
      random: further columns that are normal noise, fixed where no key is given.
    """

    eigenvectors: int = 20
    operator: Literal["laplacian", "normalised", "adjacency", "regularised"] = (
        "normalised"
    )
    weighting: Literal["none", "root_size", "eigenvalue"] = "eigenvalue"
    iterations: int = 8
    degree: bool = True
    random: int = 0

    def __post_init__(self):
        for name in ("eigenvectors", "iterations", "random"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is below 0")
        if not self.width:
            raise ValueError(
                "features: none are left: eigenvectors and random are 0 and degree is "
                "false"
            )

    @property
    def width(self) -> int:
        """Number F of columns."""
        return self.eigenvectors + 2 * self.degree + self.random


def node_features(
    adjacency: jax.Array,
    valid: jax.Array,
    cfg: Features,
    key: jax.Array | None = None,
) -> jax.Array:
    """Features (N, F) float32 of one graph, 0 at padded nodes.

    A graph with fewer nodes than eigenvectors has zeros in the columns left over.

    Args:
      adjacency: (N, N), symmetric, 0 or 1, 0 on the diagonal and at padded nodes.
      valid: (N,) bool.
      cfg: the columns.
      key: for training: every eigenvector gets a random sign, as its sign means nothing
        and a network could learn the solver's habit; and noise is drawn.
    """
    adjacency = adjacency.astype(jnp.float32)
    signs, noise = jax.random.split(jax.random.key(0) if key is None else key)
    columns = []
    if cfg.eigenvectors:
        vectors = _eigenvectors(adjacency, valid, cfg)
        if key is not None:
            vectors = vectors * jax.random.rademacher(signs, (cfg.eigenvectors,))
        columns.append(vectors)
    if cfg.degree:
        columns.append(_degrees(adjacency, valid))
    if cfg.random:
        columns.append(jax.random.normal(noise, (len(valid), cfg.random)))
    return jnp.where(valid[:, None], jnp.concatenate(columns, 1), 0)


def _degrees(adjacency, valid):
    """Logarithm of the degree: standardised, and of the degree over the size."""
    size = jnp.maximum(valid.sum(), 1)
    log = jnp.where(valid, jnp.log(jnp.maximum(adjacency.sum(1), 1)), 0)
    centred = jnp.where(valid, log - log.sum() / size, 0)
    variance = jnp.sum(centred**2) / size
    return jnp.stack([centred * jax.lax.rsqrt(variance + 1e-4), log - jnp.log(size)], 1)


def _eigenvectors(adjacency, valid, cfg):
    """(N, eigenvectors), weighted, those of an operator's largest magnitudes."""
    first = cfg.operator == "laplacian"
    wanted = cfg.eigenvectors + first
    matrix = _operator(adjacency, valid, cfg)
    solve = _iterated if cfg.iterations else _exact
    values, vectors = solve(matrix, valid, wanted, cfg.iterations)
    size = valid.sum()
    real = valid[:, None] & (jnp.arange(wanted) < size)
    vectors = jnp.where(real, vectors, 0)
    if cfg.weighting != "none":
        vectors = vectors * jnp.sqrt(size.astype(jnp.float32))
    if cfg.weighting == "eigenvalue":
        vectors = vectors * values / jnp.maximum(values[0], 1e-6)
    if cfg.operator == "regularised":
        degree = _regularised(adjacency, valid)
        mean = degree.sum() / jnp.maximum(size, 1)
        vectors = vectors * jnp.sqrt(mean / jnp.maximum(degree, 1e-6))[:, None]
    return vectors[:, first:]


def _operator(adjacency, valid, cfg):
    """A symmetric matrix with eigenvalues in [-1, 1], the wanted ones largest."""
    degree = adjacency.sum(1)
    if cfg.operator == "regularised":
        degree = _regularised(adjacency, valid)
    if cfg.operator == "adjacency":
        return adjacency / jnp.maximum(degree.max(), 1)
    root = jax.lax.rsqrt(jnp.maximum(degree, 1))
    normalised = root[:, None] * adjacency * root
    if cfg.operator in ("normalised", "regularised"):
        return normalised
    # 1 - half the Laplacian's eigenvalue: from 1 down to 0 as that goes from 0 to 2.
    return (normalised + jnp.diag(valid.astype(jnp.float32))) / 2


def _regularised(adjacency, valid):
    """Degrees and a quarter of their mean, 0 at padded nodes."""
    mean = adjacency.sum() / jnp.maximum(valid.sum(), 1)
    return jnp.where(valid, adjacency.sum(1) + mean / 4, 0)


def _exact(matrix, valid, wanted, _):
    """Magnitudes (wanted,) and eigenvectors (N, wanted), largest first."""
    # Padded nodes get an eigenvalue that no valid one has, so none mixes with theirs.
    values, vectors = jnp.linalg.eigh(matrix + jnp.diag(jnp.where(valid, 0.0, 2.0)))
    magnitude = jnp.where(values > 1.5, -1, jnp.abs(values))
    order = jnp.argsort(-magnitude)[:wanted]
    return _widened(magnitude[order], vectors[:, order], wanted)


def _iterated(matrix, valid, wanted, rounds):
    """As `_exact`, by subspace iteration with a Rayleigh-Ritz step at its end."""
    width = min(wanted + _SPARE, len(valid))
    start = jax.random.normal(jax.random.key(0), (len(valid), width))

    def again(basis, _):
        for _ in range(_PRODUCTS):
            basis = matrix @ basis
        return jnp.where(valid[:, None], jnp.linalg.qr(basis)[0], 0), None

    start = jnp.linalg.qr(jnp.where(valid[:, None], start, 0))[0]
    start = jnp.where(valid[:, None], start, 0)
    basis, _ = jax.lax.scan(again, start, None, length=rounds)
    values, turned = jnp.linalg.eigh(basis.T @ matrix @ basis)
    order = jnp.argsort(-jnp.abs(values))[:wanted]
    return _widened(jnp.abs(values[order]), basis @ turned[:, order], wanted)


def _widened(values, vectors, wanted):
    """Zero columns up to `wanted`, where an array has fewer nodes than that."""
    short = wanted - len(values)
    return jnp.pad(values, (0, short)), jnp.pad(vectors, ((0, 0), (0, short)))
