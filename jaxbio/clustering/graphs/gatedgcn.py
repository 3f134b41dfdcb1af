"""GatedGCN: messages weighted by gates, which edges compute and keep.

    e_ij <- C e_ij + D x_j + E x_i                                 (j to i)
    x_i <- A x_i + sum_j gate_ij B x_j / (sum_j gate_ij + 1e-6),   gate = sigmoid(e)

then normalisation, ReLU and what was there before added, for nodes and edges. Source:
Bresson and Laurent, 2017, as Pakman et al., 2020, stack it: 4 layers of 128, the
constant 1 for every edge's feature. Ours: LayerNorm for their BatchNorm, whose
statistics padded nodes would get into. A dense batch keeps B N^2 vectors of edges.
"""

import dataclasses

import jax

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

_MAPS = ("self", "message", "edge", "sender", "receiver")  # A, B, C, D and E.


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes.

    Attributes:
      features: columns F of the nodes, `Features.width` of the generator.
      dim: width of all layers, of nodes and edges, and of the result.
      layers: their number.
    """

    features: int = 22
    dim: int = 128
    layers: int = 4

    def __post_init__(self):
        encoding.check(self)


def init(key: jax.Array, cfg: Config) -> Params:
    """Draws parameters, float32. "edge" is what the constant 1 is mapped to."""
    first, edge, *keys = jax.random.split(key, cfg.layers + 2)
    params = {
        "features": linear_init(first, cfg.features, cfg.dim),
        "edge": jax.random.normal(edge, (cfg.dim,)),
    }
    for i, layer in enumerate(keys):
        maps = zip(_MAPS, jax.random.split(layer, len(_MAPS)), strict=True)
        params[str(i)] = {
            **{name: linear_init(k, cfg.dim, cfg.dim) for name, k in maps},
            "norm": norm_init(cfg.dim),
        }
        if i < cfg.layers - 1:
            params[str(i)]["edge_norm"] = norm_init(cfg.dim)
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
    edges = params["edge"]
    for i in range(cfg.layers):
        layer = params[str(i)]
        sent = exchange.senders(linear(layer["sender"], x))
        met = exchange.receivers(linear(layer["receiver"], x))
        mixed = linear(layer["edge"], edges) + sent + met
        gates = jax.nn.sigmoid(mixed)
        messages = gates * exchange.senders(linear(layer["message"], x))
        mean = exchange.collect(messages) / (exchange.collect(gates) + 1e-6)
        y = linear(layer["self"], x) + mean
        x = x + jax.nn.relu(layer_norm(layer["norm"], y))
        if "edge_norm" in layer:
            edges = edges + jax.nn.relu(layer_norm(layer["edge_norm"], mixed))
    return x
