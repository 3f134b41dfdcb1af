"""ALBERT: BERT with one block for all layers and a narrower embedding.

Lan et al., "ALBERT: A Lite BERT for Self-supervised Learning of Language
Representations", ICLR 2020, in the place that the AE / AR study gives it (Yue et al.,
WSDM 2025), see `jaxrec.models.bert`.

    x   = W dropout(LN(E[id] + T + P[position])) + b            from width w to D
    x   = LN(x + dropout(MHA(x)))                               `blocks` times, with the
    x   = LN(x + dropout(W_2 gelu(W_1 x + b_1) + b_2))          same parameters
    s   = E x,  or  E (W' x + b')  where w is not D

Tables have the width w, `dim_embedding`. In the study w is D, and the map W is there
all the same. The paper's way back to w also has a gelu and a norm, which belong to its
pre-training head. Gelu is in its exact form, LN has epsilon 1e-12.

Serving encodes the window anew at every event, as for `jaxrec.models.bert`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxrec.models._bert_network import embedded, form
from jaxrec.models._encoder import (
    DropoutConfig,
    Params,
    affine,
    attention_of,
    block,
    blocks,
    decayed,
    drawn,
    head,
    norm,
    score,
)
from jaxrec.models._layers import linear
from jaxrec.models._windows import mask_token, serving, window

__all__ = [
    "ALBERTConfig",
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
class ALBERTConfig(DropoutConfig):
    """Sizes and rates, see `jaxrec.models._encoder`; AE if nothing else is said.

    Attributes:
      dim_embedding: width w of the tables, 0 for D.
    """

    causal: bool = False
    dim_embedding: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.dim_embedding < 0:
            raise ValueError(
                f"ALBERTConfig: want dim_embedding >= 0, got {self.dim_embedding}"
            )

    @property
    def columns(self) -> int:
        """Columns of the item table, w."""
        return self.dim_embedding or self.dim


def init(key: jax.Array, cfg: ALBERTConfig) -> Params:
    """Draws parameters: a plain nested dict of float32 arrays.

    Matrices and tables are normal with standard deviation 0.02 cut at two of them,
    biases 0, norms 1 and 0.
    """
    w = cfg.columns
    tables = {"token_type": (w,), "position": (cfg.length, w), "norm": norm(w)}
    shapes = {"embedding": tables, "into": affine(w, cfg.dim), "block": block(cfg)}
    if w != cfg.dim:
        shapes["back"] = affine(cfg.dim, w)
    return drawn(key, cfg, shapes, cut=True)


def encode(
    params: Params,
    cfg: ALBERTConfig,
    ids: jax.Array,
    *,
    segments: jax.Array | None = None,
    keys: jax.Array | None = None,
    at: jax.Array | None = None,
    weights: list[jax.Array] | None = None,
) -> jax.Array:
    """Outputs (b, t, w) float32 for ids (b, t) int32, padded on any side or packed.

    Arguments and errors are those of `jaxrec.models.bert4rec.encode`.
    """
    dtype = jnp.dtype(cfg.compute_dtype)
    x = embedded(params, cfg, ids, segments, keys)
    x = linear(params["into"], x, dtype).astype(x.dtype)
    layers = [params["block"]] * cfg.blocks
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
    if cfg.columns == cfg.dim:
        return x
    return linear(params["back"], x, dtype).astype(x.dtype)


attention = attention_of(encode)
start, step, extend, prefill = serving(encode)
