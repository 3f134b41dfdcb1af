"""SAR: the self-attentive encoder of the AE / AR study; with `causal` it is SASRec.

Yue et al., "Your Causal Self-Attentive Recommender Hosts a Lonely Neighborhood", WSDM
2025 (design space), written to the released code. SASRec: Kang and McAuley, "Self-
Attentive Sequential Recommendation", ICDM 2018; SSE-PT: Wu et al., RecSys 2020.

Representation. Ids are 1..items, 0 is padding, items + 1 is the mask token: the table
has items + 2 rows. Positions count the items of a sequence from its first one in the
window: 0, 1, ... Padding has no position and nobody looks at it, so that left padded
rows, right padded rows (the released form) and packed rows give the same outputs.

    x    = dropout(E[id] sqrt(D) + P[position])
    q    = LN(x),  x = q + MHA(q);  r = LN(x),  x = r + FFN(r)      `norm_first`
    x    = LN(x + MHA(x)),  x = LN(x + FFN(x))                      otherwise
    FFN  = dropout(W_2 relu(dropout(W_1 x + b_1)) + b_2),  MHA with dropout of the
           probabilities and none after its output map
    s    = E LN(x)

In the pre-norm block the residual starts from the **normalised** stream, the habit of
SASRec, and not from the stream itself as in a textbook; query, key and value are all
normalised. A head may be local: it sees keys at most `windows[head]` positions away, or
is one of the other kinds of LOCKER, see `jaxrec.models._sar_local`.
With `users` the table has D / 2 columns, the other half of x is that of the user's
vector (not scaled), and a score also has the product of that half with the vector. That
product is the same for every item: it moves no rank and no softmax, only a loss that
looks at scores one by one. User 0 is the unknown one, whose vector the released code
never trains; here `batch.unknown_user` does, see `jaxrec.data.shared_embeddings`.

Differences from the released code: the unused item bias is left out; an empty history
is id 0 at position 0, looking at itself (the released code averages over padding).

Serving. A causal model keeps keys and values of the window and adds one per event. When
the window is full, the oldest item leaves it and **every other one moves to another
position**, so nothing that was kept holds any longer: from then on each event encodes
the last `length` items anew, exactly as a whole history is encoded. A model that is not
causal keeps the last length - 1 items, appends the mask token and encodes.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.models._layers import scores_of
from jaxrec.models._sar_cache import extend, prefill, start, step
from jaxrec.models._sar_local import check_kind, has_positions, init_local
from jaxrec.models._sar_network import attention, encode
from jaxrec.models._windows import mask_token, window

__all__ = [
    "SARConfig",
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

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class SARConfig:
    """Sizes, rates and choices of a SAR encoder.

    Attributes:
      items: catalogue size N.
      length: most positions of a sequence, L.
      dim: width D.
      blocks: number of blocks.
      heads: number of heads, which divides `dim`.
      causal: AR, no position sees a later one; or AE, all see all.
      norm_first: pre-norm as above, or post-norm.
      windows: per head the largest distance it sees, 0 for a global one; empty for
        global heads only. The study's local attention is (0, 2) with two heads.
      local: kind of the local heads, "window", "conv", "rnn", "initial" or "adapt".
      users: number of users of SSE-PT, 0 for a model without user vectors; in the
        config of a run it is true or false, and the number that of the data.
      dropout: rate after the embedding and inside the feed-forward part.
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
    heads: int = 1
    causal: bool = True
    norm_first: bool = True
    windows: tuple[int, ...] = ()
    local: str = "window"
    users: int = 0
    dropout: float = 0.2
    dropout_attention: float = 0.2
    compute_dtype: str = "float32"
    table_multiple: int = 1

    def __post_init__(self):
        smallest = 1 if self.causal else 2  # a mask token and something to see
        if self.items < 1 or self.blocks < 1 or self.length < smallest:
            raise ValueError(
                f"SARConfig: want items >= 1, blocks >= 1, length >= {smallest}, got "
                f"items={self.items}, blocks={self.blocks}, length={self.length}"
            )
        if self.dim < 4 or self.dim % 4 or self.heads < 1 or self.dim % self.heads:
            raise ValueError(
                "SARConfig: want dim a multiple of 4 and of heads, got "
                f"dim={self.dim}, heads={self.heads}"
            )
        if self.windows and (len(self.windows) != self.heads or min(self.windows) < 0):
            raise ValueError(
                f"SARConfig: want windows empty or one of 0 or more for each of "
                f"{self.heads} heads, got {self.windows}"
            )
        check_kind(self)
        if self.users < 0:
            raise ValueError(f"SARConfig: want users >= 0, got {self.users}")
        if self.compute_dtype not in ("float32", "bfloat16"):
            raise ValueError(
                "SARConfig: compute_dtype must be float32 or bfloat16, got "
                f"{self.compute_dtype!r}"
            )

    @property
    def rows(self) -> int:
        """Rows of the item table: items + 2, rounded up."""
        return -(-(self.items + 2) // self.table_multiple) * self.table_multiple

    @property
    def columns(self) -> int:
        """Columns of the item table: D, or D / 2 beside user vectors."""
        return self.dim // 2 if self.users else self.dim


def init(key: jax.Array, cfg: SARConfig) -> Params:
    """Draws parameters: a plain nested dict of float32 arrays.

    As released: Xavier-uniform matrices and tables (row 0 too), biases uniform within
    1 / sqrt(fan in), norms 1 and 0.
    """
    d = cfg.dim
    keys = iter(jax.random.split(key, 3 + 12 * cfg.blocks))

    def uniform(bound, *shape):
        return jax.random.uniform(next(keys), shape, jnp.float32, -bound, bound)

    def xavier(rows, columns):
        return uniform(math.sqrt(6 / (rows + columns)), rows, columns)

    def norm():
        return {"scale": jnp.ones((d,)), "bias": jnp.zeros((d,))}

    def affine(into, out):
        return {
            "kernel": xavier(into, out),
            "bias": uniform(1 / math.sqrt(into), out),
        }

    table = xavier(cfg.items + 2, cfg.columns)
    embedding = {
        "table": jnp.pad(table, ((0, cfg.rows - cfg.items - 2), (0, 0))),
    }
    if has_positions(cfg):
        embedding["position"] = xavier(cfg.length, d)
    if cfg.users:
        embedding["user"] = xavier(cfg.users + 1, cfg.columns)
    params = {"embedding": embedding, "norm": norm()}
    for i in range(cfg.blocks):
        params[f"block_{i}"] = {
            **{name: affine(d, d) for name in ("query", "key", "value")},
            "out": affine(d, d),
            "norm": norm(),
            "ffn_in": affine(d, 4 * d),
            "ffn_out": affine(4 * d, d),
            "ffn_norm": norm(),
        }
        if cfg.local != "window":
            own = jax.random.fold_in(key, 3 + 12 * cfg.blocks + i)
            params[f"block_{i}"]["local"] = init_local(own, cfg)
    return params


def score(params: Params, cfg: SARConfig, hidden: jax.Array) -> jax.Array:
    """Scores (..., items + 1) of outputs (..., w); the mask token has none."""
    return scores_of(hidden, head(params, cfg), cfg.items + 1)


def head(params: Params, cfg: SARConfig) -> tuple[jax.Array, jax.Array]:
    """The table (rows, w) and bias (rows,) of `score`, for losses and search.

    The softmax of the study runs over all items + 2 columns. With user vectors a column
    of ones adds the user's own product, the last element of each output.
    """
    table = params["embedding"]["table"]
    if cfg.users:
        table = jnp.pad(table, ((0, 0), (0, 1)), constant_values=1)
    past = jnp.arange(cfg.rows) > cfg.items + 1
    return table, jnp.where(past, -1e9, jnp.zeros((cfg.rows,), table.dtype))


def decayed(path: tuple[str, ...]) -> bool:
    """Whether weight decay applies to the parameter at `path`: not to biases, norms."""
    return not any("bias" in part or "norm" in part for part in path)
