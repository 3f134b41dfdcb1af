"""Transformer-XL: attention by content and by relative position, as a recommender.

Dai et al., "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context",
ACL 2019, in the place that the AE / AR study gives it (Yue et al., "Your Causal Self-
Attentive Recommender Hosts a Lonely Neighborhood", WSDM 2025).

    x    = dropout(E[id] sqrt(D))
    a_ij = ((q_i + u) . k_j + (q_i + v) . W_r R_(i-j)) / sqrt(e)
    x    = LN(x + dropout(W_o sum_j softmax(a)_ij v_j))
    x    = LN(x + dropout(W_2 relu(W_1 x + b_1) + b_2))
    s    = E x

R_d has the sines and the cosines of d 10000^(-2 k / D). u and v belong to all blocks;
the maps of the attention have no bias. There is no memory of earlier segments: a
history is one window, as in the study, which has no recurrence either.

Distances have a sign. The authors' model reads R_d for keys before the query only, by
shifting the rows of a matrix; if nothing but the mask is taken away, as in the study's
AE form, that shift gives keys **after** the query entries that belong to another query.
Here every pair has R of its own signed distance, so AE figures are not those of the
study's network. It takes no shift: with R_(i-j) written out by sines and cosines of i
and of j, (q_i + v) . W_r R_(i-j) = b_i . R_j, where b_i is W_r' (q_i + v) turned by i.
So the sum is one product of (q_i + u, b_i) with (k_j, R_j), of any slots and of packed
rows, at the price of width D for R_j in every head.

Other differences from the authors' model: dropout is where BERT has it, not also on R,
inside the feed-forward part and on the output; scores are tied, without bias and
without adaptive softmax. Without `causal` the model is trained on masked items. Ids are
1..items, 0 is padding, items + 1 the mask token.

Serving encodes the window anew at every event: what leaves a full window had a part in
what the other items were encoded as.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxrec.core.attention import segment_positions
from jaxrec.core.dropout import dropout_rows
from jaxrec.models._encoder import (
    DropoutConfig,
    Form,
    Params,
    affine,
    attention_of,
    block,
    blocks,
    decayed,
    drawn,
    feed_forward,
    head,
    score,
)
from jaxrec.models._layers import check_length, layer_norm, rows_at
from jaxrec.models._windows import mask_token, serving, window

__all__ = [
    "TransformerXLConfig",
    "attention",
    "decayed",
    "encode",
    "extend",
    "head",
    "init",
    "mask_token",
    "prefill",
    "score",
    "start",
    "step",
    "window",
]

_FORM = Form(norm=layer_norm, feed_forward=feed_forward(jax.nn.relu), norm_first=False)


@dataclasses.dataclass(frozen=True)
class TransformerXLConfig(DropoutConfig):
    """Sizes and rates, see `jaxrec.models._encoder`; AR if nothing else is said."""


def init(key: jax.Array, cfg: TransformerXLConfig) -> Params:
    """Draws parameters: a plain nested dict of float32 arrays.

    Matrices, the table, u and v are normal with standard deviation 0.02, the biases of
    the feed-forward part 0, norms 1 and 0.
    """
    layer = {**block(cfg, bias=False), "relative": affine(cfg.dim, cfg.dim, False)}
    shapes = {f"block_{i}": layer for i in range(cfg.blocks)}
    for name in ("content_bias", "position_bias"):
        shapes[name] = (cfg.heads, cfg.dim // cfg.heads)
    return drawn(key, cfg, shapes)


def encode(
    params: Params,
    cfg: TransformerXLConfig,
    ids: jax.Array,
    *,
    segments: jax.Array | None = None,
    keys: jax.Array | None = None,
    at: jax.Array | None = None,
    weights: list[jax.Array] | None = None,
) -> jax.Array:
    """Outputs (b, t, D) float32 for ids (b, t) int32, padded on any side or packed.

    Arguments and errors are those of `jaxrec.models.bert4rec.encode`.
    """
    check_length(ids, cfg.length)
    waves = _waves(segment_positions(ids, segments), cfg.dim)

    def positional(block, q, k, at):
        of_queries = tuple(rows_at(wave, at)[:, :, None] for wave in waves)
        content = q + params["content_bias"].astype(q.dtype)
        position = q + params["position_bias"].astype(q.dtype)
        kernel = block["relative"]["kernel"].astype(q.dtype)
        read = jnp.einsum(
            "bmhe,dhe->bmhd", position, kernel.reshape(-1, *q.shape[2:])
        ).astype(of_queries[0].dtype)
        relative = jnp.concatenate(waves, -1)[:, :, None]
        relative = jnp.broadcast_to(relative, (*k.shape[:3], cfg.dim))
        return (
            jnp.concatenate([content, _turned(read, *of_queries).astype(q.dtype)], -1),
            jnp.concatenate([k, relative.astype(k.dtype)], -1),
        )

    x = params["embedding"]["table"][ids] * math.sqrt(cfg.dim)
    x = dropout_rows(x, cfg.dropout, keys, 0)
    return blocks(
        _FORM,
        cfg,
        [params[f"block_{i}"] for i in range(cfg.blocks)],
        x,
        ids,
        segments,
        keys=keys,
        at=at,
        rates=cfg.rates,
        positional=positional,
        weights=weights,
    )


attention = attention_of(encode)
start, step, extend, prefill = serving(encode)


def _waves(positions, dim):
    """R (b, t, D) of positions (b, t): its sines and its cosines."""
    half = dim // 2
    angles = positions[..., None] * 10000.0 ** (-jnp.arange(half) / half)
    return jnp.sin(angles), jnp.cos(angles)


def _turned(a, sin, cos):
    """b with b . R_j = a . R_(i-j) for all j; `sin` and `cos` are those of i."""
    of_sin, of_cos = jnp.split(a, 2, -1)
    return jnp.concatenate(
        [of_cos * sin - of_sin * cos, of_sin * sin + of_cos * cos], -1
    )
