"""GraphSAGE: every node mixes its vector with the mean of its neighbours'.

    x_i <- W_l mean_{j in N(i)} x_j + b + W_r x_i, over its Euclidean norm

with normalisation and ReLU between layers and none behind the last. Source: Hamilton,
Ying and Leskovec, NeurIPS 2017, as Pakman et al., 2020, stack it: 4 layers of 128.
Ours: LayerNorm for their BatchNorm, whose statistics padded nodes would get into.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxbio.clustering.graphs import encoding
from jaxbio.clustering.graphs.exchange import Exchange, GraphBatch
from jaxbio.clustering.layers import (
    Params,
    layer_norm,
    linear,
    linear_init,
    norm_init,
)

relate, related_dim = encoding.relate, encoding.related_dim


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
      features: columns F of the nodes, `Features.width` of the generator.
      dim: width of all layers and of the result.
      layers: their number.
      residual: whether layers but the first add to what they get. Not published.
    """

    features: int = 22
    dim: int = 128
    layers: int = 4
    residual: bool = False

    def __post_init__(self):
        encoding.check(self)


def init(key: jax.Array, cfg: Config) -> Params:
    """Draws parameters, float32."""
    params = {}
    for i, layer in enumerate(jax.random.split(key, cfg.layers)):
        mean, self_ = jax.random.split(layer)
        width = cfg.dim if i else cfg.features
        params[str(i)] = {
            "mean": linear_init(mean, width, cfg.dim),
            "self": linear_init(self_, width, cfg.dim, bias=False),
        }
        if i < cfg.layers - 1:
            params[str(i)]["norm"] = norm_init(cfg.dim)
    return params


def encode(params: Params, cfg: Config, inputs: dict, valid: jax.Array) -> jax.Array:
    """Node vectors (B, N, dim), see `jaxbio.clustering.graphs.encoding.encoded`."""
    return encoding.encoded(_layers, params, cfg, inputs, valid)


def encode_edges(
    params: Params, cfg: Config, features: jax.Array, graph: GraphBatch
) -> jax.Array:
    """Node vectors (N, dim), see `jaxbio.clustering.graphs.encoding.encoded_edges`."""
    return encoding.encoded_edges(_layers, params, cfg, features, graph)


def _layers(params: Params, cfg: Config, x: jax.Array, exchange: Exchange) -> jax.Array:
    degree = jnp.maximum(exchange.degree, 1).astype(x.dtype)
    for i in range(cfg.layers):
        layer = params[str(i)]
        mean = exchange.total(x) / degree
        y = linear(layer["mean"], mean) + linear(layer["self"], x)
        y = y * jax.lax.rsqrt(jnp.sum(y * y, -1, keepdims=True) + 1e-12)
        if "norm" in layer:
            y = jax.nn.relu(layer_norm(layer["norm"], y))
        x = x + y if cfg.residual and i else y
    return x
