"""Weights of released PyTorch models, moved in and out.

LRURec: Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024,
released code yueqirex/LRURec. What differs between its parameters and ours:

* torch linear weights are (out, in), our kernels are (in, out);
* complex weights become two real halves side by side. For the input map they are
  [Re W | Im W]; for the output map [Re W | -Im W] stacked over its inputs, because
  only Re(W h) is used;
* the rows of `params_log` become three vectors;
* the imaginary part of `out_proj.bias` reaches no output and is dropped; going back it
  is 0.

Gradients and AdamW moments agree too: torch keeps them per real and imaginary part,
with the gradient of a complex parameter being dL/dRe + i dL/dIm.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrec.models.lru import LRUConfig, Params

_TABLE = "embedding.token.weight"
_BLOCK = "model.lru_blocks."


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One torch tensor: its shape and how it becomes leaves of ours and back."""

    shape: tuple[int, ...]
    paths: tuple[tuple[str, ...], ...]
    to_ours: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    to_torch: Callable[..., np.ndarray]
    is_complex: bool = False


def lrurec_from_torch(
    state: Mapping[str, Any], *, dropout: float = 0.2, dropout_lru: float = 0.2
) -> tuple[LRUConfig, Params]:
    """Our configuration and parameters from a `state_dict()` of the released LRURec.

    Args:
      state: released parameter names to arrays or torch tensors; `in_proj` and
        `out_proj` are complex, everything else is real. A prefix common to all names
        ("module.", "model.", "_orig_mod.") is taken off; unknown boolean tensors
        (buffers) are left out.
      dropout: rate to train on with; it is not part of the weights.
      dropout_lru: rate on the output of the recurrence, likewise.

    Returns:
      `(cfg, params)`: float32 arrays, nested as `jaxrec.models.lru.init` nests them.

    Raises:
      ValueError: names that are missing or unknown, or an array of another shape or
        kind than the released model of this width, depth and catalogue has; each is
        named with what was expected.
    """
    prefix = _prefix(state)
    arrays = {name: _numpy(name, value) for name, value in state.items()}
    table = arrays[prefix + _TABLE]
    if table.ndim != 2:
        raise ValueError(
            f"{prefix}{_TABLE}: want shape (items + 1, dim), got {table.shape}"
        )
    indices = {
        name.removeprefix(prefix + _BLOCK).split(".")[0]
        for name in arrays
        if name.startswith(prefix + _BLOCK)
    }
    cfg = LRUConfig(
        items=table.shape[0] - 1,
        dim=table.shape[1],
        blocks=max(len(indices), 1),
        dropout=dropout,
        dropout_lru=dropout_lru,
    )
    entries = {prefix + name: entry for name, entry in _entries(cfg).items()}
    _check(arrays, entries)
    params: Params = {}
    for name, entry in entries.items():
        for path, leaf in zip(entry.paths, entry.to_ours(arrays[name]), strict=True):
            place = params
            for part in path[:-1]:
                place = place.setdefault(part, {})
            # A copy: the array may share memory with the caller's tensor.
            place[path[-1]] = jnp.array(leaf, jnp.float32)
    return cfg, params


def lrurec_to_torch(cfg: LRUConfig, params: Params) -> dict[str, np.ndarray]:
    """The inverse: released names to numpy arrays, float32 and complex64.

    With `torch.from_numpy` on each array the result is what `load_state_dict` of the
    released model takes.

    Raises:
      ValueError: a parameter is missing or has another shape than `cfg` says.
    """
    state = {}
    for name, entry in _entries(cfg).items():
        leaves = []
        for path in entry.paths:
            leaf: Any = params
            for part in path:
                if not isinstance(leaf, Mapping) or part not in leaf:
                    raise ValueError(f"params: no {'/'.join(path)} (for {name})")
                leaf = leaf[part]
            leaves.append(np.array(leaf, np.float32))
        if cfg.rows != cfg.items + 1 and name in (_TABLE, "model.bias"):
            leaves = [
                leaf[: cfg.items + 1] for leaf in leaves
            ]  # rows past the catalogue
        wanted = [part.shape for part in entry.to_ours(_probe(entry))]
        for path, leaf, shape in zip(entry.paths, leaves, wanted, strict=True):
            if leaf.shape != shape:
                raise ValueError(f"{'/'.join(path)}: want {shape}, got {leaf.shape}")
        state[name] = np.ascontiguousarray(entry.to_torch(*leaves))
    return state


def _probe(entry: _Entry) -> np.ndarray:
    """An array of the entry's shape that takes no memory."""
    return np.broadcast_to(np.zeros((), np.complex64), entry.shape)


