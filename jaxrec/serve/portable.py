"""A trained model in one file that needs neither its code nor its working directory.

`save` exports what serving runs, with a symbolic number of users, for CPUs, CUDA GPUs
and TPUs; `load` gives the same `Recommender` as the working directory does, from
`jax.export` programs alone: nothing in `jaxrec.models` is imported. The programs, of
which `p` are the arrays under params/ as nested dicts (see `jaxrec.core.export`):

    start()                                       state of one user without history
    step(p, state, ids (b,))                      (state, hidden (b, d))
    prefill_T(p, ids (b, T)), left padded with 0  (state, hidden (b, d))  *
    extend(p, state, ids (b, T)), T the longest   (state, hidden (b, d))
    encode_T(p, ids (b, T)), left padded with 0   hidden (b, T, d)  *
    top_K(p, hidden)                              (scores, ids), each (b, K)
    top_K_seen(p, hidden, seen (b, words))        without those in bit sets
    top_K_exclude(p, hidden, ids (b, n))          without those listed, 0 for none

* of a model with user vectors also users (b,), their numbers, 0 for an unknown one. Raw
ids of the users are then in the file too. Of a model that reads when events were, all
that take ids of events also take, last, times of the same shape, int32, seconds modulo
2^32.
"""

import os
from collections.abc import Sequence

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxrec.core import export
from jaxrec.core.export import Program
from jaxrec.serve.backbone import Backbone
from jaxrec.serve.ids import ItemIds, UserIds
from jaxrec.serve.recommender import Recommender
from jaxrec.serve.seen import BitSet

_LARGEST_ANSWER = 1000
_SCORES = 2**24  # held at one time, 64 MiB of float32


def save(
    path: str | os.PathLike[str],
    backbone: Backbone,
    ids: ItemIds,
    platforms: Sequence[str] = export.PLATFORMS,
    users: UserIds | None = None,
) -> None:
    """Writes a backbone and its item ids as a portable file.

    Args:
        path: File to write.
        backbone: The model.
        ids: Raw ids of its items.
        platforms: What it is to run on, of "cpu", "cuda" and "tpu".
        users: Raw ids of its users, of a model with user vectors.

    Raises:
        ValueError: An unknown platform, or a backbone that was itself read from a
            portable file.
    """
    if backbone.on_platform is None:
        raise ValueError("this model was read from a portable file: copy that file")
    sizes = [k for k in backbone.ks if k <= _LARGEST_ANSWER]
    programs = _searches(backbone, sizes, platforms)
    others = [platform for platform in platforms if platform != "cpu"]
    for group in (["cpu"] if "cpu" in platforms else [], others):
        if group:
            programs += _model(backbone.on_platform(group[0]), group)
    arrays = export.flat(backbone.params, "params") | {"ids/item_ids": ids.array}
    if ids.titles_array is not None:
        arrays["ids/titles"] = ids.titles_array
    if users is not None:
        arrays["ids/user_ids"] = users.array
        arrays["ids/user_numbers"] = users.numbers_array
    about = {
        "items": backbone.items,
        "lengths": backbone.lengths,
        "ks": sizes,
        "window": backbone.window,
        "users": backbone.users,
        "times": backbone.times,
    }
    export.save(path, programs, arrays, about)


