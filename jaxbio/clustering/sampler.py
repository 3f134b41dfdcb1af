"""Samples of partitions: one loop over clusters for all samples of all sets at once."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxbio.clustering import model as process
from jaxbio.clustering.layers import Params
from jaxbio.clustering.model import Encoded, Model

Mode = Literal["posterior", "mode"]


class _State(NamedTuple):
    labels: jax.Array  # (B, S, N), -1 where not decided yet
    left: jax.Array  # (B, S, N)
    clusters: jax.Array  # (B, S, d)
    number: jax.Array  # of the step


def sample(
    params: Params,
    model: Model,
    encoded: Encoded,
    keys: jax.Array,
    mode: Mode = "posterior",
) -> jax.Array:
    """Partitions (B, S, N) int32 of B sets, -1 for padding.

    Cluster k is the k-th that was made. The anchor is always in its cluster, so there
    are at most N steps, as many as the largest number of clusters of any sample.

    Args:
      params: of the model.
      model: the model.
      encoded: B sets of N points.
      keys: (B, S) typed keys; a sample depends on its own only.
      mode: "posterior" draws z and every decision. "mode" draws the anchors only, and
        takes the most probable decisions: of a mixture those of the component that
        is most probable with them, else those given the mean of z.
    """
    points = encoded.valid.shape[-1]
    valid = jnp.broadcast_to(encoded.valid[:, None], (*keys.shape, points))
    first = _State(
        labels=jnp.full(valid.shape, -1, jnp.int32),
        left=valid,
        clusters=jnp.zeros((*valid.shape[:2], model.cfg.dim)),
        number=jnp.zeros((), jnp.int32),
    )

    def body(state):
        here = each(lambda key: jax.random.fold_in(key, state.number), keys)
        inside = _cluster(params, model, encoded, here, state, mode)
        codes = process.cluster_codes(params, model, encoded, inside)
        return _State(
            labels=jnp.where(inside, state.number, state.labels),
            left=state.left & ~inside,
            clusters=state.clusters + codes,
            number=state.number + 1,
        )

    return jax.lax.while_loop(lambda state: state.left.any(), body, first).labels


def each(function: Callable[[jax.Array], Any], keys: jax.Array) -> Any:
    """`function` of every key of (B, S), with results stacked to (B, S, ...)."""
    return jax.vmap(jax.vmap(function))(keys)


def split(keys: jax.Array, count: int) -> jax.Array:
    """Keys (B, S) to `count` for different uses, (count, B, S)."""
    return jnp.moveaxis(each(lambda key: jax.random.split(key, count), keys), 2, 0)


def _cluster(params, model, encoded, keys, state, mode):
    """The next cluster of every sample, (B, S, N) bool."""
    to_anchor, to_latent, to_decide = split(keys, 3)
    anchor = draw_member(to_anchor, state.left)
    seen = process.view(params, model, encoded, state.left, anchor)
    logits = _logits(params, model, seen, state.clusters, to_latent, mode)
    if mode == "mode":
        chosen = logits > 0
    else:
        dice = each(lambda key: jax.random.logistic(key, logits.shape[2:]), to_decide)
        chosen = logits > dice
    is_anchor = jnp.arange(logits.shape[-1]) == anchor[..., None]
    return (chosen & seen.open) | (is_anchor & state.left)


def draw_member(keys: jax.Array, members: jax.Array) -> jax.Array:
    """A uniformly drawn member of each row (B, R, N) bool, (B, R) int32; 0 of none."""
    lots = each(lambda key: jax.random.uniform(key, members.shape[2:]), keys)
    return jnp.where(members, lots, -1).argmax(-1).astype(jnp.int32)


def _logits(params, model, seen, clusters, keys, mode):
    """Logits (B, S, N) given a z that is drawn or most probable."""
    cfg = model.cfg
    if cfg.latent == "gaussian":
        z, log_scale = jnp.split(process.prior(params, seen, clusters), 2, -1)
        if mode != "mode":
            noise = each(lambda key: jax.random.normal(key, z.shape[2:]), keys)
            z = z + jnp.exp(log_scale) * noise
        top = process.hidden(params, seen, clusters, z[None])[0]
        return (top @ params["decide"]["out"]["kernel"])[..., 0]
    top = process.hidden(params, seen, clusters)
    weights, vectors, bias = process.components(params, cfg, seen, clusters)
    if mode == "mode":
        logits = jnp.einsum("bsnh,bsmh->bsmn", top, vectors) + bias[:, None]
        best = jnp.where(seen.open[:, :, None], jax.nn.log_sigmoid(abs(logits)), 0)
        which = (weights + best.sum(-1)).argmax(-1)
        return jnp.take_along_axis(logits, which[..., None, None], 2)[:, :, 0]
    lots = each(lambda key: jax.random.gumbel(key, weights.shape[2:]), keys)
    which = (weights + lots).argmax(-1)
    vector = jnp.take_along_axis(vectors, which[..., None, None], 2)[:, :, 0]
    return jnp.einsum("bsnh,bsh->bsn", top, vector) + bias[which][..., None]
