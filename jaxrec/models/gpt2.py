"""GPT-2: textbook pre-norm blocks over learned positions, as a recommender.

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, in the
place that the AE / AR study gives it (Yue et al., "Your Causal Self-Attentive
Recommender Hosts a Lonely Neighborhood", WSDM 2025).

    x   = dropout(E[id] + P[position])
    x   = x + dropout(MHA(LN(x)))
    x   = x + dropout(W_2 gelu(W_1 LN(x) + b_1) + b_2)          gelu in its tanh form
    s   = E LN(x)

The residual is the stream itself, where `jaxrec.models.sar` adds to the normalised one.
Without `causal` the mask of the future is left out and the model is trained on masked
items. Ids are 1..items, 0 is padding, items + 1 the mask token. Positions count the
items of a sequence from its first one in the window. The study has the exact form of
gelu; the tanh form is that of the authors' code.

Serving encodes the window anew at every event: positions are learned, and a full window
moves every item to another one.
"""

import dataclasses
import functools

import jax

from jaxrec.core.attention import segment_positions
from jaxrec.core.dropout import dropout_rows
from jaxrec.models._encoder import (
    DropoutConfig,
    Form,
    Params,
    attention_of,
    block,
    blocks,
    decayed,
    drawn,
    feed_forward,
    head,
    norm,
    score,
)
from jaxrec.models._layers import check_length, layer_norm
from jaxrec.models._windows import mask_token, serving, window

__all__ = [
    "GPT2Config",
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

_FORM = Form(
    norm=layer_norm,
    feed_forward=feed_forward(functools.partial(jax.nn.gelu, approximate=True)),
    norm_first=True,
)


@dataclasses.dataclass(frozen=True)
class GPT2Config(DropoutConfig):
    """Sizes and rates, see `jaxrec.models._encoder`; AR if nothing else is said."""


def init(key: jax.Array, cfg: GPT2Config) -> Params:
    """Draws parameters: a plain nested dict of float32 arrays.

    Matrices and tables are normal with standard deviation 0.02, those whose product is
    added to the stream with 0.02 / sqrt(2 blocks); biases are 0, norms 1 and 0.
    """
    tables = {"position": (cfg.length, cfg.dim)}
    layers = {f"block_{i}": block(cfg) for i in range(cfg.blocks)}
    params = drawn(key, cfg, {"embedding": tables, **layers, "norm": norm(cfg.dim)})
    for name in layers:
        for part in ("out", "ffn_out"):
            params[name][part]["kernel"] *= (2 * cfg.blocks) ** -0.5
    return params


def encode(
    params: Params,
    cfg: GPT2Config,
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
    tables = params["embedding"]
    x = tables["table"][ids] + tables["position"][segment_positions(ids, segments)]
    x = dropout_rows(x, cfg.dropout, keys, 0)
    layers = [params[f"block_{i}"] for i in range(cfg.blocks)]
    x = blocks(
        _FORM,
        cfg,
        layers,
        x,
        ids,
        segments,
        keys=keys,
        at=at,
        rates=cfg.rates,
        weights=weights,
    )
    return layer_norm(params["norm"], x)


attention = attention_of(encode)
start, step, extend, prefill = serving(encode)
