"""What encoders of the form of a language model share: sizes, blocks and tied scores.

A file of an architecture has its embedding, its `Form` of a block and what it does with
positions. The loop over the blocks, masks, dropout, the choice of slots and the head
are here, serving is in `jaxrec.models._windows`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.core.dropout import dropout_rows
from jaxrec.models._layers import (
    linear,
    rows_at,
    scores_of,
    self_attention,
    sequence_mask,
)

Params = dict[str, Any]
Shapes = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder.

    Attributes:
      items: catalogue size N. Ids are 1..N, 0 is padding, N + 1 the mask token.
      length: most positions of a sequence, the mask token counted.
      dim: width D.
      blocks: number of blocks.
      heads: number of heads, which divides `dim`.
      inner_ratio: width of the feed-forward part over D.
      causal: AR, no position sees a later one; or AE, all see all.
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
    inner_ratio: int = 4
    causal: bool = True
    compute_dtype: str = "float32"
    table_multiple: int = 1

    def __post_init__(self):
        check_sizes(self)
        if self.inner_ratio < 1:
            raise ValueError(
                f"{type(self).__name__}: want inner_ratio >= 1, got {self.inner_ratio}"
            )

    @property
    def columns(self) -> int:
        """Columns of the item table."""
        return self.dim

    @property
    def rows(self) -> int:
        """Rows of the item table: items + 2, rounded up."""
        return -(-(self.items + 2) // self.table_multiple) * self.table_multiple


@dataclasses.dataclass(frozen=True)
class DropoutConfig(EncoderConfig):
    """Sizes and rates of an encoder.

    Attributes:
      dropout: rate after the embedding and after both parts of a block.
      dropout_attention: rate on the attention probabilities.
    """

    dropout: float = 0.2
    dropout_attention: float = 0.2

    @property
    def rates(self) -> tuple[float, float]:
        """Both, as `blocks` takes them."""
        return self.dropout, self.dropout_attention


def check_sizes(cfg: Any) -> None:
    """Raises ValueError for sizes that no encoder can have."""
    name = type(cfg).__name__
    smallest = 1 if cfg.causal else 2  # a mask token and something to see
    if cfg.items < 1 or cfg.blocks < 1 or cfg.length < smallest:
        raise ValueError(
            f"{name}: want items >= 1, blocks >= 1, length >= {smallest}, got "
            f"items={cfg.items}, blocks={cfg.blocks}, length={cfg.length}"
        )
    if cfg.dim < 4 or cfg.dim % 4 or cfg.heads < 1 or cfg.dim % cfg.heads:
        raise ValueError(
            f"{name}: want dim a multiple of 4 and of heads, got "
            f"dim={cfg.dim}, heads={cfg.heads}"
        )
    if cfg.compute_dtype not in ("float32", "bfloat16"):
        raise ValueError(
            f"{name}: compute_dtype must be float32 or bfloat16, got "
            f"{cfg.compute_dtype!r}"
        )


class Form(NamedTuple):
    """What a block of an architecture is made of.

    Attributes:
      norm: (parameters, x) to x normalised, float32.
      feed_forward: (block, x, dtype) to the output of the feed-forward part.
      norm_first: x + part(norm(x)), or norm(x + part(x)).
    """

    norm: Callable[[Params, jax.Array], jax.Array]
    feed_forward: Callable[[Params, jax.Array, jnp.dtype], jax.Array]
    norm_first: bool


def feed_forward(activation: Callable[[jax.Array], jax.Array]) -> Callable:
    """The feed-forward part W_2 activation(W_1 x + b_1) + b_2 of a `Form`."""

    def apply(block, x, dtype):
        y = activation(linear(block["ffn_in"], x, dtype))
        return linear(block["ffn_out"], y, dtype)

    return apply


def blocks(
    form: Form,
    cfg: Any,
    layers: Sequence[Params],
    x: jax.Array,
    ids: jax.Array,
    segments: jax.Array | None,
    *,
    keys: jax.Array | None = None,
    at: jax.Array | None = None,
    rates: tuple[float, float] = (0.0, 0.0),
    positional: Callable | None = None,
    weights: list[jax.Array] | None = None,
) -> jax.Array:
    """Blocks of attention and feed-forward part, (b, t or m, d) float32.

    Args:
      form: of each block.
      cfg: has heads, causal and compute_dtype.
      layers: parameters of each block: the maps "query", "key", "value" and "out", what
        the feed-forward part reads, "norm" and "ffn_norm".
      x: (b, t, d), the embedded sequences; dropout at salt 0 is theirs.
      ids: (b, t) int32, 0 for padding.
      segments: (b, t) int32 of packed rows, or `None`.
      keys: (b,) typed dropout keys, or `None` for inference.
      at: (b, m) int32, the slots wanted: the last block computes nothing else but keys
        and values. `None` for all.
      rates: dropout of each part's output, and of the attention probabilities.
      positional: see `jaxrec.models._layers.self_attention`.
      weights: as `positional`.
    """
    dtype, (rate, rate_attention) = jnp.dtype(cfg.compute_dtype), rates
    for i, block in enumerate(layers):
        salt = 1 + 3 * i
        wanted = at if i == len(layers) - 1 else None
        y, _ = self_attention(
            block,
            form.norm(block["norm"], x) if form.norm_first else x,
            sequence_mask(ids, segments, wanted, cfg.causal),
            cfg.heads,
            dtype,
            at=wanted,
            rate=rate_attention,
            keys=keys,
            salt=salt,
            positional=positional,
            weights=weights,
        )
        x = rows_at(x, wanted) + dropout_rows(y, rate, keys, salt + 1)
        if not form.norm_first:
            x = form.norm(block["norm"], x)
        y = form.norm(block["ffn_norm"], x) if form.norm_first else x
        y = form.feed_forward(block, y, dtype)
        x = x + dropout_rows(y, rate, keys, salt + 2)
        if not form.norm_first:
            x = form.norm(block["ffn_norm"], x)
    return x


def attention_of(encode: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The function `attention` of a model, from its `encode` that takes `weights`."""

    def attention(
        params: Params,
        cfg: Any,
        ids: jax.Array,
        *,
        segments: jax.Array | None = None,
    ) -> jax.Array:
        """Attention weights (blocks, b, h, t, t) float32 of `encode`, for analyses.

        See `jaxrec.core.attention.attention_weights`. Arguments and errors are those of
        `encode`; nothing is dropped.
        """
        weights: list[jax.Array] = []
        encode(params, cfg, ids, segments=segments, weights=weights)
        return jnp.stack(weights)

    return attention


