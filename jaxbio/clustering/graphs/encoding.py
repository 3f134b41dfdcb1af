"""What the graph encoders have in common: entry points, checks, nodes beside an anchor.

An encoder's module has `Config`, `init` and the functions of node vectors `encode`, of
padded batches with dense adjacency matrices, and `encode_edges`, of edge lists.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxbio.clustering.graphs.exchange import Exchange, GraphBatch, dense, edge_list
from jaxbio.clustering.layers import Params

Layers = Callable[[Params, Any, jax.Array, Exchange], jax.Array]


def check(cfg: Any) -> None:
    """Raises ValueError unless the sizes `features`, `dim` and `layers` are above 0."""
    for name in ("features", "dim", "layers"):
        if getattr(cfg, name) < 1:
            raise ValueError(f"encoder.{name}: {getattr(cfg, name)} must be 1 or more")


def encoded(
    layers: Layers, params: Params, cfg: Any, inputs: dict, valid: jax.Array
) -> jax.Array:
    """Encodes a padded batch of dense graphs.

    Args:
      layers: (params, cfg, node features, exchange) to node vectors.
      params: the encoder's.
      cfg: the encoder's.
      inputs: "features" (B, N, F) and "adjacency" (B, N, N) of 0 and 1. What stands at
        padded nodes is not looked at.
      valid: (B, N) bool.

    Returns:
      (B, N, dim), 0 at padded nodes.

    Raises:
      ValueError: a key is absent or the number of features is not the configuration's.
    """
    for key in ("features", "adjacency"):
        if key not in inputs:
            raise ValueError(f"inputs: no {key!r} among {', '.join(inputs)}")
    exchange = dense(inputs["adjacency"], valid)
    return _masked(layers, params, cfg, inputs["features"], valid, exchange)


def encoded_edges(
    layers: Layers, params: Params, cfg: Any, features: jax.Array, graph: GraphBatch
) -> jax.Array:
    """Encodes graphs given as a list of edges.

    Args:
      layers: as in `encoded`.
      params: the encoder's.
      cfg: the encoder's.
      features: (N, F).
      graph: edges and masks.

    Returns:
      (N, dim), 0 at padded nodes; what `encoded` gives for the same graphs.

    Raises:
      ValueError: the number of features is not the configuration's.
    """
    return _masked(layers, params, cfg, features, graph.node_mask, edge_list(graph))


def _masked(layers, params, cfg, features, valid, exchange):
    if features.shape[-1] != cfg.features:
        raise ValueError(
            f"inputs['features']: {features.shape[-1]} columns, but encoder.features "
            f"is {cfg.features}"
        )
    x = jnp.where(valid[..., None], features, 0)
    return jnp.where(valid[..., None], layers(params, cfg, x, exchange), 0)


def related_dim(cfg: Any) -> int:
    """Numbers that `relate` gives of a node."""
    return cfg.features + 3


def relate(cfg: Any, inputs: dict, anchor: jax.Array) -> jax.Array:
    """Nodes relative to anchors: (B, R, N, related_dim) for anchors (B, R).

    Whether there is an edge; how alike both are in whom they are tied to, as the
    correlation of their rows of the adjacency matrix; the same with the anchor's row
    replaced by the sum of its neighbours' rows, which is less noisy; and distances in
    every feature, which do not depend on the signs of eigenvectors. Correlations are
    over nodes with an edge and times the root of their number, which makes their
    variance 1 between nodes with nothing in common. Relies on zeros at padded nodes.
    """
    del cfg
    adjacency, features = inputs["adjacency"], inputs["features"]
    edges = jnp.take_along_axis(adjacency, anchor[..., None], 1)
    at = jnp.take_along_axis(features, anchor[..., None], 1)
    distance = jnp.abs(features[:, None] - at[:, :, None])
    near = edges @ adjacency
    alike = [_correlation(edges, near, adjacency)]
    alike.append(_correlation(near, near @ adjacency, adjacency))
    columns = [edges[..., None], jnp.stack(alike, -1), distance]
    return jnp.concatenate(columns, -1)


def _correlation(rows, products, adjacency):
    """Of rows (B, R, N) with those of the adjacency matrix, times the root of the size.

    `products` are those of `rows` and the matrix, (B, R, N).
    """
    degree = adjacency.sum(-1)
    size = jnp.maximum(jnp.sum(degree > 0, -1), 1)[:, None, None]
    mean = rows.sum(-1, keepdims=True) / size
    variance = jnp.sum(rows * rows, -1, keepdims=True) / size - mean**2
    density = degree[:, None] / size
    covariance = products / size - mean * density
    scale = jnp.maximum(variance, 0) * jnp.maximum(density - density**2, 0)
    return covariance * jax.lax.rsqrt(scale + 1e-12) * jnp.sqrt(size)
