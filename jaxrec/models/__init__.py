"""One file per architecture: a frozen config and pure functions.

What every backbone module has, and all that training, evaluation and serving ask for:

    init(key, cfg) -> params                       plain nested dict of float32 arrays
    encode(params, cfg, ids) -> hidden             ids (b, t), hidden (b, t, d)
    score(params, cfg, hidden) -> scores           (..., items + 1)
    head(params, cfg) -> (table, bias)             scores = hidden . table + bias
    start(cfg, batch) -> state                     of users without history
    step(params, cfg, state, ids) -> (state, hidden)          ids (b,), hidden (b, d)
    prefill(params, cfg, ids) -> (state, hidden)   ids (b, t) left padded with 0
    decayed(path) -> bool                          whether weight decay applies

A state is a pytree whose leaves all have the batch as their first axis. `encode` also
takes `segments` (b, t) of packed rows and dropout `keys` (b,); the config's rates have
names that begin with "dropout". The item table is at embedding/table in the parameters;
of a model that makes it from something else `head` alone has it.

What a backbone has where it applies:

    extend(params, cfg, state, ids) -> (state, hidden)        as prefill, from a state
    window(cfg) -> int         how many of the last events an output depends on
    mask_token(cfg) -> int or None     the id that stands for an item to be predicted,
                               of a model that sees what comes after a position;
                               `encode` then takes `at` (b, m), the slots wanted, and
                               `prefill` predicts what follows the history
    attention(params, cfg, ids, *, segments=None) -> weights  (blocks, b, h, t, t)
                               float32, for analyses: what each block multiplies values
                               with, without dropout; exactly 0 where a key is not seen
                               (the same in every block) and only there. Rows sum to 1,
                               unless the module says POINTWISE = True: SiLU of scores.
                               Heads that are no attention are left out
    impulse(params, cfg, length) -> (blocks, length)          how much of an input is in
                               the recurrence's output so many events later
    config field "length"      positions of a sequence, given by the batches of a run
    config field "users"       how many users have a vector, 0 for none; a fact of the
                               data, that a run asks for by true. `encode` then takes
                               `users` (b, t), `start` and `prefill` take `users` (b,),
                               numbers 1..users and 0 for an unknown user
    frozen(path) -> bool       whether training leaves the parameter at a path as it is
    loss_sizes(cfg) -> ((size, weight), ...)      the widths that models are cut out at:
                               training sums the loss over them, each of the scores of
                               the first so many coordinates of outputs and table
    for_step(params, cfg, key) -> params       what a training step uses in place of the
                               parameters, such as some of them left out at random
    truncate(params, cfg, size) -> (cfg, params)              the model of one of them
    with_features(params, cfg, tables) -> params              items made of features:
                               (items, dim) per modality, as wide as the config field
                               "features" says, which is a fact of the data. Drawn
                               parameters have random ones
    config field "times"       whether the model reads when events were. `encode` and
                               `attention` then take `times` (b, t, 2), of the event in
                               each slot and of the next one; `prefill` and `extend`
                               take `times` (b, t), and `step` (b,): int32 as in
                               `jaxrec.data.times`

A backbone `x` may have a companion `x_serving` with the same functions over parameters
from which everything that no request changes is computed beforehand:

    fold(params, cfg) -> folded      of a model with `loss_sizes`, folded["items"]
                               (items + 1, d) is the table of `head`
    vectors(folded, cfg, features) -> (n, d)       of a model with the config field
                               "features" (dimensions per modality): item vectors of
                               features (n, sum of dims); such items have bias 0
    for_platform(cfg, platform) -> cfg             for exported programs
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from jaxrec.core.config import dataclass_from, unknown
from jaxrec.core.dropout import is_off

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
        raise ValueError(unknown("model.name", name, known))
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


def config_fields(name: str) -> set[str]:
    """Names of the fields of a backbone's config."""
    return {
        field.name for field in dataclasses.fields(_config_class(model_module(name)))
    }


def config_of_run(
    config: Mapping[str, Any],
    items: int,
    users: int = 0,
    features: tuple[int, ...] = (),
) -> Any:
    """The frozen config of the backbone of a run, from the run's whole configuration.

    Args:
        config: Its section "model" has the name and the fields; other sections decide
            what is no setting of the model: batch.length the positions, parallel.model
            over how many devices the table is split. "users" there is true or false:
            whether every user has a vector.
        items: Catalogue size.
        users: Number of users of the data, which is asked for where that is true.
        features: Dimensions of the features of the items, of a model that has them.

    Raises:
        ValueError: As `config_from`, or a field in "model" that is decided elsewhere.
    """
    fields = dict(config["model"])
    cls = _config_class(model_module(fields["name"]))
    if (config.get("parallel") or {}).get("model", 1) > 1:
        fields["table_multiple"] = config["parallel"]["model"]
    known = {field.name for field in dataclasses.fields(cls)}
    if "length" in known:
        if "length" in fields:
            raise ValueError(
                f"config.model.length: {fields['length']!r} is not a setting; it is "
                "that of the batches, config.batch.length"
            )
        if "length" not in (config.get("batch") or {}):
            raise ValueError("config.batch.length is missing")
        fields["length"] = config["batch"]["length"]
    if "users" in known and "users" in fields:
        if not isinstance(fields["users"], bool):
            raise ValueError(
                f"config.model.users: want true or false, got {fields['users']!r}; how "
                f"many users there are is a fact of the data ({users})"
            )
        if fields["users"] and not users:
            raise ValueError("config.model.users: true, but no users are known")
        fields["users"] = users if fields["users"] else 0
    if "features" in known:
        if "features" in fields:
            raise ValueError(
                f"config.model.features: {fields['features']!r} is not a setting; the "
                "features are those of the section config.features"
            )
        fields["features"] = features
    return config_from(fields["name"], fields, items)


def drops(cfg: Any) -> bool:
    """Whether training draws dropout masks: some rate of the config is not 0."""
    names = (field.name for field in dataclasses.fields(cfg))
    rates = [getattr(cfg, name) for name in names if name.startswith("dropout")]
    return not all(map(is_off, rates))


def window_of(module: Any, cfg: Any) -> int | None:
    """How many of the last events an output depends on; None if there is no limit."""
    return module.window(cfg) if hasattr(module, "window") else None


def users_of(cfg: Any) -> int:
    """How many users have a vector, 0 for a model without user vectors."""
    return getattr(cfg, "users", 0)


def frozen_of(module: Any, path: tuple[str, ...]) -> bool:
    """Whether training leaves the parameter of a backbone at `path` as it is."""
    return hasattr(module, "frozen") and module.frozen(path)


def loss_sizes_of(module: Any, cfg: Any) -> tuple[tuple[int, float], ...]:
    """The widths that the loss is summed over; () for the loss of the outputs alone."""
    return module.loss_sizes(cfg) if hasattr(module, "loss_sizes") else ()


def times_of(cfg: Any) -> bool:
    """Whether the model reads when events were."""
    return getattr(cfg, "times", False)


def features_of(cfg: Any) -> tuple[int, ...]:
    """Dimensions of the items' features, one per modality; () for a model of ids."""
    return getattr(cfg, "features", ())


def mask_token_of(module: Any, cfg: Any) -> int | None:
    """The mask token of a backbone; None if no position sees a later one."""
    return module.mask_token(cfg) if hasattr(module, "mask_token") else None


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
