"""A trained run of a nested model, read whole."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from jaxrec.core.run_directory import (
    IDS_FILE,
    best_params,
    check_is_run,
    feature_dims,
    read_config,
)
from jaxrec.models import config_of_run, loss_sizes_of, model_module


class NestedRun(NamedTuple):
    """A run whose model has several sizes, or had.

    Attributes:
        path: Its directory.
        config: The configuration, plain dicts.
        model: The backbone module.
        cfg: The backbone's config.
        params: Its best parameters.
    """

    path: Path
    config: dict[str, Any]
    model: ModuleType
    cfg: Any
    params: Any

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths it has, ascending."""
        return tuple(size for size, _ in loss_sizes_of(self.model, self.cfg))


def read_run(workdir: str | os.PathLike[str]) -> NestedRun:
    """Reads a run with its best parameters.

    Raises:
        FileNotFoundError: The directory is no run, or has no best checkpoint yet.
        ValueError: Its model has no sizes, or a file is damaged.
    """
    path = Path(workdir)
    check_is_run(path)
    config = read_config(path)
    name = config["model"]["name"]
    model = model_module(name)
    if not hasattr(model, "truncate"):
        raise ValueError(
            f"workdir {path}: a run of model {name!r}, which has one size only"
        )
    with np.load(path / IDS_FILE) as ids:
        items, dims = len(ids["item_ids"]) - 1, feature_dims(ids)
    cfg = config_of_run(config, items, features=tuple(dims.values()))
    params = best_params(path, lambda key: model.init(key, cfg))
    return NestedRun(path, config, model, cfg, params)
