"""LRURec: linear recurrent units for sequential recommendation.

Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024. Written
to the released code, which differs from the paper in places: GELU only after the first
feed-forward map, bias and gain (gamma) in the input map of every step, post-norm blocks
with the residual as the skip matrix, an item bias with a column for padding.

Representation. Ids are 1..items; 0 is padding **and** the begin-of-sequence token: its
row of the table is an ordinary trained row, and a position that holds it keeps its own
input but passes no state on. So an empty history is encoded as one step on id 0.

    e_t  = LayerNorm(dropout(E[x_t]))
    u_t  = exp(gamma_log) * (W_in e_t + b_in)                      complex, 2D channels
    h_t  = lambda * keep_t * h_{t-1} + u_t
    lambda = exp(-exp(nu_log) + i exp(theta_log))
    z_t  = LayerNorm(dropout(Re(W_out h_t + b_out)) + e_t)
    e'_t = LayerNorm(dropout(W_2 dropout(GELU(W_1 z_t + b_1)) + b_2) + z_t)
    s_t  = E e'_t + b_item

Only Re(W_out h) is used, so both complex maps are single real products:
[Re W_in | Im W_in] (D, 4D), and [Re W_out ; -Im W_out] (4D, D). The imaginary part of
b_out has no effect on any output and is not a parameter here. Differences from the
released code: any mask works, not only left padding (see `jaxrec.core.scan`), and real
and imaginary parts are separate real parameters.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.core.dropout import dropout
from jaxrec.core.scan import linear_recurrence
from jaxrec.models._layers import layer_norm, linear, scores_of
from jaxrec.models._lru_core import (
    check_recurrence,
    draw_logs,
    forms,
    goes_on,
    poles,
)
from jaxrec.models._lru_response import impulse

__all__ = [
    "LRUConfig",
    "decayed",
    "encode",
    "head",
    "impulse",
    "init",
    "prefill",
    "run",
    "score",
    "start",
    "step",
]

Params = dict[str, Any]
State = tuple[tuple[jax.Array, jax.Array], ...]


@dataclasses.dataclass(frozen=True)
class LRUConfig:
    """Sizes and rates of LRURec.

    Attributes:
      items: catalogue size N; the table has N + 1 rows.
      dim: width D of embeddings and blocks; the recurrence has 2D complex channels.
      blocks: number of LRU + feed-forward blocks.
      dropout: rate after the embedding and inside the feed-forward part.
      dropout_lru: rate on the output of the recurrence.
      r_min: smallest |lambda| at initialisation.
      r_max: largest |lambda| at initialisation.
      compute_dtype: dtype of the matrix products and of stored activations, "float32"
        or "bfloat16". The recurrence, norms, parameters and losses stay float32.
      scan: form of the recurrence, see `jaxrec.core.scan.linear_recurrence`.
      table_multiple: rows of the item table are rounded up to a multiple of this, so
        that it can be split over devices; rows past the catalogue score -1e9.
    """

    items: int
    dim: int = 64
    blocks: int = 2
    dropout: float = 0.2
    dropout_lru: float = 0.2
    r_min: float = 0.8
    r_max: float = 0.99
    compute_dtype: str = "float32"
    scan: str = "auto"
    table_multiple: int = 1

    def __post_init__(self):
        if self.items < 1 or self.dim < 4 or self.dim % 4 or self.blocks < 1:
            raise ValueError(
                "LRUConfig: want items >= 1, dim a multiple of 4, blocks >= 1, got "
                f"items={self.items}, dim={self.dim}, blocks={self.blocks}"
            )
        check_recurrence(self)

    @property
    def channels(self) -> int:
        """Complex channels of each recurrence, 2D."""
        return 2 * self.dim

    @property
    def rows(self) -> int:
        """Rows of the item table: items + 1, rounded up."""
        return -(-(self.items + 1) // self.table_multiple) * self.table_multiple


def init(key: jax.Array, cfg: LRUConfig) -> Params:
    """Draws parameters: a plain nested dict of float32 arrays.

    Everything but norms and recurrence is normal with standard deviation 0.02 cut at
    two of them (also the biases and row 0 of the table, as released); lambda is uniform
    in area on the ring r_min < |lambda| < r_max.
    """
    d, h = cfg.dim, cfg.channels
    draws = 9  # of a block
    # Everything at once: every draw is code that takes long to compile.
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        key, jnp.arange(1, 3 + draws * cfg.blocks)
    )

    def normal(key, *shape):
        draw = jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32)
        return 0.02 * draw

    def norm():
        return {"scale": jnp.ones((d,)), "bias": jnp.zeros((d,))}

    def block(keys):
        # A draw begins with the numbers of every shorter one of the same key.
        drawn = jax.vmap(lambda key: normal(key, 4 * d * d))(keys[1:])

        def affine(place, rows, columns):
            return {
                "kernel": drawn[place].reshape(rows, columns),
                "bias": drawn[place + 1, :columns],
            }

        return {
            "lru": draw_logs(keys[0], h, cfg.r_min, cfg.r_max),
            "in": affine(0, d, 2 * h),
            "out": affine(2, 2 * h, d),
            "norm": norm(),
            "ffn_in": affine(4, d, 4 * d),
            "ffn_out": affine(6, 4 * d, d),
            "ffn_norm": norm(),
        }

    params = {
        "embedding": {"table": normal(keys[0], cfg.rows, d), "norm": norm()},
        "item_bias": normal(keys[1], cfg.rows),
    }
    blocks = jax.vmap(block)(keys[2:].reshape(cfg.blocks, draws))
    for i in range(cfg.blocks):
        params[f"block_{i}"] = jax.tree.map(lambda leaf, i=i: leaf[i], blocks)
    return params


def start(cfg: LRUConfig, batch: int) -> State:
    """The state without history: per block (re, im), each (batch, 2D)."""
    zero = jnp.zeros((batch, cfg.channels))
    return tuple((zero, zero) for _ in range(cfg.blocks))


def run(
    params: Params,
    cfg: LRUConfig,
    ids: jax.Array,
    *,
    segments: jax.Array | None = None,
    keys: jax.Array | None = None,
    state: State | None = None,
    before: tuple[jax.Array, jax.Array] | None = None,
    last_only: bool = False,
) -> tuple[State, jax.Array]:
    """Runs the network over ids (t, b), time-major, from a state to a state.

    Args:
      params: as from `init`.
      cfg: sizes.
      ids: (t, b) int32, 0 where there is no item.
      segments: (t, b) int32; where it changes between t-1 and t the state is reset
        (several users packed in one row). `None`: one sequence per row.
      keys: (b,) typed dropout keys, or `None` for inference.
      state: state before the first step, `None` for the empty history.
      before: (ids, segments) of the step before the first one, each (b,), when `state`
        continues a longer row; `None` if `state` itself says what came before.
      last_only: return the last output only. The last block then computes nothing at
        other positions but its recurrence, 3/8 of the products of two blocks less.

    Returns:
      `(state, hidden)`: the state after the last step and the outputs (t, b, d), or
      (1, b, d) with `last_only`.
    """
    keep = goes_on(ids, segments, before)
    state = start(cfg, ids.shape[1]) if state is None else state
    dtype = jnp.dtype(cfg.compute_dtype)
    x = jnp.asarray(params["embedding"]["table"])[ids]
    x = layer_norm(params["embedding"]["norm"], dropout(x, cfg.dropout, keys, 0))
    states = []
    for i in range(cfg.blocks):
        block = params[f"block_{i}"]
        salt = 1 + 3 * i
        h, last = _recurrence(block, cfg, x, keep, state[i], dtype)
        states.append(last)
        if last_only and i == cfg.blocks - 1:
            h, x = jnp.concatenate(last, -1)[None], x[-1:]
        y = linear(block["out"], h, dtype)
        x = layer_norm(block["norm"], dropout(y, cfg.dropout_lru, keys, salt) + x)
        y = jax.nn.gelu(linear(block["ffn_in"], x, dtype), approximate=False)
        y = linear(block["ffn_out"], dropout(y, cfg.dropout, keys, salt + 1), dtype)
        x = layer_norm(block["ffn_norm"], dropout(y, cfg.dropout, keys, salt + 2) + x)
    return tuple(states), x


encode, step, prefill = forms(run)


def score(params: Params, cfg: LRUConfig, hidden: jax.Array) -> jax.Array:
    """Scores (..., items + 1) of outputs (..., d): E h + b_item."""
    return scores_of(hidden, head(params, cfg), cfg.items + 1)


def head(params: Params, cfg: LRUConfig) -> tuple[jax.Array, jax.Array]:
    """The table (rows, d) and bias (rows,) of `score`, for losses and search."""
    bias = params["item_bias"]
    if cfg.rows != cfg.items + 1:
        bias = jnp.where(jnp.arange(cfg.rows) <= cfg.items, bias, -1e9)
    return params["embedding"]["table"], bias


def decayed(path: tuple[str, ...]) -> bool:
    """Whether weight decay applies to the parameter at `path`.

    As released: everything whose name has neither "bias" nor "norm" in it; the logs of
    the recurrence are decayed, which pulls |lambda| towards exp(-1).
    """
    return not any("bias" in part or "norm" in part for part in path)


def _recurrence(block, cfg, x, keep, state, dtype):
    logs = block["lru"]
    gain = jnp.tile(jnp.exp(logs["gamma_log"]), 2)
    folded = {
        "kernel": block["in"]["kernel"] * gain,
        "bias": block["in"]["bias"] * gain,
    }
    return linear_recurrence(
        poles(logs), linear(folded, x, dtype), keep, state, form=cfg.scan
    )
