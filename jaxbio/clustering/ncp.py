"""Neural Clustering Process: one point at a time, the baseline of the family.

Source: Pakman et al., "Neural Clustering Processes", ICML 2020. Points come in a random
order; point n joins one of the K clusters so far or founds the next:

    H_k = sum of h(x_i) over the points of cluster k,  G = sum_k g(H_k)
    G_k = G - g(H_k) + g(H_k + h(x_n)),                k = 1 .. K + 1
    Q   = sum of q(x_i) over the points behind n
    p(c_n = k) = softmax over k of f([G_k, Q])

Sums, as published. Given a partition all its points are computed at once, and training
takes some of them, as it takes some steps of a clustering process. N points need N
decisions one after the other where an attentive process needs K. The probability of a
partition depends on the order; it is the mean over orders here as well.

Ours: h and q share the encoder of the points, and orders are those of each set. There
are at most `slots` clusters.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxbio.clustering.layers import Params, mlp, mlp_init
from jaxbio.clustering.model import Encoded, Model
from jaxbio.clustering.partitions import by_first_appearance
from jaxbio.clustering.sampler import Mode, each, split

_NEVER = -1e9  # the logit of a cluster that may not be


@dataclasses.dataclass(frozen=True)
class Config:
    """Architecture.

    Attributes:
      dim: of h and q, and of what the encoder gives.
      clusters_dim: of g.
      hidden: width of the perceptrons.
      slots: most clusters of a set.
    """

    dim: int = 64
    clusters_dim: int = 128
    hidden: int = 64
    slots: int = 12

    relative = False  # to no anchor: there is none

    def __post_init__(self):
        for name in ("dim", "clusters_dim", "hidden", "slots"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"model.{name}: want 1 or more, got {getattr(self, name)}"
                )


def init(key: jax.Array, model: Model) -> Params:
    """Draws parameters."""
    cfg, keys = model.cfg, jax.random.split(key, 5)
    d, g, deep = cfg.dim, cfg.clusters_dim, [cfg.hidden] * 5
    return {
        "encoder": model.encoder.init(keys[0], model.encoder_cfg),
        "h": mlp_init(keys[1], [d, cfg.hidden, d]),
        "q": mlp_init(keys[2], [d, cfg.hidden, d]),
        "g": mlp_init(keys[3], [d, *deep, g]),
        "f": mlp_init(keys[4], [g + d, *deep, 1], last_bias=False),
    }


def encode(params: Params, model: Model, inputs, valid: jax.Array) -> Encoded:
    """Encodes sets: h as `points`, q as `codes`, both (B, N, d), 0 in padding."""
    x = model.encoder.encode(params["encoder"], model.encoder_cfg, inputs, valid)
    h, q = (jnp.where(valid[..., None], mlp(params[name], x), 0) for name in ("h", "q"))
    return Encoded(h, q, inputs, valid)


def _log_joins(params, sums, made, number, point, behind):
    """Log probabilities (..., K) of joining each slot.

    Args:
      params: from `init`.
      sums: H, (..., K, d), 0 in slots without a cluster.
      made: g(H), (..., K, g), 0 in those.
      number: (...,) of clusters so far.
      point: h of the point, (..., d).
      behind: Q, (..., d).
    """
    slots = sums.shape[-2]
    joined = mlp(params["g"], sums + point[..., None, :])
    whole = made.sum(-2, keepdims=True) - made + joined
    rest = jnp.broadcast_to(behind[..., None, :], (*whole.shape[:-1], behind.shape[-1]))
    logits = mlp(params["f"], jnp.concatenate([whole, rest], -1))[..., 0]
    open_ = jnp.arange(slots) <= number[..., None]
    return jax.nn.log_softmax(jnp.where(open_, logits, _NEVER))


def log_points(
    params: Params,
    model: Model,
    encoded: Encoded,
    labels: jax.Array,
    order: jax.Array,
    at: jax.Array,
) -> jax.Array:
    """log p(c_n | earlier) of points n at places `at` of the order, (B, R).

    Args:
      params: of the model.
      model: the model.
      encoded: B sets of N points.
      labels: (B, N) int32, named by first appearance in the order.
      order: (B, N) int32, the place of every point; those of padding are last.
      at: (B, R) int32, places of valid points. Of others the result means nothing.
    """
    slots = model.cfg.slots
    here = order[:, None] == at[..., None]
    before = order[:, None] < at[..., None]
    after = (order[:, None] > at[..., None]) & encoded.valid[:, None]
    member = labels[:, None] == jnp.arange(slots)[:, None]
    chosen = before[:, :, None] & member[:, None]
    sums = jnp.einsum("brkn,bnd->brkd", chosen.astype(jnp.float32), encoded.points)
    used = chosen.any(-1)
    made = mlp(params["g"], sums) * used[..., None]
    point = jnp.einsum("brn,bnd->brd", here.astype(jnp.float32), encoded.points)
    behind = jnp.einsum("brn,bnd->brd", after.astype(jnp.float32), encoded.codes)
    joins = _log_joins(params, sums, made, used.sum(-1), point, behind)
    label = jnp.where(here, labels[:, None], 0).sum(-1)
    found = jnp.take_along_axis(joins, jnp.minimum(label, slots - 1)[..., None], -1)
    return jnp.where(label < slots, found[..., 0], _NEVER)


def _ordered(key, labels, most):
    """A random order with padding last, and labels (N,) named by it."""
    valid = labels >= 0
    lots = jnp.where(valid, jax.random.uniform(key, labels.shape), 2.0)
    order = jnp.argsort(jnp.argsort(lots)).astype(jnp.int32)
    return order, by_first_appearance(labels, order, most)


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
    """log p of some points of each set given those before, and weights, both (B, R).

    The weighted sum is an unbiased estimate of the log probability of the partition for
    one order. Arguments as of `jaxbio.clustering.objective.log_steps_of`; `draws` has
    no part here.
    """
    del draws
    size = labels.shape[-1]

    def choose(key, labels):
        shuffle, choice = jax.random.split(key)
        order, labels = _ordered(shuffle, labels, most)
        count = jnp.sum(labels >= 0) - 1  # The first point has no choice.
        lot = jax.random.uniform(choice, (size,)) - (jnp.arange(size) > count)
        lot = lot.at[0].set(-2.0)
        drawn, at = jax.lax.top_k(lot, min(steps, size))
        weight = (drawn >= 0) * (count / jnp.clip(count, 1, min(steps, size)))
        return order, labels, at, weight

    order, labels, at, weight = jax.vmap(choose)(keys, labels)
    found = log_points(params, model, encoded, labels, order, at)
    return jnp.where(weight > 0, found, 0), weight


def sample(
    params: Params, model: Model, encoded: Encoded, keys: jax.Array, mode: Mode
) -> jax.Array:
    """Partitions (B, S, N) int32, see `jaxbio.clustering.sampler.sample`.

    "mode" takes the most probable cluster of every point, in a random order.
    """
    b, s = keys.shape
    size, slots, d = encoded.points.shape[1], model.cfg.slots, model.cfg.dim
    to_order, to_choose = split(keys, 2)
    lots = each(lambda key: jax.random.uniform(key, (size,)), to_order)
    turns = jnp.argsort(jnp.where(encoded.valid[:, None], lots, 2.0), -1)
    rows, columns = jnp.arange(b)[:, None], jnp.arange(s)

    def body(n, state):
        labels, sums, made, number, behind = state
        index = turns[:, :, n]
        point = jnp.take_along_axis(encoded.points, index[..., None], 1)
        behind -= jnp.take_along_axis(encoded.codes, index[..., None], 1)
        joins = _log_joins(params, sums, made, number, point, behind)
        if mode == "posterior":
            here = each(lambda key: jax.random.fold_in(key, n), to_choose)
            joins += each(lambda key: jax.random.gumbel(key, (slots,)), here)
        real = jnp.take_along_axis(encoded.valid, index, 1)
        label = jnp.where(real, joins.argmax(-1), -1)
        chosen = (label[..., None] == jnp.arange(slots))[..., None]
        sums = jnp.where(chosen, sums + point[..., None, :], sums)
        mine = jnp.take_along_axis(sums, jnp.maximum(label, 0)[..., None, None], 2)
        made = jnp.where(chosen, mlp(params["g"], mine), made)
        number = jnp.maximum(number, label + 1)
        return labels.at[rows, columns, index].set(label), sums, made, number, behind

    first = (
        jnp.full((b, s, size), -1, jnp.int32),
        jnp.zeros((b, s, slots, d)),
        jnp.zeros((b, s, slots, model.cfg.clusters_dim)),
        jnp.zeros((b, s), jnp.int32),
        jnp.broadcast_to(encoded.codes.sum(1)[:, None], (b, s, d)),
    )
    return jax.lax.fori_loop(0, encoded.valid.sum(-1).max(), body, first)[0]


def log_prob(
    params: Params,
    model: Model,
    encoded: Encoded,
    labels: jax.Array,
    keys: jax.Array,
    *,
    orders: int,
    anchors: int,
    draws: int,
) -> jax.Array:
    """log of the mean over orders of p(labels | order), (B, S), in nats.

    Arguments as of `jaxbio.clustering.probability.log_prob`; there are neither anchors
    nor draws. A partition with more than `slots` clusters has none.
    """
    del anchors, draws
    size = labels.shape[-1]

    def one(number):
        here = each(lambda key: jax.random.fold_in(key, number), keys)
        order, named = jax.vmap(jax.vmap(lambda k, row: _ordered(k, row, size)))(
            here, labels
        )

        def row(order, named):  # (B, N), of one sample of every set
            places = jnp.broadcast_to(jnp.arange(size), named.shape)
            found = log_points(params, model, encoded, named, order, places)
            is_point = places < encoded.valid.sum(-1)[:, None]
            return jnp.where(is_point, found, 0).sum(-1)

        pairs = (jnp.moveaxis(order, 1, 0), jnp.moveaxis(named, 1, 0))
        return jnp.moveaxis(jax.lax.map(lambda pair: row(*pair), pairs), 0, 1)

    found = jax.lax.map(one, jnp.arange(orders))
    return jax.nn.logsumexp(found, 0) - jnp.log(orders)
