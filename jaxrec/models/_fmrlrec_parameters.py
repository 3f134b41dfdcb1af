"""The parameters of `jaxrec.models.fmrlrec`: how they are drawn and put together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.core.nested import cut_linear, increments
from jaxrec.models._lru_core import draw_logs

if TYPE_CHECKING:
    from jaxrec.models.fmrlrec import FMRLRecConfig

Params = dict[str, Any]


def draw(key: jax.Array, cfg: "FMRLRecConfig") -> Params:
    """As `jaxrec.models.fmrlrec.init`."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(2 + 2 * cfg.blocks))
    if cfg.features:
        params = {
            "embedding": _projection(keys[0], sum(cfg.features), cfg.dim),
            "features": {"table": _random_features(keys[1], cfg)},
        }
        if has_both(cfg):
            params["embedding"]["table"] = jnp.zeros((cfg.rows, cfg.dim))
    else:
        shape = cfg.rows, cfg.dim
        drawn = 0.02 * jax.random.truncated_normal(keys[0], -2.0, 2.0, shape)
        params = {"embedding": {"table": drawn}}
    blocks = jax.vmap(lambda pair: _block(pair, cfg))(keys[2:].reshape(-1, 2))
    for i in range(cfg.blocks):
        params[f"block_{i}"] = jax.tree.map(lambda leaf, i=i: leaf[i], blocks)
    return params


def has_both(cfg: "FMRLRecConfig") -> bool:
    """Whether items are projected features and a trained vector of their own."""
    return bool(cfg.features) and cfg.own_vectors


def feature_table(cfg: "FMRLRecConfig", tables: Sequence[jax.Array]) -> jax.Array:
    """One table (rows, sum of dims) float32 of the modalities' (items, dim) tables.

    Row 0 and the rows past the catalogue are 0.

    Raises:
      ValueError: other shapes than `cfg` says.
    """
    wanted = [(cfg.items, dim) for dim in cfg.features]
    got = [tuple(table.shape) for table in tables]
    if got != wanted:
        raise ValueError(f"features: want tables of shapes {wanted}, got {got}")
    joined = jnp.concatenate([jnp.asarray(t, jnp.float32) for t in tables], 1)
    return jnp.pad(joined, ((1, cfg.rows - cfg.items - 1), (0, 0)))


def gained(block: Params, sizes: Sequence[int]) -> Params:
    """The input map of a block with the gain of its recurrence multiplied in."""
    gain = jnp.exp(block["lru"]["gamma_log"])
    kernels = {
        f"kernel_{i}": block["in"][f"kernel_{i}"] * jnp.tile(gain[begin:end], 2)
        for i, (begin, end) in enumerate(increments(sizes))
    }
    return kernels | {"bias": block["in"]["bias"] * jnp.tile(gain, 2)}


def item_vectors(
    params: Params, cfg: "FMRLRecConfig", ids: jax.Array | None = None
) -> jax.Array:
    """Rows of the item table at ids (...), made of the features of these items alone.

    `None` gives the table (rows, d).
    """

    def rows(table):
        return jnp.asarray(table) if ids is None else jnp.asarray(table)[ids]

    if not cfg.features:
        return rows(params["embedding"]["table"])
    features = jax.lax.stop_gradient(rows(params["features"]["table"]))
    made = project(params["embedding"], cfg, features)
    return made + rows(params["embedding"]["table"]) if has_both(cfg) else made


def project(projection: Params, cfg: "FMRLRecConfig", features: jax.Array) -> jax.Array:
    """Item vectors (..., d) of features (..., sum of dims), of all modalities."""
    dtype = jnp.dtype(cfg.compute_dtype)
    y = jnp.einsum(
        "...f,fd->...d",
        features.astype(dtype),
        projection["kernel"].astype(dtype),
        preferred_element_type=projection["bias"].dtype,
    )
    return y + projection["bias"]


def cut(params: Params, sizes: Sequence[int], count: int) -> Params:
    """The parameters of the model of the first `count` sizes."""
    size = sizes[count - 1]

    def of_block(block):
        return {
            name: cut_linear(part, sizes, count)
            if "kernel_0" in part
            else {key: leaf[:size] for key, leaf in part.items()}
            for name, part in block.items()
        }

    small = {
        name: of_block(part) if name.startswith("block") else part
        for name, part in params.items()
    }
    # The last axis of a table, a kernel and a bias alike.
    small["embedding"] = jax.tree.map(lambda a: a[..., :size], params["embedding"])
    return small


def _projection(key, inputs, dim):
    drawn = jax.random.uniform(key, (inputs + 1, dim), minval=-1.0) / inputs**0.5
    return {"kernel": drawn[:-1], "bias": drawn[-1]}


def _random_features(key, cfg):
    tables, begin = [], 0
    normal = jax.random.normal(key, (cfg.items, sum(cfg.features)))
    for dim in cfg.features:
        part = normal[:, begin : begin + dim]
        tables.append(part / jnp.linalg.norm(part, axis=1, keepdims=True))
        begin += dim
    return feature_table(cfg, tables)


def _block(keys, cfg):
    dim, steps = cfg.dim, increments(cfg.sizes)
    # Everything at once: every draw is code that takes long to compile.
    count = 5 * (sum(end * (end - begin) for begin, end in steps) + dim)
    drawn = jax.random.uniform(keys[0], (count,), minval=-1.0)
    # What the biases of an increment are within: those of a map of that width.
    bound = np.repeat([end**-0.5 for _, end in steps], [e - b for b, e in steps])
    taken = 0

    def take(*shape):
        nonlocal taken
        begin, taken = taken, taken + int(np.prod(shape))
        return drawn[begin:taken].reshape(shape)

    def kernels(make):
        return {
            f"kernel_{i}": make(end, end - begin)
            for i, (begin, end) in enumerate(steps)
        }

    def uniform(inputs, *outputs):
        return take(inputs, *outputs) / inputs**0.5

    def real_of_outputs(inputs, outputs):
        made = uniform(inputs, outputs)
        return jnp.concatenate([made, jnp.zeros_like(made)], 1)

    def real_of_inputs(inputs, outputs):
        made = uniform(inputs, outputs)
        return jnp.concatenate([made, jnp.zeros_like(made)], 0)

    def norm():
        return {"scale": jnp.ones((dim,)), "bias": jnp.zeros((dim,))}

    return {
        "lru": draw_logs(keys[1], dim, cfg.r_min, cfg.r_max),
        "norm": norm(),
        "in": {
            **kernels(real_of_outputs),
            "bias": jnp.concatenate([bound * take(dim), jnp.zeros((dim,))]),
        },
        "out": {**kernels(real_of_inputs), "bias": bound * take(dim)},
        "ffn_norm": norm(),
        "ffn_in": {
            **kernels(lambda inputs, outputs: uniform(inputs, 2 * outputs)),
            "bias": np.tile(bound, 2) * take(2 * dim),
        },
        "ffn_out": {**kernels(uniform), "bias": bound * take(dim)},
    }
