"""One file per architecture: a frozen config and pure functions.

What every backbone module has, and all that training, evaluation and serving ask for:

    init(key, cfg) -> params                       plain nested dict of float32 arrays
    encode(params, cfg, ids) -> hidden             ids (b, t), hidden (b, t, d)
    score(params, cfg, hidden) -> scores           (..., items + 1)
    head(params, cfg) -> (table, bias)             scores = hidden . table + bias
    start(cfg, batch) -> state                     of users without history
    step(params, cfg, state, ids) -> (state, hidden)          ids (b,), hidden (b, d)
    prefill(params, cfg, ids) -> (state, hidden)   ids (b, t) left padded with 0

A state is a pytree whose leaves all have the batch as their first axis.

A backbone `x` may have a companion `x_serving` with the same functions over parameters
from which everything that no request changes is computed beforehand:

    fold(params, cfg) -> folded
    extend(folded, cfg, state, ids) -> (state, hidden)        as prefill, from a state
    for_platform(cfg, platform) -> cfg             for exported programs
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from jaxrec.core.config import dataclass_from, nearest

_COMPANION = "_serving"


def names() -> list[str]:
    """Names of the backbones, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(
        name for name in found if not name.startswith("_") and _COMPANION not in name
    )


def model_module(name: str) -> ModuleType:
    """The module of the backbone called `name`.

    Raises:
        ValueError: There is none; the message names the nearest.
    """
    known = names()
    if name not in known:
        raise ValueError(
            f"model.name: unknown backbone {name!r}; did you mean "
            f"{nearest(str(name), known)!r}? Known: {', '.join(known)}"
        )
    return importlib.import_module(f"{__name__}.{name}")


def serving_module(name: str) -> ModuleType | None:
    """The serving companion of a backbone, or None if it has none."""
    model_module(name)
    try:
        return importlib.import_module(f"{__name__}.{name}{_COMPANION}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}{_COMPANION}":
            raise
        return None


def config_from(name: str, mapping: Mapping[str, Any], items: int) -> Any:
    """The frozen config of a backbone.

    Args:
        name: Name of the backbone.
        mapping: Values by field; the key "name" is ignored.
        items: Catalogue size, which is a fact of the data and no setting.

    Raises:
        ValueError: Unknown backbone, a key that is no field (the nearest is named), a
            value of the wrong type, or `items` in the mapping.
    """
    cls = _config_class(model_module(name))
    values = {key: mapping[key] for key in mapping if key != "name"}
    if "items" in values:
        raise ValueError(
            f"config.model.items: {values['items']!r} is not a setting; the data have "
            f"{items} items"
        )
    return dataclass_from(cls, {**values, "items": items}, "config.model")


def _config_class(module: ModuleType) -> type:
    """The one public dataclass of a backbone module."""
    classes = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and dataclasses.is_dataclass(value)
        and value.__module__ == module.__name__
        and key.endswith("Config")
    ]
    if len(classes) != 1:
        raise TypeError(
            f"{module.__name__} must define one dataclass ...Config, has {classes}"
        )
    return classes[0]
