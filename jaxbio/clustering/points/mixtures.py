"""Mixtures of clusters in space, drawn on the device.

    labels ~ CRP(alpha), or a mixture of finite mixtures
    means ~ N(0, spread^2 I)
    points ~ N(mean, noise^2 I), or a heavier-tailed or stretched cloud

Source: the test bed of Pakman et al., ICML 2020 and arXiv 2010.15727: alpha .7, spread
10, noise 1, at most 12 clusters, the median of every coordinate taken away. Ours:
sizes, partitions and shapes are those of each set, not of a batch.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxbio.clustering.partitions import crp, mfm


@dataclasses.dataclass(frozen=True)
class Config:
    """What sets are drawn.

    Attributes:
      dims: coordinates of a point.
      min_points: smallest set.
      max_points: largest set; smaller ones are padded to it.
      prior: of the partition, "crp" or "mfm".
      alpha: concentration of the CRP.
      rate: expected number of components of the MFM, less one.
      max_clusters: sets with more are drawn again.
      spread: standard deviation of means.
      equal_distance: whether that is over the root of half the coordinates, so that
        clusters are as far apart in many dimensions as in two.
      noise: standard deviation of points around their mean.
      shape: "gaussian"; "student", with 3 to 30 degrees of freedom per set;
        "anisotropic", each cluster stretched by log-normal factors along random axes;
        "mixed", one of the three per set.
      stretch: standard deviation of the logarithm of those factors.
      noise_ratio: the noise of a set is `noise` times a factor drawn from 1 /
        noise_ratio to noise_ratio, uniformly in its logarithm.
      min_dims: if not 0, a set has from this many to `dims` coordinates; the others
        are 0.
      centre: whether the median of every coordinate is taken away. The exact posterior
        is that of points which were not centred.
      standardise: whether every coordinate is also divided by its own scale, the root
        of its mean square in the set: the unit of a column does not matter.
      principal: whether coordinates are then along the principal axes of the set, the
        most varying first: the order of the columns does not matter, and what tells
        clusters apart is in the first few.
    """

    dims: int = 2
    min_dims: int = 0
    min_points: int = 50
    max_points: int = 199
    prior: Literal["crp", "mfm"] = "crp"
    alpha: float = 0.7
    rate: float = 2.0
    max_clusters: int = 12
    spread: float = 10.0
    equal_distance: bool = False
    noise: float = 1.0
    shape: Literal["gaussian", "student", "anisotropic", "mixed"] = "gaussian"
    stretch: float = 0.5
    noise_ratio: float = 1.0
    centre: bool = True
    standardise: bool = False
    principal: bool = False

    def __post_init__(self):
        if not 1 <= self.min_points <= self.max_points:
            raise ValueError(
                "generator.min_points, max_points: want 1 <= min_points <= max_points, "
                f"got {self.min_points} and {self.max_points}"
            )
        for name in ("dims", "max_clusters"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"generator.{name}: want 1 or more, got {getattr(self, name)}"
                )
        for name in ("alpha", "spread", "noise"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"generator.{name}: want above 0, got {getattr(self, name)}"
                )
        if not 0 <= self.min_dims <= self.dims:
            raise ValueError(
                f"generator.min_dims: want 0 to {self.dims}, got {self.min_dims}"
            )
        if not self.noise_ratio >= 1:
            raise ValueError(
                f"generator.noise_ratio: want 1 or more, got {self.noise_ratio}"
            )


def draw(key: jax.Array, cfg: Config) -> dict[str, Any]:
    """One set.

    Returns:
      inputs: {"x": (max_points, dims) float32}, 0 beyond the points.
      labels: (max_points,) int32, -1 beyond the points.
    """
    keys = jax.random.split(key, 7)
    shape = (cfg.max_points, cfg.dims)
    dims = cfg.dims
    if cfg.min_dims:
        dims = jax.random.randint(keys[6], (), cfg.min_dims, cfg.dims + 1)
    size = jax.random.randint(keys[0], (), cfg.min_points, cfg.max_points + 1)
    if cfg.prior == "crp":
        labels = crp(keys[1], size, cfg.max_points, cfg.alpha, cfg.max_clusters)
    else:
        labels = mfm(keys[1], size, cfg.max_points, cfg.rate, cfg.max_clusters)
    means = jax.random.normal(keys[2], (cfg.max_clusters, cfg.dims)) * cfg.spread
    if cfg.equal_distance:
        means *= (2 / dims) ** 0.5
    noise = jax.random.normal(keys[3], shape) * cfg.noise
    if cfg.noise_ratio > 1:
        reach = jnp.log(cfg.noise_ratio)
        noise *= jnp.exp(jax.random.uniform(keys[4], (), minval=-reach, maxval=reach))
    x = means[labels] + _shaped(keys[5], cfg, noise, labels)
    if cfg.min_dims:
        x = jnp.where(jnp.arange(cfg.dims) < dims, x, 0)
    x = prepared(x, labels >= 0, cfg)
    return {"inputs": {"x": x}, "labels": labels}


def prepared(x: jax.Array, valid: jax.Array, cfg: Config) -> jax.Array:
    """Points (N, cfg.dims) as the model sees them, 0 where not valid (N,).

    Args:
      x: the points; coordinates that they lack are 0.
      valid: (N,) bool.
      cfg: says whether they are centred, standardised and turned.
    """
    if cfg.centre:
        x = x - jnp.nanmedian(jnp.where(valid[:, None], x, jnp.nan), 0)
    x = jnp.where(valid[:, None], x, 0)
    count = jnp.maximum(valid.sum(), 1)
    if cfg.standardise:
        x = x * jax.lax.rsqrt(jnp.maximum((x * x).sum(0) / count, 1e-12))
    if cfg.principal:
        x = x @ _principal_axes(jnp.where(valid[:, None], x - x.sum(0) / count, 0))
    return x


def _principal_axes(x: jax.Array) -> jax.Array:
    """Columns, by falling variance of centred x (N, d), the largest entry positive."""
    axes = jnp.linalg.eigh(x.T @ x)[1][:, ::-1]
    largest = jnp.abs(axes).argmax(0)
    return axes * jnp.sign(jnp.take_along_axis(axes, largest[None], 0))


def _shaped(key, cfg, noise, labels):
    """Normal clouds (N, dims) made heavier-tailed or stretched."""
    if cfg.shape == "gaussian":
        return noise
    which, degrees, chi, axes, factors = jax.random.split(key, 5)
    freedom = jnp.exp(jax.random.uniform(degrees, (), minval=1.1, maxval=3.4))
    gamma = jax.random.gamma(chi, freedom / 2, (len(noise), 1)) * 2
    student = noise * jnp.sqrt(freedom / gamma)
    clusters, dims = cfg.max_clusters, cfg.dims
    turns, _ = jnp.linalg.qr(jax.random.normal(axes, (clusters, dims, dims)))
    along = jnp.exp(cfg.stretch * jax.random.normal(factors, (clusters, 1, dims)))
    stretched = jnp.einsum("nd,nde->ne", noise, (turns * along)[labels])
    if cfg.shape == "student":
        return student
    if cfg.shape == "anisotropic":
        return stretched
    choice = jax.random.randint(which, (), 0, 3)
    return jnp.stack([noise, student, stretched])[choice]


def size_of(points: Any) -> int:
    """Number of points of a table.

    Raises:
      ValueError: it is no table of numbers, has no row, or a value is not finite.
    """
    return len(_table(points))


def inputs_of(sets: Sequence[Any], size: int, cfg: Config) -> dict[str, jax.Array]:
    """Tables of points (n, d), d at most cfg.dims, as the model sees them.

    Args:
      sets: B tables, each as for `size_of`.
      size: rows of each in the result, n or more.
      cfg: of the generator that the model was trained on.

    Returns:
      {"x": (B, size, cfg.dims) float32}.

    Raises:
      ValueError: as `size_of`, or the model does not take as many coordinates.
    """
    least = cfg.min_dims or cfg.dims
    x = np.zeros((len(sets), size, cfg.dims), np.float32)
    counts = np.zeros(len(sets), np.int32)
    for number, table in enumerate(map(_table, sets)):
        count, dims = table.shape
        if not least <= dims <= cfg.dims:
            wanted = f"{least} to {cfg.dims}" if least < cfg.dims else f"{cfg.dims}"
            raise ValueError(
                f"points: the model takes {wanted} coordinates, got {dims} (shape "
                f"{table.shape})"
            )
        # Taken away in double precision: a far origin costs no digits.
        centre = np.median(table, 0) if cfg.centre else 0.0
        x[number, :count, :dims] = table - centre
        counts[number] = count
    # All at once: to call a program for every table would take longer than its answer.
    return {"x": _prepared(x, np.arange(size) < counts[:, None], cfg)}


@functools.partial(jax.jit, static_argnames="cfg")
def _prepared(x, valid, cfg):
    return jax.vmap(lambda *one: prepared(*one, cfg))(x, valid)


def _table(points: Any) -> np.ndarray:
    try:
        table = np.asarray(points, float)
    except (TypeError, ValueError):
        raise ValueError("points: want a table of numbers") from None
    if table.ndim != 2 or not table.size:
        raise ValueError(
            f"points: want a table of one row or more, got shape {table.shape}"
        )
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise ValueError(
            f"points: the value in row {row}, column {column} is {table[row, column]}"
        )
    return table
