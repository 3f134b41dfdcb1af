"""Layers that several backbones have, as functions of their parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.core.attention import attend, attention_mask, attention_weights
from jaxrec.core.nested import increments

Params = dict[str, Any]


def standardised(x: jax.Array, epsilon: float) -> jax.Array:
    """x less its mean, over its standard deviation: LayerNorm without parameters."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + epsilon)


def layer_norm(params: Params, x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """LayerNorm over the last axis in the dtype of its scale: float32."""
    x = x.astype(params["scale"].dtype)
    return standardised(x, epsilon) * params["scale"] + params["bias"]


def nested_layer_norm(
    params: Params, x: jax.Array, sizes: Sequence[int], epsilon: float = 1e-5
) -> jax.Array:
    """LayerNorm of every increment of x (..., D) by itself, see `jaxrec.core.nested`.

    Scale and bias are (D,). No statistic of a wider part gets into a narrower one.
    """
    x = x.astype(params["scale"].dtype)
    units = [
        standardised(x[..., begin:end], epsilon) for begin, end in increments(sizes)
    ]
    return jnp.concatenate(units, -1) * params["scale"] + params["bias"]


def linear(params: Params, x: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """x W + b for x (..., i) and a kernel (i, o), computed and returned in `dtype`.

    A map without "bias" is x W.
    """
    y = mapped(x.astype(dtype), params["kernel"].astype(dtype))
    return y + params["bias"].astype(dtype) if "bias" in params else y


def mapped(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x W for x (..., i) and a kernel (i, o).

    As one product of two matrices: with more axes the gradient of a feed-forward part
    with dropout took twice as long on a CPU (13.9 instead of 7.4 ms, 9 rows of 200).
    """
    y = x.reshape(-1, x.shape[-1]) @ kernel
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def rows_at(x: jax.Array, at: jax.Array | None) -> jax.Array:
    """Slots `at` (b, m) of x (b, t, ...), or all of it for `None`."""
    if at is None:
        return x
    return jnp.take_along_axis(x, at.reshape(*at.shape, *[1] * (x.ndim - 2)), 1)


def self_attention(
    block: Params,
    x: jax.Array,
    mask: jax.Array,
    heads: int,
    dtype: jnp.dtype,
    *,
    at: jax.Array | None = None,
    rate: float = 0.0,
    keys: jax.Array | None = None,
    salt: int = 0,
    positional: Callable[..., tuple[jax.Array, jax.Array]] | None = None,
    weights: list[jax.Array] | None = None,
    heads_of: Callable[..., jax.Array] | None = None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Multi-head attention of a sequence to itself, up to and with the output map.

    Args:
      block: has the maps "query", "key", "value" and "out".
      x: (b, t, d).
      mask: (b or 1, h or 1, m, t), see `jaxrec.core.attention.attention_mask`.
      heads: number h of heads, which divides d.
      dtype: of the products.
      at: (b, m) slots of the queries; `None` for all t.
      rate: dropout of the probabilities.
      keys: (b,) typed dropout keys, or `None`.
      salt: of this place.
      positional: (block, queries (b, m, h, e), keys (b, t, h, e), at) to what is
        multiplied instead, of any width, still over sqrt(e). `None`: themselves.
      weights: for analyses, a list that gets the attention weights (b, h, m, t), see
        `jaxrec.core.attention.attention_weights`.
      heads_of: (block, queries, keys, values (b, t, h, e), mask, at, options of
        `product`) to the outputs (b, m, h, e) of the heads. `None`: `product`.

    Returns:
      `(y, (keys, values))`: outputs (b, m, d) and what a cache keeps, each (b, t, d).
    """
    if at is None:
        q, k, v = projected(block, ("query", "key", "value"), x, dtype)
    else:
        q = linear(block["query"], rows_at(x, at), dtype)
        k, v = projected(block, ("key", "value"), x, dtype)
    queries, sought, values = (split_heads(a, heads) for a in (q, k, v))
    scale = queries.shape[-1] ** -0.5
    if positional is not None:
        queries, sought = positional(block, queries, sought, at)
    options = {"scale": scale, "rate": rate, "dropout_keys": keys, "salt": salt}
    if heads_of is None:
        y = product(queries, sought, values, mask, weights=weights, **options)
    else:
        y = heads_of(
            block, queries, sought, values, mask, at, weights=weights, **options
        )
    return linear(block["out"], y.reshape(q.shape), dtype), (k, v)


def product(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    mask: jax.Array,
    *,
    scale: float | None = None,
    adjust: Callable[[jax.Array], jax.Array] | None = None,
    weights: list[jax.Array] | None = None,
    **dropped: Any,
) -> jax.Array:
    """`jaxrec.core.attention.attend`, whose weights a list gets if there is one."""
    if weights is not None:
        weights.append(attention_weights(queries, keys, mask, scale, adjust))
    return attend(queries, keys, values, mask, scale=scale, adjust=adjust, **dropped)


def sequence_mask(
    ids: jax.Array,
    segments: jax.Array | None,
    at: jax.Array | None,
    causal: bool,
    windows: Sequence[int] = (),
) -> jax.Array:
    """The mask for ids (b, t), padded or packed, and the queries of slots `at`."""
    slots = jnp.arange(ids.shape[1])[None]
    return attention_mask(
        slots if at is None else at,
        slots,
        causal=causal,
        real=ids != 0,
        segments=None if segments is None else (rows_at(segments, at), segments),
        windows=windows,
    )


def check_length(ids: jax.Array, length: int) -> None:
    """Raises ValueError for rows that are longer than a model's positions."""
    if ids.shape[1] > length:
        raise ValueError(
            f"ids: rows of {ids.shape[1]} slots, but the model has {length} positions"
        )


def projected(
    block: Params, names: Sequence[str], x: jax.Array, dtype: jnp.dtype
) -> list[jax.Array]:
    """Several linear maps of the same x (b, t, d) as one product."""
    joined = {
        part: jnp.concatenate([block[name][part] for name in names], -1)
        for part in block[names[0]]
    }
    return jnp.split(linear(joined, x, dtype), len(names), axis=-1)


def split_heads(x: jax.Array, heads: int) -> jax.Array:
    """(b, t, d) as (b, t, h, d / h)."""
    return x.reshape(*x.shape[:-1], heads, -1)


def scores_of(
    hidden: jax.Array, head: tuple[jax.Array, jax.Array], columns: int
) -> jax.Array:
    """Scores (..., columns) of outputs (..., d) under a table and a bias."""
    table, bias = head
    scores = jnp.einsum(
        "...d,vd->...v", hidden, table, preferred_element_type=hidden.dtype
    )
    return (scores + bias)[..., :columns]
