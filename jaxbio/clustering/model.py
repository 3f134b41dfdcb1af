"""One family of models that build a partition cluster by cluster: CCP, ACP, ACP-S.

Source: Pakman et al., "Attentive Clustering Processes", arXiv 2010.15727.

A step takes an anchor, a point drawn uniformly from those that are left, and says which
of the others belong to its cluster:

    p(b | anchor) = integral p(z | A, U, G) prod_i p(b_i | D_i, z, A, U, G) dz

with D_i what is known of a point, A of the anchor, U of all that are left and G of the
clusters so far. What these are is the `variant`:

* "acp": an ISAB over the points that are left, again at every step.
* "acp_s": one ISAB over all points before the first step; U is a PMA pool.
* "ccp": no attention: means in place of pools.

What z is, is `latent`:

* "gaussian", as published: a diagonal normal; training and probabilities need draws
  from a third network, q(z | A, members, others, G) (`jaxbio.clustering.objective`).
* "mixture", ours: one of M components. Their logits are products of one vector per
  point with M vectors made of (A, U, G), so that all M cost little more than one, and
  the probability of a step is a sum: no draws, no bound, no third network.
* "none": a mixture of one, independent decisions. It cannot say "either both or none".

`relative`, ours too: what an encoder knows of a point relative to the anchor (such as
the difference of their positions, `encoder.relate`) is put to what is known of it.

Arrays have leading axes sets B and rows R: the rows of a set are its steps in training
and its samples in sampling. In the first layer of the network of decisions each input
has a map of its own, so that what is common to the points is mapped once.
"""

