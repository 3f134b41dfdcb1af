"""From a configuration mapping to frozen dataclasses, and back to a file.

Configurations are `ml_collections.ConfigDict`s (any mapping does). Code takes frozen
dataclasses: `dataclass_from` makes one and refuses a key that it does not have, so a
misspelt key never passes unread.
"""

import dataclasses
import difflib
import json
import os
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

CONFIG_FILE = "config.json"
_ALIKE = 0.5  # similarity from which a name is worth naming


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """Returns an error sentence: the nearest of the known names, if any, and all."""
    known = list(known)
    near = did_you_mean(str(name), known)
    return f"{what} {name!r} is unknown{near} Accepted: {', '.join(known)}"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Returns the end of an error sentence: "; did you mean 'x'?", or "."."""
    near = nearest(name, names)
    return f"; did you mean {near!r}?" if near else "."


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns the one of `names` that is most like `name`, "" if none is like it."""
    near = max(sorted(names), key=lambda known: similarity(name, known), default="")
    return near if similarity(name, near) >= _ALIKE else ""


def similarity(name: str, known: str) -> float:
    """Returns how alike two names are, in [0, 1].

    An abbreviation is like what it stands for: ``lr`` like ``learning_rate``.
    """
    ratio = difflib.SequenceMatcher(None, name, known).ratio()
    short, long = sorted((name, known), key=len)
    letters = iter(long)
    in_order = all(letter in letters for letter in short)
    abbreviated = in_order and len(short) > 1 and short[0] == long[0]
    return max(ratio, 0.75 * abbreviated)


def dataclass_from(cls: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """Builds a (frozen) dataclass from a mapping.

    Lists become tuples, integers become floats where a float is wanted, and nested
    mappings become the dataclass that the field is declared as.

    Args:
        cls: A dataclass.
        mapping: Values by field name; fields with a default may be absent.
        where: The mapping's place in the configuration, such as "config.model".

    Raises:
        ValueError: If a key is no field (the nearest field is named), a field without
            default is absent, or a value has the wrong type.
    """
    where = where or cls.__name__
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    declared = typing.get_type_hints(cls)
    values = {}
    for key, value in mapping.items():
        if key not in fields:
            raise ValueError(
                f"{where}.{key}: unknown key{did_you_mean(key, fields)} "
                f"Known keys: {', '.join(fields)}"
            )
        values[key] = _converted(value, declared[key], f"{where}.{key}")
    for name, field in fields.items():
        no_default = (
            field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        )
        if no_default and name not in values:
            raise ValueError(f"{where}.{name}: missing, and it has no default")
    return cls(**values)


def _converted(value: Any, declared: Any, where: str) -> Any:
    """Returns `value` as the declared type, or raises ValueError."""
    if dataclasses.is_dataclass(declared) and hasattr(value, "items"):
        return dataclass_from(declared, value, where)
    if isinstance(value, list):
        value = tuple(value)
    if declared is Any:
        return value
    origin = typing.get_origin(declared)
    if origin in (typing.Union, types.UnionType):
        choices = typing.get_args(declared)
        if value is None and type(None) in choices:
            return None
        for choice in choices:
            try:
                return _converted(value, choice, where)
            except ValueError:
                continue
        raise ValueError(f"{where}: {value!r} is not of type {declared}")
    if origin is typing.Literal:
        choices = typing.get_args(declared)
        if value not in choices:
            raise ValueError(
                f"{where}: {value!r} is not one of {', '.join(map(repr, choices))}"
            )
        return value
    wanted = origin or declared
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    is_bool_for_number = isinstance(value, bool) and wanted in (int, float)
    if isinstance(wanted, type) and (
        is_bool_for_number or not isinstance(value, wanted)
    ):
        raise ValueError(
            f"{where}: {value!r} is of type {type(value).__name__}, "
            f"not {getattr(declared, '__name__', declared)}"
        )
    return value


def to_plain(config: Any, where: str = "config") -> Any:
    """Returns a configuration as plain dicts, lists and scalars, as JSON keeps it.

    Raises:
        ValueError: If it holds anything else; the key is named.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    if hasattr(config, "items"):
        return {str(k): to_plain(v, f"{where}.{k}") for k, v in config.items()}
    if isinstance(config, tuple | list):
        return [to_plain(v, f"{where}[{i}]") for i, v in enumerate(config)]
    if config is None or isinstance(config, bool | int | float | str):
        return config
    raise ValueError(
        f"{where}: {config!r} is of type {type(config).__name__}; a configuration "
        "holds numbers, text, true, false, None, lists and mappings"
    )


def to_json(config: Any) -> str:
    """Returns a configuration as JSON text with sorted keys."""
    return json.dumps(to_plain(config), indent=2, sort_keys=True) + "\n"


def differences(one: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Returns the dotted keys whose values differ, with both values.

    A key that one of them lacks has the value `ABSENT` there. It does not differ from
    one that is off (None, False, an empty text, list or mapping): a run that an earlier
    version began, which did not know the key, goes on.
    """
    flat_one, flat_other = _flat(to_plain(one)), _flat(to_plain(other))
    pairs = {
        key: (flat_one.get(key, ABSENT), flat_other.get(key, ABSENT))
        for key in sorted(flat_one | flat_other)
    }
    return {key: (a, b) for key, (a, b) in pairs.items() if not _same(a, b)}


ABSENT = "(absent)"


def _same(one: Any, other: Any) -> bool:
    """Returns whether two JSON values are equal; NaN is equal to itself, 1 to 1.0."""
    if ABSENT in (one, other):
        return _is_off(one) or _is_off(other)
    return one == other or (one != one and other != other)


def _is_off(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def check_same_run(
    config: Any, workdir: str | os.PathLike[str], may_differ: Iterable[str] = ()
) -> None:
    """Checks that a working directory is of this configuration, and notes it there.

    The configuration is in ``config.json``, which process 0 writes (again, with the
    present values of keys that may differ). A directory without one is a new run's.

    Args:
        config: The present configuration.
        workdir: Directory of the run; is made.
        may_differ: Dotted keys which a resumed run may change, such as "train.steps";
            a key stands for all keys below it.

    Raises:
        ValueError: Naming every other key that differs, with both values.
    """
    path = Path(workdir) / CONFIG_FILE
    if path.exists():
        try:
            saved = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path} is no JSON ({error})") from error
        allowed = tuple(may_differ)  # it is gone through once per key
        differing = {
            key: values
            for key, values in differences(saved, config).items()
            if not any(key == name or key.startswith(f"{name}.") for name in allowed)
        }
        if differing:
            lines = [
                f"  {key}: {old!r} there, {new!r} now"
                for key, (old, new) in differing.items()
            ]
            raise ValueError(
                f"{path.parent} was made with another configuration:\n"
                + "\n".join(lines)
                + "\nUse another --workdir, or the values it was made with."
            )
    import jax

    if jax.process_index() != 0:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(to_json(config))
    partial.replace(path)
