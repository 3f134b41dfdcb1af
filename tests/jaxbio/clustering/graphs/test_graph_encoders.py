"""Encoders against their formulas, dense against edge lists, and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.graphs import gatedgcn, gin, sage
from jaxbio.clustering.graphs.exchange import GraphBatch

ENCODERS = [sage, gatedgcn, gin]
SIZES = (9, 12)  # Nodes of the two graphs of the batch, of 12.
ROOM = 12


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def batch(features=5, seed=0):
    """Two graphs, dense: features, adjacency, valid. Node 3 of the first is alone."""
    rng = np.random.default_rng(seed)
    valid = np.arange(ROOM) < np.array(SIZES)[:, None]
    upper = np.triu(rng.random((2, ROOM, ROOM)) < 0.3, 1)
    adjacency = upper | upper.swapaxes(1, 2)
    adjacency &= valid[:, :, None] & valid[:, None]
    adjacency[0, 3] = adjacency[0, :, 3] = False
    x = rng.normal(size=(2, ROOM, features)) * valid[..., None]
    return x, adjacency.astype(float), valid


def as_list(adjacency, valid, spare=7):
    """The same graphs as one list of edges, with padding between true edges."""
    graph, receivers, senders = np.nonzero(adjacency)
    order = np.random.default_rng(1).permutation(len(graph) + spare)
    senders = np.concatenate([senders + graph * ROOM, np.arange(spare)])[order]
    receivers = np.concatenate([receivers + graph * ROOM, np.arange(spare)])[order]
    edges = (np.arange(len(graph) + spare) < len(graph))[order]
    return GraphBatch(*map(jnp.asarray, (senders, receivers, valid.ravel(), edges)))


def parameters(module, cfg, seed=0):
    """Parameters in float64, moved from where they start so that no one is 0 or 1."""
    params = module.init(jax.random.key(seed), cfg)
    leaves, form = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    moved = [leaf + 0.1 * rng.normal(size=leaf.shape) for leaf in leaves]
    return jax.tree.unflatten(form, [jnp.asarray(leaf, jnp.float64) for leaf in moved])


def norm(layer, x):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * layer["scale"] + layer["bias"]


def affine(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0)


def sage_node_by_node(params, cfg, x, neighbours):
    for i in range(cfg.layers):
        p, y = params[str(i)], []
        for node, near in enumerate(neighbours):
            mean = x[near].mean(0) if len(near) else np.zeros(x.shape[1])
            out = affine(p["mean"], mean) + affine(p["self"], x[node])
            y.append(out / np.linalg.norm(out))
        y = np.array(y)
        if i < cfg.layers - 1:
            y = np.maximum(norm(p["norm"], y), 0)
        x = x + y if cfg.residual and i else y
    return x


def gin_node_by_node(params, cfg, x, neighbours):
    x = affine(params["features"], x)
    for i in range(cfg.layers):
        p = params[str(i)]
        x = np.array(
            [(1 + p["epsilon"]) * x[n] + x[m].sum(0) for n, m in enumerate(neighbours)]
        )
        x = affine(
            p["out"], np.maximum(norm(p["hidden_norm"], affine(p["hidden"], x)), 0)
        )
        if i < cfg.layers - 1:
            x = np.maximum(norm(p["norm"], x), 0)
    return x


def gatedgcn_node_by_node(params, cfg, x, neighbours):
    x = affine(params["features"], x)
    edges = {(i, j): params["edge"] for i, near in enumerate(neighbours) for j in near}
    for layer in range(cfg.layers):
        p = params[str(layer)]
        mixed = {
            (i, j): affine(p["edge"], e)
            + affine(p["sender"], x[j])
            + affine(p["receiver"], x[i])
            for (i, j), e in edges.items()
        }
        gates = {at: 1 / (1 + np.exp(-e)) for at, e in mixed.items()}
        y = []
        for i, near in enumerate(neighbours):
            top = sum(gates[i, j] * affine(p["message"], x[j]) for j in near)
            bottom = sum(gates[i, j] for j in near)
            y.append(affine(p["self"], x[i]) + top / (bottom + 1e-6))
        x = x + np.maximum(norm(p["norm"], np.array(y)), 0)
        if layer < cfg.layers - 1:
            edges = {
                at: e + np.maximum(norm(p["edge_norm"], mixed[at]), 0)
                for at, e in edges.items()
            }
    return x


@pytest.mark.parametrize(
    ("module", "reference", "options"),
    [
        (sage, sage_node_by_node, {}),
        (sage, sage_node_by_node, {"residual": True}),
        (gin, gin_node_by_node, {}),
        (gatedgcn, gatedgcn_node_by_node, {}),
    ],
)
def test_an_encoder_is_its_formula_node_by_node(module, reference, options):
    cfg = module.Config(features=5, dim=6, layers=3, **options)
    params = parameters(module, cfg)
    x, adjacency, valid = batch()
    encode = jax.jit(module.encode, static_argnums=1)
    found = encode(params, cfg, {"features": x, "adjacency": adjacency}, valid)
    params = jax.tree.map(np.asarray, params)
    for graph, size in enumerate(SIZES):
        neighbours = [np.flatnonzero(row) for row in adjacency[graph, :size]]
        expected = reference(params, cfg, x[graph, :size], neighbours)
        np.testing.assert_allclose(found[graph, :size], expected, atol=1e-10)
    assert not np.asarray(found)[~valid].any()


@pytest.mark.parametrize("module", ENCODERS)
def test_edge_lists_give_the_values_and_gradients_of_dense_batches(module):
    cfg = module.Config(features=5, dim=6, layers=3)
    x, adjacency, valid = batch()
    graph = as_list(adjacency, valid)
    weights = np.random.default_rng(2).normal(size=(2, ROOM, 6))

    def from_matrix(params, x):
        inputs = {"features": x, "adjacency": adjacency}
        y = module.encode(params, cfg, inputs, valid)
        return jnp.sum(y * weights), y

    def from_list(params, x):
        y = module.encode_edges(params, cfg, x.reshape(-1, 5), graph).reshape(
            2, ROOM, 6
        )
        return jnp.sum(y * weights), y

    params = parameters(module, cfg)
    gradient = [
        jax.jit(jax.grad(f, (0, 1), has_aux=True))(params, jnp.asarray(x))
        for f in (from_matrix, from_list)
    ]
    one, other = (jax.tree.leaves(g) for g in gradient)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    assert sum(np.abs(a).sum() for a in one) > 1


@pytest.mark.parametrize("module", ENCODERS)
def test_what_stands_at_padded_nodes_reaches_no_valid_one(module):
    cfg = module.Config(features=5, dim=6, layers=2)
    params = parameters(module, cfg)
    x, adjacency, valid = batch()
    encode = jax.jit(module.encode, static_argnums=1)
    clean = encode(params, cfg, {"features": x, "adjacency": adjacency}, valid)
    padded = ~(valid[:, :, None] & valid[:, None])
    soiled = {
        "features": np.where(valid[..., None], x, np.nan),
        "adjacency": np.where(padded, np.nan, adjacency),
    }

    def total(x):
        y = encode(params, cfg, {**soiled, "features": x}, valid)
        return jnp.sum(y**2), y

    gradient, found = jax.jit(jax.grad(total, has_aux=True))(soiled["features"])
    np.testing.assert_allclose(found, clean, atol=1e-12)
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[~valid].any()


@pytest.mark.parametrize("module", ENCODERS)
def test_parameters_start_as_float32(module):
    with jax.enable_x64(False):
        cfg = module.Config(features=3, dim=4, layers=2)
        params = module.init(jax.random.key(0), cfg)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("module", ENCODERS)
def test_impossible_sizes_and_inputs_are_refused(module):
    with pytest.raises(ValueError, match="encoder.layers: 0"):
        module.Config(layers=0)
    cfg = module.Config(features=4, dim=4, layers=1)
    params = parameters(module, cfg)
    x, adjacency, valid = batch()
    with pytest.raises(ValueError, match="5 columns, but encoder.features is 4"):
        module.encode(params, cfg, {"features": x, "adjacency": adjacency}, valid)
    with pytest.raises(ValueError, match="no 'adjacency' among features"):
        module.encode(params, cfg, {"features": x[..., :4]}, valid)
    with pytest.raises(ValueError, match="5 columns"):
        graph = as_list(adjacency, valid)
        module.encode_edges(params, cfg, x.reshape(-1, 5), graph)