import dataclasses
from types import ModuleType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxbio.clustering.layers import (
    Params,
    block_init,
    finish,
    induced,
    induced_init,
    linear,
    linear_init,
    masked_mean,
    mlp,
    mlp_init,
    pool,
    pool_init,
    prelu,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Architecture of a clustering process.

    Attributes:
      variant: "acp", "acp_s" or "ccp".
      latent: "mixture", "gaussian" or "none".
      dim: width of all vectors, a multiple of `heads`.
      hidden: width of the perceptrons.
      heads: of the attention.
      seeds: inducing points of the ISAB.
      head_scale: whether products are divided by the root of a head's width; as
        published it is the root of `dim`.
      norm: LayerNorm in the attention over sets. Published for "acp_s" only.
      components: of latent "mixture".
      latent_dim: of latent "gaussian".
      relative: whether points are described relative to the anchor as well.
    """

    variant: Literal["acp", "acp_s", "ccp"] = "acp"
    latent: Literal["mixture", "gaussian", "none"] = "mixture"
    dim: int = 64
    hidden: int = 64
    heads: int = 4
    seeds: int = 16
    head_scale: bool = True
    norm: bool = False
    components: int = 16
    latent_dim: int = 64
    relative: bool = True

    def __post_init__(self):
        for name in ("dim", "hidden", "heads", "seeds", "components", "latent_dim"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"model.{name}: want 1 or more, got {getattr(self, name)}"
                )
        if self.dim % self.heads:
            raise ValueError(
                f"model.heads={self.heads} does not divide model.dim={self.dim}"
            )

    @property
    def scale(self) -> float:
        """What the products of the attention are multiplied by."""
        return (self.dim // self.heads if self.head_scale else self.dim) ** -0.5


class Model(NamedTuple):
    """A configuration and the encoder of what the points are.

    Attributes:
      cfg: of the clustering process.
      encoder: a module with `init`, `encode` and, for `relative`, `relate`.
      encoder_cfg: its configuration.
    """

    cfg: Config
    encoder: ModuleType
    encoder_cfg: Any


class Encoded(NamedTuple):
    """What is known of the points before the first step.

    Attributes:
      points: (B, N, d).
      codes: (B, N, d), h(points), which clusters are made of.
      inputs: of the encoder.
      valid: (B, N) bool.
    """

    points: jax.Array
    codes: jax.Array
    inputs: Any
    valid: jax.Array


class View(NamedTuple):
    """What a step sees: D (B, R, N, d), A (B, R, d), U (B, R, d), and the others.

    Attributes:
      points: D.
      anchor: A.
      others: U.
      open: (B, R, N) bool, the points to decide on: what is left but for the anchor.
    """

    points: jax.Array
    anchor: jax.Array
    others: jax.Array
    open: jax.Array


def init(key: jax.Array, model: Model) -> Params:
    """Draws parameters."""
    cfg = model.cfg
    d, width = cfg.dim, cfg.hidden
    names = iter(jax.random.split(key, 16))
    params = {
        "encoder": model.encoder.init(next(names), model.encoder_cfg),
        "h": mlp_init(next(names), [d, width, width, d]),
        "g": mlp_init(next(names), [d, width, width, d]),
        "decide": _decide_init(next(names), cfg),
    }
    if cfg.variant != "acp":
        params["u"] = mlp_init(next(names), [d, width, width, d])
    if cfg.variant != "ccp":
        params["attention"] = induced_init(next(names), d, cfg.seeds, cfg.norm)
        params["pool_u"] = pool_init(next(names), d, 1, cfg.norm)
        params["pool_h"] = pool_init(next(names), d, 1, cfg.norm)
    if cfg.variant == "acp":
        shift = block_init(next(names), d, cfg.norm)
        del shift["key"]  # One key: its softmax is 1.
        params["shift"] = shift
    if cfg.relative:
        related = model.encoder.related_dim(model.encoder_cfg)
        params["relate"] = mlp_init(next(names), [related, width, width, d])
    if cfg.latent == "gaussian":
        deep, out = [width] * 5, 2 * cfg.latent_dim
        for name, inputs in (("prior", 3 * d), ("posterior", 4 * d)):
            params[name] = mlp_init(next(names), [inputs, *deep, out])
            # Near N(0, 1) at first: the published inputs would overflow the scale.
            params[name]["5"]["kernel"] *= 0.01
        if cfg.variant != "ccp":
            params["pool_in"] = pool_init(next(names), d, 1, cfg.norm)
            params["pool_out"] = pool_init(next(names), d, 1, cfg.norm)
    return params


def _decide_init(key, cfg):
    d, width = cfg.dim, cfg.hidden
    keys = jax.random.split(key, 8)
    params = {
        "point": linear_init(keys[0], d, width, bias=False),
        "context": linear_init(keys[1], 3 * d, width),
        "hidden": {str(i): linear_init(keys[2 + i], width, width) for i in range(3)},
        "slope": jnp.array(0.25),
    }
    if cfg.latent == "gaussian":
        params["latent"] = linear_init(keys[5], cfg.latent_dim, width, bias=False)
        params["out"] = linear_init(keys[6], width, 1, bias=False)
        return params
    count = _components(cfg)
    params["out"] = linear_init(keys[5], width, count)
    if count > 1:
        params["vectors"] = mlp_init(keys[6], [3 * d, width, count * width])
        params["weights"] = mlp_init(keys[7], [3 * d, width, count])
    return params


def _components(cfg):
    return cfg.components if cfg.latent == "mixture" else 1


def encode(params: Params, model: Model, inputs: Any, valid: jax.Array) -> Encoded:
    """Encodes data sets: inputs (B, N, ...), valid (B, N) bool."""
    cfg = model.cfg
    points = model.encoder.encode(params["encoder"], model.encoder_cfg, inputs, valid)
    if cfg.variant == "acp_s":
        row, mask = points[:, None], valid[:, None]
        row = induced(params["attention"], row, mask, cfg.heads, cfg.scale)
        points = row[:, 0]
    return Encoded(points, mlp(params["h"], points), inputs, valid)


def view(
    params: Params, model: Model, encoded: Encoded, left: jax.Array, anchor: jax.Array
) -> View:
    """What steps see.

    Args:
      params: from `init`.
      model: the model.
      encoded: B sets of N points.
      left: (B, R, N) bool, the points without a cluster, the anchor among them.
      anchor: (B, R) int32. Of a row without points it may be any.
    """
    cfg = model.cfg
    points = encoded.points[:, None]
    others = left & (jnp.arange(left.shape[-1]) != anchor[..., None])
    at_anchor = jnp.take_along_axis(encoded.points, anchor[..., None], 1)
    if cfg.relative:
        near = model.encoder.relate(model.encoder_cfg, encoded.inputs, anchor)
        points = points + mlp(params["relate"], near)
    else:
        points = jnp.broadcast_to(points, (*left.shape, points.shape[-1]))
    if cfg.variant == "acp":
        seen = induced(params["attention"], points, left, cfg.heads, cfg.scale)
        at_anchor = jnp.take_along_axis(seen, anchor[..., None, None], 2)[..., 0, :]
        shift = params["shift"]
        shifted = linear(shift["query"], seen)
        shifted += linear(shift["value"], at_anchor)[..., None, :]
        shifted = finish(shift, shifted)
        summary = pool(params["pool_u"], shifted, left, cfg.heads, cfg.scale)
        return View(seen, at_anchor, summary[..., 0, :], others)
    coded = mlp(params["u"], encoded.points)
    return View(
        points, at_anchor, _pooled(params, "pool_u", cfg, coded, others), others
    )


def cluster_codes(
    params: Params, model: Model, encoded: Encoded, members: jax.Array
) -> jax.Array:
    """What clusters add to G: members (B, K, N) bool to (B, K, d), 0 for empty ones."""
    pooled = _pooled(params, "pool_h", model.cfg, encoded.codes, members)
    made = mlp(params["g"], pooled)
    return made * members.any(-1)[..., None]


def _pooled(params, name, cfg, x, mask):
    if cfg.variant == "ccp":
        return masked_mean(x, mask)
    return pool(params[name], x, mask, cfg.heads, cfg.scale)[..., 0, :]


def hidden(
    params: Params, seen: View, clusters: jax.Array, latent: jax.Array | None = None
) -> jax.Array:
    """The last hidden layer of the network of decisions.

    Args:
      params: from `init`.
      seen: from `view`.
      clusters: G, (B, R, d).
      latent: z (W, B, R, e) of latent "gaussian".

    Returns:
      (B, R, N, width), or (W, B, R, N, width) with z.
    """
    decide = params["decide"]
    x = linear(decide["context"], context_of(seen, clusters))
    if latent is not None:
        x = x + linear(decide["latent"], latent)
    x = prelu(decide["slope"], linear(decide["point"], seen.points) + x[..., None, :])
    for i in range(len(decide["hidden"])):
        x = prelu(decide["slope"], linear(decide["hidden"][str(i)], x))
    return x


def context_of(seen: View, clusters: jax.Array) -> jax.Array:
    """What is common to the points of a row: (A, U, G), (B, R, 3 d)."""
    return jnp.concatenate([seen.anchor, seen.others, clusters], -1)


def components(
    params: Params, cfg: Config, seen: View, clusters: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log weights (B, R, M), vectors (B, R, M, width) and biases (M,) of a mixture.

    The logit of a point in component m is its `hidden` vector times vector m, plus the
    bias.
    """
    decide, count = params["decide"], _components(cfg)
    rows = clusters.shape[:-1]
    out, bias = decide["out"]["kernel"].T, decide["out"]["bias"]
    if count == 1:
        return jnp.zeros((*rows, 1)), jnp.broadcast_to(out, (*rows, *out.shape)), bias
    context = context_of(seen, clusters)
    weights = jax.nn.log_softmax(mlp(decide["weights"], context))
    vectors = mlp(decide["vectors"], context).reshape(*rows, count, -1)
    return weights, out + vectors * cfg.hidden**-0.5, bias


def prior(params: Params, seen: View, clusters: jax.Array) -> jax.Array:
    """Mean and log standard deviation of p(z | A, U, G), (B, R, 2 e)."""
    return mlp(params["prior"], context_of(seen, clusters))


def posterior(
    params: Params, cfg: Config, seen: View, clusters: jax.Array, inside: jax.Array
) -> jax.Array:
    """Mean and log standard deviation of q(z | A, members, others, G), (B, R, 2 e).

    Args:
      params: from `init`.
      cfg: the configuration.
      seen: from `view`.
      clusters: G, (B, R, d).
      inside: (B, R, N) bool, the members of the anchor's cluster; others are ignored.
    """
    members = _pooled(params, "pool_in", cfg, seen.points, seen.open & inside)
    others = _pooled(params, "pool_out", cfg, seen.points, seen.open & ~inside)
    made = [seen.anchor, members, others, clusters]
    return mlp(params["posterior"], jnp.concatenate(made, -1))
