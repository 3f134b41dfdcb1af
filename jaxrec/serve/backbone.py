"""A trained model as the server sees it: a few functions over one set of parameters.

The functions come either from a module in `jaxrec.models` (`from_model`) or from a file
with exported programs (`jaxrec.serve.portable`); nothing else in `jaxrec.serve` knows
which, nor what the state of a model is made of.
"""

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.core.row_blocks import CACHED_POSITIONS, blocks_for, map_blocks
from jaxrec.core.time_bias import with_next
from jaxrec.retrieval.funnel import FunnelIndex, funnel_search
from jaxrec.retrieval.topk import Index, make_index, search

LENGTHS = (16, 64, 256)


@dataclasses.dataclass(frozen=True)
class Backbone:
    """Functions of one trained model.

    A state is a pytree whose leaves all have the batch as their first axis.

    What is `users` below is given to models with user vectors only: numbers (b,) int32,
    0 for an unknown user. `times` are given, as the last argument, to models that read
    when events were: int32 as in `jaxrec.data.times`, of the shape of the ids.

    Attributes:
        items: Catalogue size, without `room`.
        params: Pytree of arrays, the first argument of every function.
        begin: State of one (unknown) user without history (batch 1), numpy.
        step: (params, state, ids (b,), times) -> (state, hidden (b, d)).
        prefill: (params, ids (b, t), users, times) -> (state, hidden (b, d)), ids left
            padded with 0, t one of `lengths`.
        extend: (params, state, ids (b, t), times) -> (state, hidden (b, d)), ids
            without padding, t the last of `lengths`.
        encode: (params, ids (b, t), users, times) -> hidden (b, t, d), as for
            `prefill`.
        search: (params, hidden, k, exclude, seen) -> (scores, ids), see
            `jaxrec.retrieval.topk.search`; k is one of `ks`.
        lengths: Lengths of history that programs are made for, ascending.
        ks: Sizes of answer that programs are made for, ascending.
        window: How many of the last events an output depends on; None if all count.
        users: How many users have a vector; 0 for a model without user vectors.
        times: Whether the model reads when events were.
        sizes: Widths, ascending, of the models that are inside a nested one; () for a
            model that is not nested or has no funnel.
        narrow: (params, dims) -> what `funnel` asks for of a width in `sizes`.
        funnel: (params, narrow, hidden, k, shortlist, exclude, seen) -> (scores, ids),
            see `jaxrec.retrieval.funnel.funnel_search`.
        room: How many items `add` may add; their rows are there and never win.
        features: Dimensions of the features of items, one per modality; () if vectors
            are not made of features.
        add: (params, numbers (n,), features (n, sum of dims)) -> {"head": ...}, what of
            the params is new when items of these numbers are written; numbers beyond
            the room are left out. None without room.
        on_platform: Platform -> the same backbone in the forms that are exported to
            that platform; None if it was itself read from an exported file.
    """

    items: int
    params: Any
    begin: Any
    step: Callable[..., Any]
    prefill: Callable[..., Any]
    extend: Callable[..., Any]
    encode: Callable[..., Any]
    search: Callable[..., Any]
    lengths: tuple[int, ...]
    ks: tuple[int, ...]
    window: int | None = None
    users: int = 0
    times: bool = False
    sizes: tuple[int, ...] = ()
    narrow: Callable[..., Any] | None = None
    funnel: Callable[..., Any] | None = None
    room: int = 0
    features: tuple[int, ...] = ()
    add: Callable[..., Any] | None = None
    on_platform: Callable[[str], "Backbone"] | None = None


