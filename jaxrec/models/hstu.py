"""HSTU: pointwise aggregated attention with a gate, for next items.

Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers
for Generative Recommendations", ICML 2024. Written to the authors' research model.

Representation. Ids are 1..items, 0 is padding. Positions count the items of a sequence
from its first one in the window: 0, 1, ... Padding is 0 in the input and in the values
of every block, so that rows padded on either side and packed rows give the same
outputs. LN is LayerNorm without scale and shift, eps 1e-6.

    x    = dropout(E[id] sqrt(D) + P[position])
    u, v, q, k = silu(LN(x) W_uvqk)                     no bias; h heads, but for LN
    a_ij = silu(q_i . k_j + w[i - j] + w'[bucket(t_{i+1} - t_j)]) / N,  0 for j > i
    o    = LN(sum_j a_ij v_j)                           over all heads together
    x    = x + W_o dropout(u * o) + b_o                 from x and not from LN(x)
    s    = cos(x, E) / temperature

N is the length of the window, not the number of keys. There is no feed-forward part:
the gate u takes its place.

**Times.** w', by the bucket of the time that passed (`jaxrec.core.time_bias`), is there
with `times` alone, which needs data with time stamps; expect less than the published
figures without it, where time matters. t_{i+1} is the time of the prediction: in
training that of the target; behind the last event of a history, in evaluation as in
serving, the last time again.

Differences from the authors' model:

* Their evaluation, too, gives the model the time of the target, which is a fact of the
  event to be predicted.
* w has the N entries that a causal model reads; theirs has 2 N - 1.
* N and w are those of the window, theirs of the window and 11 places for output. N
  matters through the eps of LN only.
* An empty history, which theirs never sees, has the direction of the sum of all b_o.

Serving is that of `jaxrec.models.sar`: keys and values of the window are kept and one
is added per event. When the window is full, the oldest item leaves it and every other
one moves to another position; from then on each event encodes the last `length` items
anew, exactly as a whole history is encoded.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.core.time_bias import BUCKETS
from jaxrec.models._hstu_cache import extend, prefill, start, step, window
from jaxrec.models._hstu_network import attention, encode, unit
from jaxrec.models._layers import scores_of

__all__ = [
    "HSTUConfig",
    "POINTWISE",
    "attention",
    "decayed",
    "encode",
    "extend",
    "head",
    "init",
    "prefill",
    "score",
    "start",
    "step",
    "window",
]

Params = dict[str, Any]

POINTWISE = True  # The weights of `attention` are those of a sum and not of a mean.


@dataclasses.dataclass(frozen=True)
class HSTUConfig:
    """Sizes and rates of HSTU. The defaults are the authors' for MovieLens-1M.

    Attributes:
      items: catalogue size.
      length: most positions of a sequence, N.
      dim: width D.
      blocks: number of blocks.
      heads: number of heads h.
      dim_qk: width of queries and keys, per head.
      dim_v: width of values and gates, per head.
      temperature: what cosines are divided by.
      dropout: rate after the embedding.
      dropout_block: rate on the gated output of every block.
      times: whether the bias also goes by the time that passed.
      compute_dtype: dtype of the matrix products, "float32" or "bfloat16"; norms,
        sums, parameters and losses stay float32.
      table_multiple: rows of the item table are rounded up to a multiple of this; rows
        past the catalogue score -1e9.
    """

    items: int
    length: int = 200
    dim: int = 50
    blocks: int = 2
    heads: int = 1
    dim_qk: int = 50
    dim_v: int = 50
    temperature: float = 0.05
    dropout: float = 0.2
    dropout_block: float = 0.2
    times: bool = False
    compute_dtype: str = "float32"
    table_multiple: int = 1

    def __post_init__(self):
        for name in ("items", "length", "dim", "blocks", "heads", "dim_qk", "dim_v"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"HSTUConfig: want {name} >= 1, got {getattr(self, name)}"
                )
        if not self.temperature > 0:
            raise ValueError(
                f"HSTUConfig: want temperature > 0, got {self.temperature}"
            )
        if self.compute_dtype not in ("float32", "bfloat16"):
            raise ValueError(
                "HSTUConfig: compute_dtype must be float32 or bfloat16, got "
                f"{self.compute_dtype!r}"
            )

    @property
    def rows(self) -> int:
        """Rows of the item table: items + 1, rounded up."""
        return -(-(self.items + 1) // self.table_multiple) * self.table_multiple


def init(key: jax.Array, cfg: HSTUConfig) -> Params:
    """Draws parameters: a plain nested dict of float32 arrays.

    As the authors': normal with standard deviation 0.02 for tables (cut at two of
    them), W_uvqk, w and w'; positions D^-1/2 (cut); W_o Xavier-uniform and b_o uniform
    within (h dim_v)^-1/2.
    """
    keys = iter(jax.random.split(key, 2 + (4 + cfg.times) * cfg.blocks))
    d, v, qk = cfg.dim, cfg.heads * cfg.dim_v, cfg.heads * cfg.dim_qk

    def cut(std, *shape):
        draw = jax.random.truncated_normal(next(keys), -2.0, 2.0, shape, jnp.float32)
        return std * draw

    def normal(*shape):
        return 0.02 * jax.random.normal(next(keys), shape, jnp.float32)

    def uniform(bound, *shape):
        return jax.random.uniform(next(keys), shape, jnp.float32, -bound, bound)

    table = cut(0.02, cfg.items + 1, d)
    params = {
        "embedding": {
            "table": jnp.pad(table, ((0, cfg.rows - cfg.items - 1), (0, 0))),
            "position": cut(d**-0.5, cfg.length, d),
        }
    }
    for i in range(cfg.blocks):
        params[f"block_{i}"] = {
            "uvqk": {"kernel": normal(d, 2 * v + 2 * qk)},
            "relative_bias": normal(cfg.length),
            "out": {
                "kernel": uniform(math.sqrt(6 / (v + d)), v, d),
                "bias": uniform(v**-0.5, d),
            },
        }
    for i in range(cfg.blocks if cfg.times else 0):
        params[f"block_{i}"]["time_bias"] = normal(BUCKETS)
    return params


def score(params: Params, cfg: HSTUConfig, hidden: jax.Array) -> jax.Array:
    """Scores (..., items + 1) of outputs (..., D), between -+ 1 / temperature."""
    return scores_of(hidden, head(params, cfg), cfg.items + 1)


def head(params: Params, cfg: HSTUConfig) -> tuple[jax.Array, jax.Array]:
    """The table (rows, D) and bias (rows,) of `score`, for losses and search.

    Item vectors are of length 1 / temperature here; what the network reads is not.
    """
    table = unit(params["embedding"]["table"]) / cfg.temperature
    past = jnp.arange(cfg.rows) > cfg.items
    return table, jnp.where(past, -1e9, jnp.zeros((cfg.rows,), table.dtype))


def decayed(path: tuple[str, ...]) -> bool:
    """Whether weight decay applies to the parameter at `path`: not to biases."""
    return not any("bias" in part for part in path)
