"""BERT: post-norm blocks over learned positions, as a recommender.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", NAACL 2019, in the place that the AE / AR study gives it (Yue et al.,
"Your Causal Self-Attentive Recommender Hosts a Lonely Neighborhood", WSDM 2025):
without the transform of the pre-training head and without item bias.

    x   = dropout(LN(E[id] + T + P[position]))
    x   = LN(x + dropout(MHA(x)))
    x   = LN(x + dropout(W_2 gelu(W_1 x + b_1) + b_2))          gelu in its exact form
    s   = E x

With `causal` a position sees no later one and the model is trained on next items;
without it on masked ones. Ids are 1..items, 0 is padding, items + 1 the mask token.
Positions count the items of a sequence from its first one in the window. T is the one
token type. LN has epsilon 1e-12. `jaxrec.models.bert4rec` is the same but for the head,
the tanh form of gelu and three more rows of the table.

Serving encodes the window anew at every event: positions are learned, and a full window
moves every item to another one.
"""

import dataclasses

import jax

from jaxrec.models._bert_network import embedded, form
from jaxrec.models._encoder import (
    DropoutConfig,
    Params,
    attention_of,
    block,
    blocks,
    decayed,
    drawn,
    head,
    norm,
    score,
)
from jaxrec.models._windows import mask_token, serving, window

__all__ = [
    "BERTConfig",
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

_FORM = form(approximate=False)


@dataclasses.dataclass(frozen=True)
class BERTConfig(DropoutConfig):
    """Sizes and rates, see `jaxrec.models._encoder`; AE if nothing else is said."""

    causal: bool = False


def init(key: jax.Array, cfg: BERTConfig) -> Params:
    """Draws parameters: a plain nested dict of float32 arrays.

    Matrices and tables are normal with standard deviation 0.02 cut at two of them,
    biases 0, norms 1 and 0.
    """
    d = cfg.dim
    tables = {"token_type": (d,), "position": (cfg.length, d), "norm": norm(d)}
    layers = {f"block_{i}": block(cfg) for i in range(cfg.blocks)}
    return drawn(key, cfg, {"embedding": tables, **layers}, cut=True)


def encode(
    params: Params,
    cfg: BERTConfig,
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
    x = embedded(params, cfg, ids, segments, keys)
    layers = [params[f"block_{i}"] for i in range(cfg.blocks)]
    return blocks(
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


attention = attention_of(encode)
start, step, extend, prefill = serving(encode)
