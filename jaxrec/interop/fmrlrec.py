"""Weights of the released fMRLRec.

Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", EMNLP 2024 Findings, released code yueqirex/fMRLRec. What
differs between its parameters and ours beside what `jaxrec.interop` names:

* the biases of a nested map's increments and the norms of increments are one vector;
* `gate` and `w_1` are one map with outputs side by side;
* complex weights become real ones as in `jaxrec.interop.lrurec`, and the imaginary part
  of the biases of `out_proj` is dropped;
* the two tables of features are one.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.core.nested import increments
from jaxrec.core.optim import path_names
from jaxrec.interop._tensors import (
    Entry,
    arrays_of,
    blocks_in,
    complex_inputs,
    complex_outputs,
    linear,
    lru_logs,
    norm,
    table,
    to_params,
    to_state,
)
from jaxrec.models.fmrlrec import FMRLRecConfig, Params, init

_BLOCK = "model.lru_blocks."
_PROJECTOR = "embedding.projector.weight"
_TABLES = {"text": "embedding.token_lang.weight", "image": "embedding.token_img.weight"}


def fmrlrec_from_torch(
    state: Mapping[str, Any],
    text: Any = None,
    image: Any = None,
    *,
    dropout: float = 0.5,
    dropout_lru: float = 0.5,
) -> tuple[FMRLRecConfig, Params]:
    """Our configuration and parameters from a `state_dict()` of the released fMRLRec.

    Args:
      state: released parameter names to arrays or torch tensors; `in_proj` and
        `out_proj` are complex, everything else is real.
      text: (items, dim) features in place of those in the state; a row of 0 is put
        before them.
      image: likewise.
      dropout: rate to train on with; it is not part of the weights.
      dropout_lru: rate on the output of the recurrence, likewise.

    Returns:
      `(cfg, params)`: float32 arrays, nested as `jaxrec.models.fmrlrec.init` nests
      them.

    Raises:
      ValueError: names that are missing or unknown, or an array of another shape or
        kind than the released model of these sizes, this depth and catalogue has; each
        is named with what was expected.
    """
    arrays = arrays_of(state, _PROJECTOR)
    for (argument, name), given in zip(_TABLES.items(), (text, image), strict=True):
        if given is not None:
            given = np.asarray(given)
            if given.ndim != 2:
                raise ValueError(f"{argument}: want (items, dim), got {given.shape}")
            arrays[name] = np.pad(given, ((1, 0), (0, 0)))
        elif name not in arrays:
            raise ValueError(f"missing {name}: give {argument}=, of shape (items, dim)")
    tables = [arrays[name] for name in _TABLES.values()]
    cfg = FMRLRecConfig(
        items=len(tables[0]) - 1,
        sizes=_sizes(arrays),
        features=tuple(table.shape[-1] for table in tables),
        blocks=blocks_in(arrays, _BLOCK),
        dropout=dropout,
        dropout_lru=dropout_lru,
    )
    return cfg, _together(cfg, to_params(arrays, _entries(cfg), "fMRLRec"))


def fmrlrec_to_torch(cfg: FMRLRecConfig, params: Params) -> dict[str, np.ndarray]:
    """The inverse: released names to numpy arrays, float32 and complex64.

    Raises:
      ValueError: a parameter is missing or has another shape than `cfg` says, or `cfg`
        has not two modalities.
    """
    if len(cfg.features) != 2:
        raise ValueError(f"features: want text and image, got {cfg.features}")
    _check_like(jax.eval_shape(lambda: init(jax.random.key(0), cfg)), params)
    return to_state(_apart(cfg, params), _entries(cfg))


def _sizes(arrays):
    sizes, name = [], _BLOCK + "0.input_layernorm.layernorm_{}.weight"
    while name.format(len(sizes)) in arrays:
        last = sizes[-1] if sizes else 0
        sizes.append(last + len(arrays[name.format(len(sizes))]))
    if not sizes:
        raise ValueError(f"missing {name.format(0)}, of shape (size,)")
    return tuple(sizes)


def _entries(cfg: FMRLRecConfig) -> dict[str, Entry]:
    """Entries of a tree in which what `_together` joins is still apart."""
    entries = linear("embedding.projector", cfg.dim, sum(cfg.features), "embedding")
    for (kind, name), dim in zip(_TABLES.items(), cfg.features, strict=True):
        entries[name] = table((cfg.items + 1, dim), "features", kind)
    for i in range(cfg.blocks):
        block, torch = f"block_{i}", f"{_BLOCK}{i}."
        lru, ffn = torch + "lru_layer.", torch + "feed_forward."
        entries |= lru_logs(lru + "params_log", cfg.dim, block, "lru")
        for k, (begin, end) in enumerate(increments(cfg.sizes)):
            width, part, piece = end - begin, f".mrl_linear_{k}", f".layernorm_{k}"
            shape = width, end
            before, after = torch + "input_layernorm", torch + "post_lru_layernorm"
            place = str(k)
            entries |= {
                **norm(before + piece, width, block, "norm", place),
                **norm(after + piece, width, block, "ffn_norm", place),
                **complex_outputs(lru + "in_proj" + part, *shape, block, "in", place),
                **complex_inputs(lru + "out_proj" + part, *shape, block, "out", place),
                **linear(ffn + "gate" + part, *shape, block, "gate", place),
                **linear(ffn + "w_1" + part, *shape, block, "value", place),
                **linear(ffn + "w_2" + part, *shape, block, "ffn_out", place),
            }
    return entries


def _together(cfg: FMRLRecConfig, apart: Params) -> Params:
    """Parameters as `init` nests them."""

    def vectors(parts, name, side_by_side=1):
        rows = [part[name].reshape(side_by_side, -1) for part in parts]
        return np.concatenate(rows, 1).reshape(-1)

    def kernels(parts):
        return {f"kernel_{k}": part["kernel"] for k, part in enumerate(parts)}

    def block(part):
        part = {
            name: [tree[str(k)] for k in range(len(cfg.sizes))] if "0" in tree else tree
            for name, tree in part.items()
        }
        gate, value = part.pop("gate"), part.pop("value")
        part["ffn_in"] = [
            {key: np.concatenate([g[key], v[key]], -1) for key in g}
            for g, v in zip(gate, value, strict=True)
        ]
        widths = {"in": 2, "out": 1, "ffn_in": 2, "ffn_out": 1}
        joined = {"lru": part["lru"]}
        for name, wide in widths.items():
            bias = {"bias": vectors(part[name], "bias", wide)}
            joined[name] = kernels(part[name]) | bias
        for name in ("norm", "ffn_norm"):
            joined[name] = {key: vectors(part[name], key) for key in ("scale", "bias")}
        return joined

    features = [apart["features"][kind] for kind in _TABLES]
    together = {
        "embedding": apart["embedding"],
        "features": {"table": np.concatenate(features, 1)},
        **{name: block(part) for name, part in apart.items() if "block" in name},
    }
    return jax.tree.map(jnp.asarray, together)


def _apart(cfg: FMRLRecConfig, params: Params) -> Params:
    """The inverse of `_together`, numpy."""
    steps = list(enumerate(increments(cfg.sizes)))

    def vectors(vector, begin, end):
        return vector.reshape(-1, cfg.dim)[:, begin:end].reshape(-1)

    def block(part):
        apart = {"lru": part["lru"]}
        for name in ("norm", "ffn_norm"):
            apart[name] = {
                str(k): {key: leaf[begin:end] for key, leaf in part[name].items()}
                for k, (begin, end) in steps
            }
        for name in ("in", "out", "ffn_in", "ffn_out"):
            apart[name] = {
                str(k): {
                    "kernel": part[name][f"kernel_{k}"],
                    "bias": vectors(part[name]["bias"], *step),
                }
                for k, step in steps
            }
        both = apart.pop("ffn_in")
        for half, name in enumerate(("gate", "value")):
            apart[name] = {
                k: {key: np.split(leaf, 2, -1)[half] for key, leaf in piece.items()}
                for k, piece in both.items()
            }
        return apart

    params = jax.tree.map(np.asarray, params)
    features = np.split(params["features"]["table"], cfg.features[:1], axis=1)
    return {
        "embedding": params["embedding"],
        "features": dict(zip(_TABLES, features, strict=True)),
        **{name: block(part) for name, part in params.items() if "block" in name},
    }


def _check_like(wanted: Params, params: Params) -> None:
    found = dict(jax.tree_util.tree_leaves_with_path(params))
    for path, leaf in jax.tree_util.tree_leaves_with_path(wanted):
        name = "/".join(path_names(path))
        if path not in found:
            raise ValueError(f"params: no {name}")
        if found[path].shape != leaf.shape:
            raise ValueError(f"{name}: want {leaf.shape}, got {found[path].shape}")
