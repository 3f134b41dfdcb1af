"""fMRLRec (see `jaxrec.models.fmrlrec`) with what no request changes done beforehand.

Folded parameters hold the item table instead of the features, and per block lambda
instead of its logs and the input map with its gain multiplied in. The projection of the
features is kept for items that are new. The state is one array (b, blocks, 2, D), real
and imaginary parts, so that a call passes one buffer.
"""

import jax
import jax.numpy as jnp

from jaxrec.core.nested import nested_linear
from jaxrec.core.scan import linear_recurrence
from jaxrec.models._fmrlrec_parameters import Params, gained, project
from jaxrec.models._layers import nested_layer_norm
from jaxrec.models._lru_core import folded_forms, for_platform, goes_on, poles
from jaxrec.models.fmrlrec import FMRLRecConfig, after_recurrence, head

__all__ = [
    "encode",
    "extend",
    "fold",
    "for_platform",
    "prefill",
    "start",
    "step",
    "vectors",
]

_AS_THEY_ARE = ("norm", "out", "ffn_norm", "ffn_in", "ffn_out")


def fold(params: Params, cfg: FMRLRecConfig) -> Params:
    """Parameters for the functions below, from those of `jaxrec.models.fmrlrec`."""
    table, _ = head(params, cfg)
    folded = {"items": table[: cfg.items + 1]}
    if cfg.features:
        names = ("kernel", "bias")
        folded["projection"] = {name: params["embedding"][name] for name in names}
    for i in range(cfg.blocks):
        block = params[f"block_{i}"]
        re, im = poles(block["lru"])
        folded[f"block_{i}"] = {
            "lambda_re": re,
            "lambda_im": im,
            "in": gained(block, cfg.sizes),
            **{name: block[name] for name in _AS_THEY_ARE},
        }
    return folded


def vectors(folded: Params, cfg: FMRLRecConfig, features: jax.Array) -> jax.Array:
    """Item vectors (n, D) of the features (n, sum of dims) of items that are new."""
    return project(folded["projection"], cfg, features)


def start(cfg: FMRLRecConfig, batch: int) -> jax.Array:
    """The state (batch, blocks, 2, D) of users without history."""
    return jnp.zeros((batch, cfg.blocks, 2, cfg.dim))


def _run(folded, cfg, state, ids, *, last_only):
    dtype = jnp.dtype(cfg.compute_dtype)
    keep, x, states = goes_on(ids), folded["items"][ids], []
    for i in range(cfg.blocks):
        block = folded[f"block_{i}"]
        normed = nested_layer_norm(block["norm"], x, cfg.sizes)
        u = nested_linear(block["in"], normed, cfg.sizes, dtype)
        lam = block["lambda_re"], block["lambda_im"]
        before = state[:, i, 0], state[:, i, 1]
        h, last = linear_recurrence(lam, u, keep, before, form=cfg.scan)
        states.append(jnp.stack(last, 1))
        if last_only and i == cfg.blocks - 1:  # as in `fmrlrec.run`
            h, x = jnp.concatenate(last, -1)[None], x[-1:]
        x = after_recurrence(block, cfg, x, h)
    return jnp.stack(states, 1), x


encode, extend, prefill = folded_forms(start, _run)


def step(
    folded: Params, cfg: FMRLRecConfig, state: jax.Array, ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One event, as `fmrlrec.step`: state and ids (b,) to state and outputs (b, d)."""
    return extend(folded, cfg, state, ids[:, None])