def affine(into: int, out: int, bias: bool = True) -> Shapes:
    """Shapes of a linear map."""
    return {"kernel": (into, out)} | ({"bias": (out,)} if bias else {})


def norm(width: int) -> Shapes:
    """Shapes of a LayerNorm."""
    return {"scale": (width,), "bias": (width,)}


def block(cfg: EncoderConfig, bias: bool = True) -> Shapes:
    """Shapes of a block with LayerNorm and a feed-forward part of two maps."""
    d, inner = cfg.dim, cfg.inner_ratio * cfg.dim
    maps = {name: affine(d, d, bias) for name in ("query", "key", "value", "out")}
    ffn = {"ffn_in": affine(d, inner), "ffn_out": affine(inner, d)}
    return {**maps, "norm": norm(d), **ffn, "ffn_norm": norm(d)}


def drawn(
    key: jax.Array, cfg: EncoderConfig, shapes: Shapes, *, cut: bool = False
) -> Params:
    """Parameters of `shapes` and the item table: a plain nested dict of float32 arrays.

    Normal with standard deviation 0.02, but for a "scale", which is 1, and a "bias",
    which is 0. The rows of the table that only rounding adds are 0. All but the table
    are parts of one draw: one program, where each shape would take its own.

    Args:
      key: typed key.
      cfg: sizes of the table.
      shapes: nested dict of the shapes of all but embedding/table.
      cut: whether normals are cut at two standard deviations.
    """

    def normal(key, shape):
        if cut:
            return 0.02 * jax.random.truncated_normal(key, -2.0, 2.0, shape)
        return 0.02 * jax.random.normal(key, shape)

    leaves, structure = jax.tree.flatten_with_path(
        shapes, is_leaf=lambda part: isinstance(part, tuple)
    )
    constant = {"scale": 1.0, "bias": 0.0}
    sizes = [
        0 if path[-1].key in constant else math.prod(shape) for path, shape in leaves
    ]
    of_table, of_rest = jax.random.split(key)
    rest, ends = normal(of_rest, (sum(sizes),)), np.cumsum(sizes)
    params = structure.unflatten(
        [
            rest[end - size : end].reshape(shape)
            if size
            else jnp.full(shape, constant[path[-1].key])
            for (path, shape), size, end in zip(leaves, sizes, ends, strict=True)
        ]
    )
    table = normal(of_table, (cfg.items + 2, cfg.columns))
    table = jnp.pad(table, ((0, cfg.rows - cfg.items - 2), (0, 0)))
    embedding = params.get("embedding", {}) | {"table": table}
    return params | {"embedding": embedding}


def score(params: Params, cfg: EncoderConfig, hidden: jax.Array) -> jax.Array:
    """Scores (..., items + 1) of outputs (..., w); the mask token has none."""
    return scores_of(hidden, head(params, cfg), cfg.items + 1)


def head(params: Params, cfg: EncoderConfig) -> tuple[jax.Array, jax.Array]:
    """The table (rows, w) and bias (rows,) of `score`, for losses and search.

    The table is that of the embedding. The softmax runs over all items + 2 columns.
    """
    table = params["embedding"]["table"]
    past = jnp.arange(cfg.rows) > cfg.items + 1
    return table, jnp.where(past, -1e9, jnp.zeros((cfg.rows,), table.dtype))


def decayed(path: tuple[str, ...]) -> bool:
    """Whether weight decay applies to the parameter at `path`: not to biases, norms."""
    return not any("bias" in part or "norm" in part for part in path)