def load(
    path: str | os.PathLike[str],
    *,
    seen_capacity: int | None = None,
    on_unknown: str = "skip",
) -> Recommender:
    """The recommender in a portable file, for the platform this process runs on.

    Args:
        path: The file.
        seen_capacity: See `Recommender`.
        on_unknown: See `Recommender`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or holds nothing for this platform.
    """
    read = export.load(path)
    call, about = read.functions, read.manifest

    def search(params, hidden, k, exclude=None, seen=None):
        if exclude is not None:
            form, given = f"top_{k}_exclude", (hidden, exclude)
        elif seen is not None:
            form, given = f"top_{k}_seen", (hidden, seen)
        else:
            form, given = f"top_{k}", (hidden,)
        rows = max(1, _SCORES // about["items"])
        return _in_parts(lambda *part: call[form](params, *part), rows, given)

    backbone = Backbone(
        items=about["items"],
        params=jax.tree.map(jnp.asarray, export.nested(read.arrays, "params")),
        begin=jax.tree.map(np.asarray, call["start"]()),
        step=call["step"],
        prefill=lambda params, ids, *others: call[f"prefill_{ids.shape[1]}"](
            params, ids, *others
        ),
        extend=call["extend"],
        encode=lambda params, ids, *others: call[f"encode_{ids.shape[1]}"](
            params, ids, *others
        ),
        search=search,
        lengths=tuple(about["lengths"]),
        ks=tuple(about["ks"]),
        window=about.get("window"),  # None in files of before there were windows
        users=about.get("users", 0),  # likewise of before there were users
        times=about.get("times", False),
    )
    ids = ItemIds(read.arrays["ids/item_ids"], read.arrays.get("ids/titles"))
    users = None
    if backbone.users:
        users = UserIds(read.arrays["ids/user_ids"], read.arrays["ids/user_numbers"])
    return Recommender(
        backbone, ids, users, seen_capacity=seen_capacity, on_unknown=on_unknown
    )


def _model(backbone: Backbone, platforms: Sequence[str]) -> list[Program]:
    """Programs of the model proper."""
    params = _shapes(backbone.params)
    (users,) = jax.export.symbolic_shape("b")
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((users, *leaf.shape[1:]), leaf.dtype),
        backbone.begin,
    )

    def ids(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    def events(*shape):
        return (ids(*shape), ids(*shape)) if backbone.times else (ids(*shape),)

    begin, longest = backbone.begin, backbone.lengths[-1]
    more = (params, state, *events(users, longest))
    programs = [
        Program("start", lambda: jax.tree.map(jnp.asarray, begin), (), platforms),
        Program("step", backbone.step, (params, state, *events(users)), platforms),
        Program("extend", backbone.extend, more, platforms),
    ]
    for length in backbone.lengths:
        own, *times = events(users, length)
        whose = (ids(users),) if backbone.users else ()
        given = (params, own, *whose, *times)
        programs.append(
            Program(f"prefill_{length}", backbone.prefill, given, platforms)
        )
        programs.append(Program(f"encode_{length}", backbone.encode, given, platforms))
    return programs


def _searches(
    backbone: Backbone, sizes: Sequence[int], platforms: Sequence[str]
) -> list[Program]:
    """Programs of the search, the same on every platform."""
    params = _shapes(backbone.params)
    users, listed = jax.export.symbolic_shape("b, n")
    words = BitSet(backbone.items).words
    hidden = _hidden(backbone, users)
    seen = jax.ShapeDtypeStruct((users, words), jnp.uint32)
    exclude = jax.ShapeDtypeStruct((users, listed), jnp.int32)
    programs = []
    for k in sizes:

        def top(params, hidden, k=k):
            return backbone.search(params, hidden, k)

        def top_seen(params, hidden, seen, k=k):
            return backbone.search(params, hidden, k, seen=seen)

        def top_exclude(params, hidden, exclude, k=k):
            return backbone.search(params, hidden, k, exclude)

        programs += [
            Program(f"top_{k}", top, (params, hidden), platforms),
            Program(f"top_{k}_seen", top_seen, (params, hidden, seen), platforms),
            Program(
                f"top_{k}_exclude", top_exclude, (params, hidden, exclude), platforms
            ),
        ]
    return programs


def _hidden(backbone: Backbone, users) -> jax.ShapeDtypeStruct:
    """Shape of the outputs of `users` users."""
    ids = jax.ShapeDtypeStruct((1,), jnp.int32)
    event = (ids, ids) if backbone.times else (ids,)
    _, one = jax.eval_shape(backbone.step, backbone.params, backbone.begin, *event)
    return jax.ShapeDtypeStruct((users, *one.shape[1:]), one.dtype)


def _shapes(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def _in_parts(function, rows: int, given):
    """Calls a function of arrays (b, ...) on at most `rows` rows at a time."""
    users = given[0].shape[0]
    if users <= rows:
        return function(*given)
    parts = -(-users // rows)
    padding = parts * rows - users

    def split(array):
        array = jnp.pad(array, ((0, padding), (0, 0)))
        return array.reshape(parts, rows, *array.shape[1:])

    found = jax.lax.map(lambda part: function(*part), tuple(map(split, given)))
    return tuple(array.reshape(-1, array.shape[-1])[:users] for array in found)
