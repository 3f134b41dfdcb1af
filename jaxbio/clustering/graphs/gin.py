"""GIN, the graph isomorphism network: sums over neighbours and a perceptron.

    x_i <- MLP((1 + epsilon) x_i + sum_{j in N(i)} x_j)

Source: Xu, Hu, Leskovec and Jegelka, ICLR 2019, with learned epsilon. Ours: LayerNorm
for BatchNorm, inside the perceptron and between layers, and a linear map of the
features before the first layer.
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
    """

    features: int = 22
    dim: int = 128
    layers: int = 4

    def __post_init__(self):
        encoding.check(self)


def init(key: jax.Array, cfg: Config) -> Params:
    """Draws parameters, float32."""
    first, *keys = jax.random.split(key, cfg.layers + 1)
    params = {"features": linear_init(first, cfg.features, cfg.dim)}
    for i, layer in enumerate(keys):
        hidden, out = jax.random.split(layer)
        params[str(i)] = {
            "epsilon": jnp.zeros(()),
            "hidden": linear_init(hidden, cfg.dim, cfg.dim),
            "hidden_norm": norm_init(cfg.dim),
            "out": linear_init(out, cfg.dim, cfg.dim),
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
    x = linear(params["features"], x)
    for i in range(cfg.layers):
        layer = params[str(i)]
        x = (1 + layer["epsilon"]) * x + exchange.total(x)
        x = layer_norm(layer["hidden_norm"], linear(layer["hidden"], x))
        x = linear(layer["out"], jax.nn.relu(x))
        if "norm" in layer:
            x = jax.nn.relu(layer_norm(layer["norm"], x))
    return x
