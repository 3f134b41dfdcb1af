"""The probability of a partition under a model, without bias.

A partition is reached by as many paths as its clusters have orders, and by any anchors:

    p(c | x) = E over size-biased orders of prod_k mean over d in S_k of p(S_k | d, ...)

so the mean over some orders, each with means over some anchors, is an unbiased estimate
of it. (The product for one order times that order's probability, as the authors report
it, is the probability of a sequence: smaller by a factor that depends on the number of
clusters, so that it cannot compare partitions.) For a perfect model all products are
equal, and their spread says how far a model is from that.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxbio.clustering import model as process
from jaxbio.clustering.layers import Params
from jaxbio.clustering.model import Encoded, Model
from jaxbio.clustering.objective import log_step
from jaxbio.clustering.partitions import by_first_appearance
from jaxbio.clustering.sampler import draw_member, each, split

ALL = 0  # anchors


def log_paths(
    params: Params,
    model: Model,
    encoded: Encoded,
    labels: jax.Array,
    keys: jax.Array,
    *,
    anchors: int = 1,
    draws: int = 16,
) -> jax.Array:
    """log of prod_k mean_d p(S_k | d) for one random order of each row, (B, S).

    Args:
      params: of the model.
      model: the model.
      encoded: B sets of N points.
      labels: (B, S, N) int32 in [-1, N), -1 exactly for padding.
      keys: (B, S) typed keys; a row's result depends on its own only.
      anchors: drawn from every cluster, with replacement; `ALL` takes each member.
      draws: of a Gaussian z, per step.
    """
    b, s, n = labels.shape
    count = anchors or n
    to_order, to_steps = split(keys, 2)
    orders = each(lambda key: jax.random.permutation(key, n), to_order)
    labels = jax.vmap(jax.vmap(partial(by_first_appearance, most=n)))(labels, orders)
    most = labels.max() + 1

    def body(state):
        number, total, clusters = state
        left, inside = labels >= number, labels == number
        wide = [jnp.repeat(rows, count, 1) for rows in (left, inside)]  # (B, S A, N)
        here = each(
            lambda key: jax.random.split(jax.random.fold_in(key, number), count),
            to_steps,
        ).reshape(b, s * count)
        to_anchor, to_latent = split(here, 2)
        if anchors == ALL:
            anchor = jnp.broadcast_to(jnp.tile(jnp.arange(n), s), (b, s * n))
            counts = inside
        else:
            anchor = draw_member(to_anchor, wide[1])
            counts = jnp.repeat(inside.any(-1, keepdims=True), count, -1)
        seen = process.view(params, model, encoded, wide[0], anchor)
        before = jnp.repeat(clusters, count, 1)
        found = log_step(params, model, seen, before, wide[1], to_latent, draws)
        found = jnp.where(counts, found.reshape(b, s, count), -jnp.inf)
        used = counts.sum(-1)
        mean = jax.nn.logsumexp(found, -1) - jnp.log(jnp.maximum(used, 1))
        total += jnp.where(used > 0, mean, 0)
        codes = process.cluster_codes(params, model, encoded, inside)
        return number + 1, total, clusters + codes

    none = jnp.zeros((b, s, model.cfg.dim))
    first = (jnp.zeros((), jnp.int32), jnp.zeros((b, s)), none)
    return jax.lax.while_loop(lambda state: state[0] < most, body, first)[1]


def log_prob(
    params: Params,
    model: Model,
    encoded: Encoded,
    labels: jax.Array,
    keys: jax.Array,
    *,
    orders: int = 1,
    anchors: int = 1,
    draws: int = 16,
) -> jax.Array:
    """The logarithm of an unbiased estimate of p(labels | points), (B, S), in nats.

    Args:
      params: of the model.
      model: the model.
      encoded: B sets of N points.
      labels: (B, S, N) int32 in [-1, N), -1 exactly for padding.
      keys: (B, S) typed keys.
      orders: R, size-biased, of the clusters.
      anchors: see `log_paths`.
      draws: see `log_paths`.
    """

    def one(number):
        here = each(lambda key: jax.random.fold_in(key, number), keys)
        options = {"anchors": anchors, "draws": draws}
        return log_paths(params, model, encoded, labels, here, **options)

    found = jax.lax.map(one, jnp.arange(orders))
    return jax.nn.logsumexp(found, 0) - jnp.log(orders)
