"""fMRLRec (see `jaxrec.models.fmrlrec`) with what no request changes done beforehand.

Folded parameters hold the item table instead of features and their projection, and per
block lambda instead of its logs and the input map with its gain multiplied in. The
state is one array (b, blocks, 2, D), real and imaginary parts, so that a call passes
one buffer.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxrec.core.nested import nested_linear
from jaxrec.core.scan import linear_recurrence
from jaxrec.models._fmrlrec_parameters import Params, gained
from jaxrec.models._layers import nested_layer_norm
from jaxrec.models._lru_core import goes_on, poles
from jaxrec.models.fmrlrec import FMRLRecConfig, after_recurrence, head

_AS_THEY_ARE = ("norm", "out", "ffn_norm", "ffn_in", "ffn_out")


def fold(params: Params, cfg: FMRLRecConfig) -> Params:
    """Parameters for the functions below, from those of `jaxrec.models.fmrlrec`."""
    table, _ = head(params, cfg)
    folded = {"items": table[: cfg.items + 1]}
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


def for_platform(cfg: FMRLRecConfig, platform: str) -> FMRLRecConfig:
    """The config for a program that is exported to a platform, wherever this runs.

    Args:
        cfg: Sizes.
        platform: "cpu", "cuda" or "tpu". A CPU gets the sequential loop, the others
            `lax.associative_scan`: plain XLA, no kernel of one device generation.
    """
    form = "sequential" if platform == "cpu" else "associative"
    return dataclasses.replace(cfg, scan=form)


def start(cfg: FMRLRecConfig, batch: int) -> jax.Array:
    """The state (batch, blocks, 2, D) of users without history."""
    return jnp.zeros((batch, cfg.blocks, 2, cfg.dim))


def step(
    folded: Params, cfg: FMRLRecConfig, state: jax.Array, ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One event, as `fmrlrec.step`: state and ids (b,) to state and outputs (b, d)."""
    return extend(folded, cfg, state, ids[:, None])


def extend(
    folded: Params, cfg: FMRLRecConfig, state: jax.Array, ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """State and last output after ids (b, t) that follow what led to `state`.

    A zero in `ids` is a beginning: what comes after it is encoded as without history.
    """
    state, hidden = _run(folded, cfg, state, ids, last_only=True)
    return state, hidden[-1]


def prefill(
    folded: Params, cfg: FMRLRecConfig, ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """State and last output after histories ids (b, t), as `fmrlrec.prefill`."""
    return extend(folded, cfg, start(cfg, ids.shape[0]), ids)


def encode(folded: Params, cfg: FMRLRecConfig, ids: jax.Array) -> jax.Array:
    """Outputs (b, t, d) at every position of ids (b, t), as `fmrlrec.encode`."""
    _, hidden = _run(folded, cfg, start(cfg, ids.shape[0]), ids, last_only=False)
    return hidden.swapaxes(0, 1)


def _run(folded, cfg, state, ids, *, last_only):
    dtype, ids = jnp.dtype(cfg.compute_dtype), ids.T
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