def from_model(
    module: ModuleType,
    cfg: Any,
    params: Any,
    *,
    serving: ModuleType | None = None,
    lengths: tuple[int, ...] = LENGTHS,
    room: int = 0,
    prior: np.ndarray | None = None,
) -> Backbone:
    """The functions of a backbone module.

    Args:
        module: A module as `jaxrec.models` describes.
        cfg: Its config.
        params: Its trained parameters.
        serving: Its serving companion, if it has one.
        lengths: Lengths of history that programs are made for; none is longer than
            the model's window.
        room: How many items may be added.
        prior: (items + 1,) float32 added to all scores, None for nothing.

    Raises:
        ValueError: Room in a model that makes no item vectors of features.
    """
    # Not above: portable files need no models.
    from jaxrec.models import (
        features_of,
        loss_sizes_of,
        times_of,
        users_of,
        window_of,
    )

    features = features_of(cfg)
    if room and (not features or not hasattr(serving, "vectors")):
        raise ValueError(
            "room: this model makes no item vectors of features, so a new item has "
            "none; want fmrlrec with model.features (a model that was cut or tabulated "
            "without its features has lost them: cut it with its features kept)"
        )
    table, bias = module.head(params, cfg)
    rows = cfg.items + 1  # Tables may be rounded up.
    bias = bias[:rows] if prior is None else bias[:rows] + prior
    head = jax.jit(_head, static_argnums=2)(table[:rows], bias, room)
    sizes = ()
    if serving is not None:
        params = jax.jit(serving.fold, static_argnums=1)(params, cfg)
        sizes = tuple(size for size, _ in loss_sizes_of(module, cfg))
        if not room:
            params.pop("projection", None)
    if sizes:  # A table of a million items is not kept twice.
        head["items"] = jnp.pad(params.pop("items"), ((0, room), (0, 0)))

    def add(params, numbers, features):
        new = serving.vectors(params["model"], cfg, features)
        return {"head": _written(params["head"], numbers, new)}

    used = serving or module
    window = window_of(module, cfg)
    if window is not None:
        lengths = {min(length, window) for length in lengths}

    def on_platform(platform: str) -> Backbone:
        if serving is None:
            return backbone
        form = serving.for_platform(cfg, platform)
        return dataclasses.replace(backbone, **_functions(serving, form))

    backbone = Backbone(
        items=cfg.items,
        params={"model": params, "head": head},
        begin=jax.tree.map(np.asarray, used.start(cfg, 1)),
        search=search_head,
        lengths=tuple(sorted(lengths)),
        ks=answer_sizes(cfg.items + room),
        window=window,
        users=users_of(cfg),
        times=times_of(cfg),
        sizes=sizes,
        narrow=narrow_head,
        funnel=funnel_head,
        room=room,
        features=features,
        add=add if room else None,
        on_platform=on_platform,
        **_functions(used, cfg),
    )
    return backbone


def _functions(module: ModuleType, cfg: Any) -> dict[str, Callable[..., Any]]:
    from jaxrec.models import times_of, users_of

    when = ("times",) if times_of(cfg) else ()
    others = ("users", *when) if users_of(cfg) else when

    def model(params):
        if "items" not in params["head"]:
            return params["model"]
        return params["model"] | {"items": params["head"]["items"]}

    def named(names, given):
        return dict(zip(names, given, strict=False))  # Users may be left out.

    def in_blocks(function, ids, *others):
        rows, length = ids.shape
        exported = not isinstance(rows, int)  # for any number of rows
        if exported or jax.default_backend() != "cpu":
            return function(ids, *others)
        blocks = blocks_for(rows, length, CACHED_POSITIONS)
        return map_blocks(function, blocks, ids, *others)

    def step(params, state, ids, *times):
        return module.step(model(params), cfg, state, ids, **named(when, times))

    def prefill(params, ids, *given):
        def filled(ids, *given):
            return module.prefill(model(params), cfg, ids, **named(others, given))

        return in_blocks(filled, ids, *given)

    def extend(params, state, ids, *times):
        if hasattr(module, "extend"):

            def extended(ids, state, *times):
                named_times = named(when, times)
                return module.extend(model(params), cfg, state, ids, **named_times)

            return in_blocks(extended, ids, state, *times)
        state, hidden = jax.lax.scan(
            lambda state, column: step(params, state, column), state, ids.T
        )
        return state, hidden[-1]

    def encode(params, ids, *given):
        given = named(others, given)
        if "users" in given:
            given["users"] = given["users"][:, None] + 0 * ids
        if "times" in given:
            given["times"] = with_next(given["times"])
        return module.encode(model(params), cfg, ids, **given)

    return {"step": step, "prefill": prefill, "extend": extend, "encode": encode}


def _head(table, bias, room):
    """The index of a table with empty rows behind it."""
    table = jnp.pad(table, ((0, room), (0, 0)))
    bias = jnp.pad(bias, (0, room), constant_values=-jnp.inf)
    return make_index(table, bias)._asdict()


def _written(head, numbers, vectors):
    """The head with item vectors (n, d) at numbers (n,), of bias 0."""
    return {
        "bias": head["bias"].at[numbers].set(0, mode="drop"),
        "columns": head["columns"].at[:, numbers].set(vectors.T, mode="drop"),
        "items": head["items"].at[numbers].set(vectors, mode="drop"),
    }


def search_head(params, hidden, k, exclude=None, seen=None):
    """The search over the item vectors in `params`."""
    index = Index(params["head"]["columns"], params["head"]["bias"])
    return search(index, hidden, k, exclude, seen=seen)


def narrow_head(params, dims):
    """The first coordinates of the item vectors in `params`, as columns."""
    return params["head"]["columns"][:dims]


def funnel_head(params, narrow, hidden, k, shortlist, exclude=None, seen=None):
    """The funnel search over the item vectors in `params`, of a nested model."""
    index = FunnelIndex(narrow, params["head"]["items"], params["head"]["bias"])
    return funnel_search(index, hidden, k, shortlist, exclude, seen=seen)


def answer_sizes(items: int) -> tuple[int, ...]:
    """Powers of ten below the catalogue size, and the catalogue size itself."""
    sizes = [10]
    while sizes[-1] < items:
        sizes.append(sizes[-1] * 10)
    return (*(size for size in sizes if size < items), items)