def _prefix(state: Mapping[str, Any]) -> str:
    for name, value in state.items():
        if isinstance(value, Mapping):
            raise ValueError(
                f"state[{name!r}] is itself a mapping; pass the mapping of parameter "
                "names to arrays (of a released checkpoint: its 'model_state_dict')"
            )
    found = [n.removesuffix(_TABLE) for n in state if n.endswith(_TABLE)]
    if len(found) != 1 or (found[0] and not found[0].endswith(".")):
        raise ValueError(
            f"want exactly one name that ends in {_TABLE!r}, got "
            f"{[n + _TABLE for n in found]} among {_listed(state)}"
        )
    return found[0]


def _numpy(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # numpy has no such dtype
            value = value.float()
        value = value.numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "fcbiu":
        raise ValueError(f"{name}: want an array of numbers, got dtype {array.dtype}")
    return array


def _check(arrays: Mapping[str, np.ndarray], entries: Mapping[str, _Entry]) -> None:
    problems = []
    for name, entry in entries.items():
        kind = "complex" if entry.is_complex else "real"
        if name not in arrays:
            problems.append(f"missing {name}, want {kind} {entry.shape}")
            continue
        array = arrays[name]
        got = "complex" if array.dtype.kind == "c" else "real"
        if array.shape != entry.shape or got != kind:
            problems.append(
                f"{name}: want {kind} {entry.shape}, got {got} {array.shape}"
            )
    extra = [n for n, a in arrays.items() if n not in entries and a.dtype != bool]
    if extra:
        problems.append(f"unknown names: {_listed(extra)}")
    if problems:
        raise ValueError("not a released LRURec:\n  " + "\n  ".join(problems))


def _listed(names, most: int = 20) -> str:
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _entries(cfg: LRUConfig) -> dict[str, _Entry]:
    d, h = cfg.dim, cfg.channels
    entries = {
        _TABLE: _vector((cfg.items + 1, d), "embedding", "table"),
        "model.bias": _vector((cfg.items + 1,), "item_bias"),
        **_norm("embedding.layer_norm", d, "embedding", "norm"),
    }
    for i in range(cfg.blocks):
        block, torch = f"block_{i}", f"{_BLOCK}{i}."
        lru, ffn = torch + "lru_layer.", torch + "feed_forward."
        entries |= {
            lru + "params_log": _Entry(
                (3, h),
                tuple(
                    (block, "lru", row) for row in ("nu_log", "theta_log", "gamma_log")
                ),
                lambda logs: tuple(logs),
                lambda *rows: np.stack(rows),
            ),
            lru + "in_proj.weight": _Entry(
                (h, d),
                ((block, "in", "kernel"),),
                lambda w: (np.concatenate([w.T.real, w.T.imag], 1),),
                lambda k: _joined(*np.split(k.T, 2)),
                is_complex=True,
            ),
            lru + "in_proj.bias": _Entry(
                (h,),
                ((block, "in", "bias"),),
                lambda b: (np.concatenate([b.real, b.imag]),),
                lambda b: _joined(*np.split(b, 2)),
                is_complex=True,
            ),
            lru + "out_proj.weight": _Entry(
                (d, h),
                ((block, "out", "kernel"),),
                lambda w: (np.concatenate([w.T.real, -w.T.imag]),),
                lambda k: _joined(*np.split(k.T, 2, axis=1)).conj(),
                is_complex=True,
            ),
            lru + "out_proj.bias": _Entry(
                (d,),
                ((block, "out", "bias"),),
                lambda b: (b.real,),
                lambda b: _joined(b, np.zeros_like(b)),
                is_complex=True,
            ),
            **_norm(lru + "layer_norm", d, block, "norm"),
            **_linear(ffn + "w_1", 4 * d, d, block, "ffn_in"),
            **_linear(ffn + "w_2", d, 4 * d, block, "ffn_out"),
            **_norm(ffn + "layer_norm", d, block, "ffn_norm"),
        }
    return entries


def _joined(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    return (real + 1j * imaginary).astype(np.complex64)


def _vector(shape: tuple[int, ...], *path: str) -> _Entry:
    return _Entry(shape, (path,), lambda a: (a,), lambda a: a)


def _norm(torch: str, d: int, *path: str) -> dict[str, _Entry]:
    return {
        torch + ".weight": _vector((d,), *path, "scale"),
        torch + ".bias": _vector((d,), *path, "bias"),
    }


def _linear(torch: str, out: int, into: int, *path: str) -> dict[str, _Entry]:
    return {
        torch + ".weight": _Entry(
            (out, into), ((*path, "kernel"),), lambda w: (w.T,), lambda k: k.T
        ),
        torch + ".bias": _vector((out,), *path, "bias"),
    }
