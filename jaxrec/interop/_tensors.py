"""How released tensors become leaves of ours and back, the same for every model.

A model is a table of entries by released name. What every model shares: torch linear
weights are (out, in), our kernels are (in, out); a prefix common to all names
("module.", "model.", "_orig_mod.") is taken off; unknown boolean tensors are buffers
and are left out, any other unknown name is an error.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

Params = dict[str, Any]

TABLE = "embedding.token.weight"  # of every released model but fMRLRec


@dataclasses.dataclass(frozen=True)
class Entry:
    """One torch tensor: its shape and how it becomes leaves of ours and back."""

    shape: tuple[int, ...]
    paths: tuple[tuple[str, ...], ...]
    to_ours: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    to_torch: Callable[..., np.ndarray]
    is_complex: bool = False
    is_table: bool = False


def arrays_of(state: Mapping[str, Any], known: str = TABLE) -> dict[str, np.ndarray]:
    """The arrays of a `state_dict()` by their names without a common prefix.

    Args:
      state: released names to arrays or torch tensors.
      known: name of a matrix that every model of the kind has.

    Raises:
      ValueError: a value that is no array of numbers, no single matrix of that name, or
        a name without the prefix of its.
    """
    prefix = _prefix(state, known)
    arrays = {name: _numpy(name, value) for name, value in state.items()}
    others = [
        name
        for name, value in arrays.items()
        if not name.startswith(prefix) and value.dtype != bool
    ]
    if others:
        raise ValueError(
            f"unknown names: {_listed(others)}, which do not begin with {prefix!r} as "
            f"{prefix}{known} does"
        )
    named = {name.removeprefix(prefix): value for name, value in arrays.items()}
    if named[known].ndim != 2:
        raise ValueError(
            f"{prefix}{known}: want shape (rows, dim), got {named[known].shape}"
        )
    return named


def blocks_in(arrays: Mapping[str, np.ndarray], before: str) -> int:
    """How many different numbers follow `before` in names, at least 1."""
    found = {
        name.removeprefix(before).split(".")[0]
        for name in arrays
        if name.startswith(before)
    }
    return max(len(found), 1)


def to_params(
    arrays: Mapping[str, np.ndarray], entries: Mapping[str, Entry], model: str
) -> Params:
    """Nested float32 parameters from released arrays.

    Raises:
      ValueError: names that are missing or unknown, or an array of another shape or
        kind than `model` has; each is named with what was expected.
    """
    _check(arrays, entries, model)
    params: Params = {}
    for name, entry in entries.items():
        for path, leaf in zip(entry.paths, entry.to_ours(arrays[name]), strict=True):
            place = params
            for part in path[:-1]:
                place = place.setdefault(part, {})
            # A copy: the array may share memory with the caller's tensor.
            place[path[-1]] = jnp.array(leaf, jnp.float32)
    return params


def to_state(params: Params, entries: Mapping[str, Entry]) -> dict[str, np.ndarray]:
    """The inverse: released names to numpy arrays, float32 and complex64.

    Rows of a table beyond what the released model has are cut off.

    Raises:
      ValueError: a parameter is missing or has another shape than the entries say.
    """
    state = {}
    for name, entry in entries.items():
        leaves = []
        for path in entry.paths:
            leaf: Any = params
            for part in path:
                if not isinstance(leaf, Mapping) or part not in leaf:
                    raise ValueError(f"params: no {'/'.join(path)} (for {name})")
                leaf = leaf[part]
            leaf = np.array(leaf, np.float32)
            leaves.append(leaf[: entry.shape[0]] if entry.is_table else leaf)
        wanted = [part.shape for part in entry.to_ours(_probe(entry))]
        for path, leaf, shape in zip(entry.paths, leaves, wanted, strict=True):
            if leaf.shape != shape:
                raise ValueError(f"{'/'.join(path)}: want {shape}, got {leaf.shape}")
        state[name] = np.ascontiguousarray(entry.to_torch(*leaves))
    return state


def vector(shape: tuple[int, ...], *path: str) -> Entry:
    return Entry(shape, (path,), lambda a: (a,), lambda a: a)


def table(shape: tuple[int, ...], *path: str) -> Entry:
    """One row per item, of which ours may have more."""
    return dataclasses.replace(vector(shape, *path), is_table=True)


def unused(shape: tuple[int, ...]) -> Entry:
    """A tensor that reaches no output; going back it is 0."""
    return Entry(shape, (), lambda a: (), lambda: np.zeros(shape, np.float32))


def norm(torch: str, d: int, *path: str) -> dict[str, Entry]:
    return {
        torch + ".weight": vector((d,), *path, "scale"),
        torch + ".bias": vector((d,), *path, "bias"),
    }


def linear(torch: str, out: int, into: int, *path: str) -> dict[str, Entry]:
    return {
        torch + ".weight": Entry(
            (out, into), ((*path, "kernel"),), lambda w: (w.T,), lambda k: k.T
        ),
        torch + ".bias": vector((out,), *path, "bias"),
    }


def lru_logs(torch: str, channels: int, *path: str) -> dict[str, Entry]:
    """The logs of a recurrence, rows there and vectors here."""
    names = ("nu_log", "theta_log", "gamma_log")
    return {
        torch: Entry(
            (3, channels),
            tuple((*path, name) for name in names),
            lambda logs: tuple(logs),
            lambda *rows: np.stack(rows),
        )
    }


def complex_outputs(torch: str, out: int, into: int, *path: str) -> dict[str, Entry]:
    """A complex map of real inputs: [Re W | Im W]."""
    return {
        torch + ".weight": Entry(
            (out, into),
            ((*path, "kernel"),),
            lambda w: (np.concatenate([w.T.real, w.T.imag], 1),),
            lambda k: _joined(*np.split(k.T, 2)),
            is_complex=True,
        ),
        torch + ".bias": Entry(
            (out,),
            ((*path, "bias"),),
            lambda b: (np.concatenate([b.real, b.imag]),),
            lambda b: _joined(*np.split(b, 2)),
            is_complex=True,
        ),
    }


def complex_inputs(torch: str, out: int, into: int, *path: str) -> dict[str, Entry]:
    """The real part of a complex map: [Re W | -Im W], stacked over its inputs.

    The imaginary part of the bias reaches no output; going back it is 0.
    """
    return {
        torch + ".weight": Entry(
            (out, into),
            ((*path, "kernel"),),
            lambda w: (np.concatenate([w.T.real, -w.T.imag]),),
            lambda k: _joined(*np.split(k.T, 2, axis=1)).conj(),
            is_complex=True,
        ),
        torch + ".bias": Entry(
            (out,),
            ((*path, "bias"),),
            lambda b: (b.real,),
            lambda b: _joined(b, np.zeros_like(b)),
            is_complex=True,
        ),
    }


def _joined(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    return (real + 1j * imaginary).astype(np.complex64)


def _probe(entry: Entry) -> np.ndarray:
    """An array of the entry's shape that takes no memory."""
    return np.broadcast_to(np.zeros((), np.complex64), entry.shape)


def _prefix(state: Mapping[str, Any], known: str) -> str:
    for name, value in state.items():
        if isinstance(value, Mapping):
            raise ValueError(
                f"state[{name!r}] is itself a mapping; pass the mapping of parameter "
                "names to arrays (of a released checkpoint: its 'model_state_dict')"
            )
    found = [n.removesuffix(known) for n in state if n.endswith(known)]
    if len(found) != 1 or (found[0] and not found[0].endswith(".")):
        raise ValueError(
            f"want exactly one name that ends in {known!r}, got "
            f"{[n + known for n in found]} among {_listed(state)}"
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


def _check(
    arrays: Mapping[str, np.ndarray], entries: Mapping[str, Entry], model: str
) -> None:
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
        raise ValueError(f"not a released {model}:\n  " + "\n  ".join(problems))


def _listed(names, most: int = 20) -> str:
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
