"""BERT4Rec: a bidirectional encoder of BERT's form, trained on masked items.

Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder
Representations from Transformer", CIKM 2019, in the form of the AE / AR study (Yue et
al., "Your Causal Self-Attentive Recommender Hosts a Lonely Neighborhood", WSDM 2025),
written to its released code. With `causal` the same encoder is trained on next items.

Representation. Ids are 1..items, 0 is padding, items + 1 is the mask token; the
released vocabulary has three more rows, which are never a target. Positions count the
items of a sequence from its first one in the window, as in `jaxrec.models.sar`.

    x   = dropout(LN(E[id] + T + P[position]))
    x   = LN(x + dropout(MHA(x)))
    x   = LN(x + dropout(W_2 gelu(W_1 x + b_1) + b_2))          gelu by its tanh form
    s   = E LN(gelu(W x + b)) + b_item

T is the one row of the released token types that is ever used. LN has epsilon 1e-12.
Differences from the released code: rows behind the mask token are no candidates in
serving and evaluation, and linear biases begin at 0, not as torch draws them.

Serving keeps the last ids and encodes them anew at every event: what an item is encoded
as depends on those that come later, so nothing can be kept.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxrec.models._bert_network import EPSILON, embedded, form
from jaxrec.models._encoder import (
    Params,
    attention_of,
    blocks,
    check_sizes,
    decayed,
)
from jaxrec.models._layers import layer_norm, linear, scores_of
from jaxrec.models._windows import mask_token, serving, window

__all__ = [
    "BERT4RecConfig",
    "Params",
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

_FORM = form(approximate=True)


@dataclasses.dataclass(frozen=True)
class BERT4RecConfig:
    """Sizes and rates of BERT4Rec.

    Attributes:
      items: catalogue size N.
      length: most positions of a sequence, the mask token counted.
      dim: width D.
      blocks: number of blocks.
      heads: number of heads, which divides `dim`.
      causal: AR, no position sees a later one; or AE, all see all.
      dropout: rate after the embedding and after both parts of a block.
      dropout_attention: rate on the attention probabilities.
      compute_dtype: dtype of the matrix products, "float32" or "bfloat16"; softmax,
        norms, parameters and losses stay float32.
      table_multiple: rows of the item table are rounded up to a multiple of this; rows
        past the vocabulary score -1e9.
    """

    items: int
    length: int = 50
    dim: int = 64
    blocks: int = 2
    heads: int = 2
    causal: bool = False
    dropout: float = 0.2
    dropout_attention: float = 0.2
    compute_dtype: str = "float32"
    table_multiple: int = 1

    def __post_init__(self):
        check_sizes(self)

    @property
    def vocabulary(self) -> int:
        """Ids with a row: padding, items, the mask token and three more."""
        return self.items + 5

    @property
    def rows(self) -> int:
        """Rows of the item table: the vocabulary, rounded up."""
        return -(-self.vocabulary // self.table_multiple) * self.table_multiple


def init(key: jax.Array, cfg: BERT4RecConfig) -> Params:
    """Draws parameters: a plain nested dict of float32 arrays.

    Matrices and tables are normal with standard deviation 0.02 cut at two of them,
    biases 0, norms 1 and 0.
    """
    d = cfg.dim
    keys = iter(jax.random.split(key, 4 + 6 * cfg.blocks))

    def normal(*shape):
        draw = jax.random.truncated_normal(next(keys), -2.0, 2.0, shape, jnp.float32)
        return 0.02 * draw

    def norm():
        return {"scale": jnp.ones((d,)), "bias": jnp.zeros((d,))}

    def affine(into, out):
        return {"kernel": normal(into, out), "bias": jnp.zeros((out,))}

    params = {
        "embedding": {
            "table": normal(cfg.rows, d),
            "token_type": normal(d),
            "position": normal(cfg.length, d),
            "norm": norm(),
        },
        "output": {**affine(d, d), "norm": norm()},
        "item_bias": jnp.zeros((cfg.rows,)),
    }
    for i in range(cfg.blocks):
        params[f"block_{i}"] = {
            **{name: affine(d, d) for name in ("query", "key", "value", "out")},
            "norm": norm(),
            "ffn_in": affine(d, 4 * d),
            "ffn_out": affine(4 * d, d),
            "ffn_norm": norm(),
        }
    return params


def encode(
    params: Params,
    cfg: BERT4RecConfig,
    ids: jax.Array,
    *,
    segments: jax.Array | None = None,
    keys: jax.Array | None = None,
    at: jax.Array | None = None,
    weights: list[jax.Array] | None = None,
) -> jax.Array:
    """Outputs (b, t, d) float32 for ids (b, t) int32, padded on any side or packed.

    Args:
      params: as from `init`.
      cfg: sizes.
      ids: (b, t) int32, 0 for padding, items + 1 for the mask token; t is at most
        `cfg.length`.
      segments: (b, t) int32, different for neighbouring sequences of one row.
      keys: (b,) typed dropout keys, or `None` for inference.
      at: (b, m) int32, the slots whose outputs are wanted, (b, m, d); the last block
        then computes nothing else but keys and values. `None` for all.
      weights: see `jaxrec.models._layers.self_attention`.

    Raises:
      ValueError: rows longer than the positions.
    """
    layers = [params[f"block_{i}"] for i in range(cfg.blocks)]
    x = blocks(
        _FORM,
        cfg,
        layers,
        embedded(params, cfg, ids, segments, keys),
        ids,
        segments,
        keys=keys,
        at=at,
        rates=(cfg.dropout, cfg.dropout_attention),
        weights=weights,
    )
    dtype = jnp.dtype(cfg.compute_dtype)
    y = jax.nn.gelu(linear(params["output"], x, dtype), approximate=True)
    return layer_norm(params["output"]["norm"], y, EPSILON)


def score(params: Params, cfg: BERT4RecConfig, hidden: jax.Array) -> jax.Array:
    """Scores (..., items + 1) of outputs (..., d): E h + b_item."""
    return scores_of(hidden, head(params, cfg), cfg.items + 1)


def head(params: Params, cfg: BERT4RecConfig) -> tuple[jax.Array, jax.Array]:
    """The table (rows, d) and bias (rows,) of `score`, for losses and search.

    The softmax of the study runs over the whole vocabulary, items + 5 columns.
    """
    past = jnp.arange(cfg.rows) >= cfg.vocabulary
    return params["embedding"]["table"], jnp.where(past, -1e9, params["item_bias"])


attention = attention_of(encode)
start, step, extend, prefill = serving(encode)
