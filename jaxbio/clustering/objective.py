"""What a step of a partition is worth under a model, and how that is learned.

A training example is a set and its partition. Clusters come in the order of a random
point of each (size-biased, `by_first_appearance`), which is the sampler's own law, and
the anchor is that point. Given the partition, no step needs the one before: G is a sum
over the clusters so far. So steps are rows that are computed at once, and a few steps
of many sets teach more than all steps of few: sets draw `steps` of theirs without
replacement, and weights make the sum unbiased.

With a Gaussian z the probability of a step is estimated by importance sampling from q
(Burda et al., 2016), and its gradient is the doubly reparametrised one (Tucker et al.,
ICLR 2019), here in one pass: the vector-Jacobian product of the log weights is kept,
and the cotangent of z is multiplied by the normalised weights once more.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxbio.clustering import model as process
from jaxbio.clustering.layers import Params
from jaxbio.clustering.model import Encoded, Model, View
from jaxbio.clustering.partitions import by_first_appearance


class Steps(NamedTuple):
    """Steps of partitions: R rows of B sets of N points.

    Attributes:
      left: (B, R, N) bool, points without a cluster before the step.
      inside: (B, R, N) bool, the cluster that the step makes.
      anchor: (B, R) int32.
      number: (B, R) int32, of the step, from 0.
      weight: (B, R) float32, 0 for a row that is none.
    """

    left: jax.Array
    inside: jax.Array
    anchor: jax.Array
    number: jax.Array
    weight: jax.Array


def choose_steps(
    keys: jax.Array, labels: jax.Array, most: int, steps: int
) -> tuple[Steps, jax.Array]:
    """Orders the clusters of each set at random and takes some of its steps.

    A step with nothing to decide, on the last point, is none.

    Args:
      keys: (B,) typed keys.
      labels: (B, N) int32 in [-1, most).
      most: K, more than any label.
      steps: rows per set; `most` or more takes all steps.

    Returns:
      The steps, and the labels (B, N) renamed in the order of the clusters.
    """
    n = labels.shape[-1]

    def one(key, labels):
        shuffle, choice = jax.random.split(key)
        order = jax.random.permutation(shuffle, n)
        labels = by_first_appearance(labels, order, most)
        number = jnp.arange(most)
        remaining = jnp.sum(labels >= number[:, None], 1)
        is_step = jnp.any(labels == number[:, None], 1) & (remaining > 1)
        weight = is_step.astype(jnp.float32)
        if steps < most:
            lot = jnp.where(is_step, jax.random.uniform(choice, (most,)), -1)
            drawn, number = jax.lax.top_k(lot, steps)
            count = is_step.sum()
            weight = (drawn >= 0) * (count / jnp.clip(count, 1, steps))
        left = labels >= number[:, None]
        inside = labels == number[:, None]
        anchor = jnp.where(inside, order, n).argmin(1).astype(jnp.int32)
        return Steps(left, inside, anchor, number, weight), labels

    return jax.vmap(one)(keys, labels)


def clusters_before(
    params: Params, model: Model, encoded: Encoded, labels: jax.Array, most: int
) -> jax.Array:
    """G before each step, (B, K, d), for labels (B, N) in the order of the clusters."""
    members = labels[:, None] == jnp.arange(most)[:, None]
    codes = process.cluster_codes(params, model, encoded, members)
    return jnp.cumsum(codes, 1) - codes


def log_step(
    params: Params,
    model: Model,
    seen: View,
    clusters: jax.Array,
    inside: jax.Array,
    keys: jax.Array,
    draws: int,
) -> jax.Array:
    """log p(cluster | anchor, ...) of every row, (B, R), in nats.

    Exact, but for a Gaussian z: then the logarithm of an unbiased estimate.

    Args:
      params: of the model.
      model: the model.
      seen: from `jaxbio.clustering.model.view`.
      clusters: G, (B, R, d).
      inside: (B, R, N) bool, the cluster; the anchor may be in it or not.
      keys: (B, R) typed keys, for a Gaussian z.
      draws: of a Gaussian z.
    """
    if model.cfg.latent != "gaussian":
        return _log_mixture(params, model.cfg, seen, clusters, inside)
    about = process.posterior(params, model.cfg, seen, clusters, inside)
    shape = (draws, model.cfg.latent_dim)
    noise = jax.vmap(jax.vmap(lambda key: jax.random.normal(key, shape)))(keys)
    noise = jnp.moveaxis(noise, 2, 0)
    mean, log_scale = jnp.split(about, 2, -1)
    z = mean + jnp.exp(log_scale) * noise
    theta = (params, seen, clusters, inside, jax.lax.stop_gradient(about))
    return log_mean_weight(_log_weights, theta, z)


def _log_mixture(params, cfg, seen, clusters, inside):
    top = process.hidden(params, seen, clusters)
    weights, vectors, bias = process.components(params, cfg, seen, clusters)
    logits = jnp.einsum("brnh,brmh->brmn", top, vectors) + bias[:, None]
    return jax.nn.logsumexp(weights + _log_bernoulli(logits, seen, inside), -1)


def _log_bernoulli(logits, seen, inside):
    """Sum over the points to decide on, of logits (B, R, M, N)."""
    chosen = (seen.open & inside)[:, :, None]
    terms = jnp.where(chosen, logits, 0) - jax.nn.softplus(logits)
    return jnp.where(seen.open[:, :, None], terms, 0).sum(-1)


def _log_weights(theta: Any, z: jax.Array) -> jax.Array:
    """log p(z) + log p(b | z) - log q(z), (W, B, R)."""
    params, seen, clusters, inside, about = theta
    top = process.hidden(params, seen, clusters, z)
    logits = (top @ params["decide"]["out"]["kernel"])[..., 0]
    logits = jnp.moveaxis(logits, 0, 2)
    fit = jnp.moveaxis(_log_bernoulli(logits, seen, inside), 2, 0)
    prior = process.prior(params, seen, clusters)
    return fit + log_normal(z, prior) - log_normal(z, about)


def log_normal(z: jax.Array, about: jax.Array) -> jax.Array:
    """Log density of z (..., e), given means and log standard deviations (..., 2 e)."""
    mean, log_scale = jnp.split(about, 2, -1)
    scaled = (z - mean) * jnp.exp(-log_scale)
    return -(0.5 * scaled**2 + log_scale + 0.5 * jnp.log(2 * jnp.pi)).sum(-1)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def log_mean_weight(
    log_weights: Callable[[Any, jax.Array], jax.Array], theta: Any, z: jax.Array
) -> jax.Array:
    """log of the mean over W of exp(log_weights(theta, z)), with the DReG gradient.

    The gradient of theta is the plain one; that of z is multiplied by the normalised
    weights. It is right if z are draws from q and q's density in `log_weights` is of
    constants.

    Args:
      log_weights: (theta, z) to (W, B, R).
      theta: any pytree.
      z: (W, B, R, e).
    """
    return _log_mean(log_weights(theta, z))


def _log_mean(weights):
    return jax.nn.logsumexp(weights, 0) - jnp.log(weights.shape[0])


def _forward(log_weights, theta, z):
    weights, back = jax.vjp(log_weights, theta, z)
    return _log_mean(weights), (back, jax.nn.softmax(weights, 0))


def _backward(log_weights, kept, cotangent):
    back, share = kept
    theta, z = back(share * cotangent)
    return theta, share[..., None] * z


log_mean_weight.defvjp(_forward, _backward)


def log_steps_of(
    params: Params,
    model: Model,
    encoded: Encoded,
    labels: jax.Array,
    keys: jax.Array,
    *,
    most: int,
    steps: int,
    draws: int,
) -> tuple[jax.Array, jax.Array]:
    """log p of some steps of each set, and their weights, both (B, R).

    The weighted sum over R is an unbiased estimate of the logarithm of the probability
    of a path to the partition (a lower bound of it in expectation with a Gaussian z).

    Args:
      params: of the model.
      model: the model.
      encoded: B sets of N points.
      labels: (B, N) int32, -1 for padding.
      keys: (B,) typed keys.
      most: more than any label.
      steps: rows per set.
      draws: of a Gaussian z.
    """
    both = jax.vmap(jax.random.split)(keys)
    rows, labels = choose_steps(both[:, 0], labels, most, min(steps, most))
    before = clusters_before(params, model, encoded, labels, most)
    clusters = jnp.take_along_axis(before, rows.number[..., None], 1)
    seen = process.view(params, model, encoded, rows.left, rows.anchor)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)))
    own = fold(both[:, 1], rows.number)
    found = log_step(params, model, seen, clusters, rows.inside, own, draws)
    return jnp.where(rows.weight > 0, found, 0), rows.weight
