"""Perceptrons and attention over sets, as functions of their parameters.

Sets are padded: every function that looks at a set takes a mask of its members, gives
members the same result whatever stands elsewhere, and gives the zero vector for what is
made of an empty set. Maps are dicts of "kernel" (i, o) and "bias" (o,).

Attention over sets is that of Lee et al., ICML 2019 (Set Transformer): MAB (equation 6
without the first LayerNorm), PMA and ISAB, with two remarks of what costs time:

* A pool has few queries, which do not depend on the set. Folded into the key map they
  score the members at once, and members are pooled before they are mapped to values:
  N members cost h products of width d each, not two maps of d^2.
* A MAB whose key set is one vector has softmax weights of one: it is a sum.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

Params = dict[str, Any]

_MASKED = -1e9  # Finite, so that no gradient of an empty set is NaN.


def linear_init(key: jax.Array, inputs: int, outputs: int, bias: bool = True) -> Params:
    """A linear map with kernel entries of variance 1 / inputs."""
    kernel = jax.random.normal(key, (inputs, outputs)) * inputs**-0.5
    return {"kernel": kernel} | ({"bias": jnp.zeros(outputs)} if bias else {})


def linear(params: Params, x: jax.Array) -> jax.Array:
    """x W + b for x (..., i)."""
    y = x.reshape(-1, x.shape[-1]) @ params["kernel"]
    if "bias" in params:
        y = y + params["bias"]
    return y.reshape(*x.shape[:-1], y.shape[-1])


def mlp_init(key: jax.Array, sizes: Sequence[int], last_bias: bool = True) -> Params:
    """A perceptron with layers of these sizes, the inputs first, and its slope."""
    keys = jax.random.split(key, len(sizes) - 1)
    last = len(sizes) - 2
    layers = {
        str(i): linear_init(keys[i], a, b, last_bias or i < last)
        for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
    }
    # The gain of a PReLU of slope 1/4, for all layers that one follows.
    for i in range(last):
        layers[str(i)]["kernel"] = layers[str(i)]["kernel"] * (2 / (1 + 1 / 16)) ** 0.5
    return {**layers, "slope": jnp.array(0.25)}


@jax.custom_vjp
def prelu(slope: jax.Array, x: jax.Array) -> jax.Array:
    """x (..., d) where it is positive, slope * x elsewhere.

    The slope's gradient is summed over the points by a product: one sum over all
    elements is slow on a CPU.
    """
    return jnp.where(x >= 0, x, slope * x)


def _prelu_forward(slope, x):
    return prelu(slope, x), (slope, x)


def _prelu_backward(kept, cotangent):
    slope, x = kept
    rows = (jnp.minimum(x, 0) * cotangent).reshape(-1, x.shape[-1])
    by_column = jnp.ones(len(rows), x.dtype) @ rows
    return by_column.sum(), jnp.where(x >= 0, cotangent, slope * cotangent)


prelu.defvjp(_prelu_forward, _prelu_backward)


def mlp(params: Params, x: jax.Array) -> jax.Array:
    """Linear maps with a PReLU of one shared slope between them."""
    layers = len(params) - 1
    for i in range(layers):
        x = linear(params[str(i)], x)
        if i < layers - 1:
            x = prelu(params["slope"], x)
    return x


def norm_init(dim: int) -> Params:
    """Scale and bias of a LayerNorm."""
    return {"scale": jnp.ones(dim), "bias": jnp.zeros(dim)}


def layer_norm(params: Params, x: jax.Array) -> jax.Array:
    """LayerNorm over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-5) * params["scale"] + params["bias"]


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Means of rows of members, (B, R, d); the zero vector without any.

    Args:
      x: (B, R, n, d), or (B, n, d) for the same points in every row.
      mask: (B, R, n) bool.
    """
    weights = mask.astype(x.dtype)
    total = _weighted(weights[:, :, None], x)[:, :, 0]
    return total / jnp.maximum(weights.sum(-1), 1)[..., None]


def _weighted(weights: jax.Array, x: jax.Array) -> jax.Array:
    """Sums (B, R, q, d) of x (B, R, n, d) or (B, n, d) with weights (B, R, q, n)."""
    if x.ndim == weights.ndim:
        return jnp.einsum("brqn,brnd->brqd", weights, x)
    b, r, q, n = weights.shape
    return (weights.reshape(b, r * q, n) @ x).reshape(b, r, q, -1)


def masked_softmax(scores: jax.Array, mask: jax.Array) -> jax.Array:
    """Softmax over the last axis within the mask; all 0 where it is empty."""
    scores = jnp.where(mask, scores, _MASKED)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    weights = weights * mask
    return weights / jnp.maximum(weights.sum(-1, keepdims=True), 1e-30)


def block_init(key: jax.Array, dim: int, norm: bool) -> Params:
    """The maps of a MAB of width `dim`."""
    names = ("query", "key", "value", "out")
    keys = jax.random.split(key, len(names))
    block = {n: linear_init(k, dim, dim) for n, k in zip(names, keys, strict=True)}
    return block | ({"norm": norm_init(dim)} if norm else {})


def pool_init(key: jax.Array, dim: int, seeds: int, norm: bool) -> Params:
    """A PMA: learned queries and the MAB in which they look at a set."""
    draw, block = jax.random.split(key)
    seed = jax.random.normal(draw, (seeds, dim)) * dim**-0.5
    return {"seeds": seed, "block": block_init(block, dim, norm)}


def finish(block: Params, x: jax.Array) -> jax.Array:
    """What a MAB does after its attention: x + relu(W x), LayerNorm if it has one."""
    x = x + jax.nn.relu(linear(block["out"], x))
    return layer_norm(block["norm"], x) if "norm" in block else x


def pool(
    params: Params, x: jax.Array, mask: jax.Array, heads: int, scale: float
) -> jax.Array:
    """PMA: m learned queries look at sets, (B, R, m, d); zero vectors of no members.

    Args:
      params: from `pool_init`.
      x: (B, R, n, d) float32, or (B, n, d) for the same points in every row.
      mask: (B, R, n) bool.
      heads: h, which divides d.
      scale: what products are multiplied by.
    """
    block, dim = params["block"], x.shape[-1]
    query = linear(block["query"], params["seeds"])
    m = query.shape[0]
    split = query.reshape(m, heads, -1)
    kernel = block["key"]["kernel"].reshape(dim, heads, -1)
    folded = jnp.einsum("mhe,dhe->dmh", split, kernel).reshape(dim, m * heads) * scale
    # The bias of the keys adds the same to all scores of a query: softmax drops it.
    scores = jnp.swapaxes(x @ folded, -1, -2)
    if x.ndim == mask.ndim:
        scores = scores[:, None]
    seen = _weighted(masked_softmax(scores, mask[..., None, :]), x)
    seen = seen.reshape(*seen.shape[:-2], m, heads, dim)
    value = block["value"]["kernel"].reshape(dim, heads, -1)
    values = jnp.einsum("...mhd,dhe->...mhe", seen, value)
    values = values.reshape(*values.shape[:-2], dim) + block["value"]["bias"]
    pooled = finish(block, query + values)
    return pooled * mask.any(-1)[..., None, None]


def attend_to(
    block: Params, x: jax.Array, points: jax.Array, heads: int, scale: float
) -> jax.Array:
    """MAB(x, points) for x (..., n, d) and a few points (..., m, d), all seen."""
    query = linear(block["query"], x)
    key, value = linear(block["key"], points), linear(block["value"], points)
    q, k, v = (a.reshape(*a.shape[:-1], heads, -1) for a in (query, key, value))
    scores = jnp.einsum("...nhe,...mhe->...hnm", q, k) * scale
    weights = jax.nn.softmax(scores)
    y = jnp.einsum("...hnm,...mhe->...nhe", weights, v)
    return finish(block, query + y.reshape(query.shape))


def induced(
    params: Params, x: jax.Array, mask: jax.Array, heads: int, scale: float
) -> jax.Array:
    """ISAB: sets (B, R, n, d), masked (B, R, n), look at pools of themselves."""
    points = pool(params["pool"], x, mask, heads, scale)
    return attend_to(params["block"], x, points, heads, scale)


def induced_init(key: jax.Array, dim: int, seeds: int, norm: bool) -> Params:
    """An ISAB: a PMA of `seeds` queries and a MAB."""
    first, second = jax.random.split(key)
    return {
        "pool": pool_init(first, dim, seeds, norm),
        "block": block_init(second, dim, norm),
    }
