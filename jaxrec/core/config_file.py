"""Configurations from the command line: a Python file, its argument, and overrides.

    --config=configs/lrurec.py:ml1m --config.optim.lr=3e-4 --config.train.steps 2000

The file defines ``get_config(argument)`` (the argument may have a default) and returns
an `ml_collections.ConfigDict`. Overrides are parsed by ml_collections as the type of
the value they replace. What can be wrong (file, argument, key, value) is an error on
one line that says what would have been right.
"""

import importlib.util
import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxrec.core.config import nearest, similarity

MODULE_NAME = "config_file"  # of every configuration file while it is loaded


def load_config(specification: str) -> ConfigDict:
    """Loads a configuration, without overrides.

    Args:
        specification: ``file.py`` or ``file.py:argument``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has no ``get_config``, or refuses the argument.
    """
    name, colon, argument = specification.partition(":")
    get_config = getattr(_load_module(Path(name)), "get_config", None)
    if not callable(get_config):
        raise ValueError(f"{name}: a configuration file defines get_config()")
    parameters = inspect.signature(get_config).parameters.values()
    if colon and not parameters:
        raise ValueError(f"{specification}: this file takes no argument")
    required = [p.name for p in parameters if p.default is inspect.Parameter.empty]
    if required and not colon:
        raise ValueError(f"{name}: needs an argument, as in {name}:{required[0]}")
    try:
        config = get_config(*[argument] * bool(colon))
    except ValueError as error:
        if not colon:
            raise
        raise ValueError(str(error)) from error
    if not isinstance(config, ConfigDict):
        config = ConfigDict(config)
    return config.lock()


def parse_flags(values: flags.FlagValues, argv: Sequence[str]) -> ConfigDict | None:
    """Parses a command line that may name and override a configuration.

    Args:
        values: The other flags; is parsed.
        argv: The program's name and its arguments.

    Returns:
        The configuration, or None if none was named.

    Raises:
        FileNotFoundError: As `load_config`.
        ValueError: As `load_config`; or if a flag or key is unknown, a value has the
            wrong type, or an argument is no flag.
    """
    specification, rest = _take_specification(list(argv))
    if specification is not None:
        config = load_config(specification)
        for argument in rest:
            override = re.match(r"--?(no)?config\.([^=]+)", argument)
            if override:
                _check_key(config, override[2], negated=bool(override[1]))
    elif any(re.match(r"--?(no)?config\.", argument) for argument in rest):
        raise ValueError("--config.KEY=VALUE needs --config=FILE.py")
    try:
        if specification is not None:
            config_flags.DEFINE_config_dict(
                "config", config, flag_values=values, sys_argv=rest
            )
        unread = values(rest)[1:]
    except flags.Error as error:
        raise ValueError(" ".join(str(error).split())) from None
    if unread:
        raise ValueError(f"{unread[0]!r} is no flag; flags begin with --")
    return values.config if specification is not None else None


def dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of a nested configuration by dotted key, groups included."""
    found = {}
    for key in config:
        # A placeholder's value must not be asked for by items(): it may be required.
        value = config[key]
        found[prefix + key] = value
        if hasattr(value, "keys"):
            found |= dotted(value, f"{prefix}{key}.")
    return found


def _take_specification(argv: list[str]) -> tuple[str | None, list[str]]:
    """Returns the value of --config, and the arguments without it."""
    specification, rest = None, []
    while argv:
        argument = argv.pop(0)
        if match := re.fullmatch(r"--?config=(.*)", argument):
            specification = match[1]
        elif re.fullmatch(r"--?config", argument):
            if not argv:
                raise ValueError("--config needs a value: --config=FILE.py[:ARGUMENT]")
            specification = argv.pop(0)
        else:
            rest.append(argument)
    return specification, rest


def _load_module(path: Path) -> ModuleType:
    if not path.is_file():
        near = nearest(path.name, (file.name for file in path.parent.glob("*.py")))
        hint = f"; did you mean {path.parent / near}?" if near else ""
        raise FileNotFoundError(f"there is no configuration file {path}{hint}")
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: a configuration file is a Python file, *.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check_key(config: ConfigDict, key: str, *, negated: bool) -> None:
    values = dotted(config)
    if key not in values:
        near = _nearest_key(key, values)
        raise ValueError(
            f"--config.{key}: unknown key, did you mean --config.{near}? "
            f"Keys there: {', '.join(_beside(values, near))}"
        )
    if negated and not isinstance(values[key], bool):
        raise ValueError(f"--noconfig.{key}: {key} is not true or false")


def _nearest_key(key: str, keys: Mapping[str, Any]) -> str:
    """Returns the key most like an unknown one, in its group rather than elsewhere."""
    group, _, last = key.rpartition(".")

    def likeness(known: str) -> float:
        known_group, _, known_last = known.rpartition(".")
        return similarity(last, known_last) + 0.4 * (group == known_group)

    return max(sorted(keys), key=likeness, default="")


def _beside(values: Mapping[str, Any], key: str) -> list[str]:
    """Returns the names in the group that `key` is in."""
    group = key.rpartition(".")[0]
    return [k.rpartition(".")[2] for k in values if k.rpartition(".")[0] == group]
