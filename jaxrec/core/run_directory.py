"""Whose a run's directory is, and what it has left there for those who read it.

config.json         section model: which backbone, of which size
ids.npz             item_ids (items + 1,), titles where known; user_ids and
                    user_numbers, each (users,); of a model whose items are made of
                    features feature_names and feature_dims, by modality
checkpoints/best    the parameters
popularity_prior.npz    of a run with eval.popularity, see
                    `jaxrec.retrieval.popularity_prior`
cut.json            of a directory that was cut from a run: from which, at which size
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from jaxrec.core.checkpoint import Checkpoints
from jaxrec.core.config import CONFIG_FILE, check_same_run

IDS_FILE = "ids.npz"
CUT_FILE = "cut.json"


def as_workdir(workdir: str | os.PathLike[str]) -> Path:
    """The path of a working directory, which need not exist yet.

    Raises:
        ValueError: It is a file.
    """
    path = Path(workdir)
    if path.exists() and not path.is_dir():
        raise ValueError(f"--workdir={path} is a file, not a directory")
    return path


def claim(path: Path, config: Mapping[str, Any], may_differ: Iterable[str]) -> bool:
    """Makes `path` the directory of a training, or checks that it is already.

    A directory in which nothing was ever saved belongs to nobody: a start that failed
    does not stand in the way of the corrected one.

    Args:
        path: The working directory.
        config: The whole configuration, with sections train and optim.
        may_differ: See `jaxrec.core.config.check_same_run`.

    Returns:
        Whether the training has begun there.

    Raises:
        ValueError: It holds a run of another configuration, or one that has trained
            more steps.
    """
    begun = any(path.glob("checkpoints/*/[0-9]*"))
    if begun:
        _check_steps(path, config["train"]["steps"], config["optim"]["schedule"])
    else:
        (path / CONFIG_FILE).unlink(missing_ok=True)
    check_same_run(config, path, may_differ)
    return begun


def _check_steps(path: Path, steps: int, schedule: str) -> None:
    """Says what another number of steps does to a run that has begun.

    Raises:
        ValueError: It is fewer than the run has trained.
    """
    trained = max(
        (int(p.name) for p in path.glob("checkpoints/last/*") if p.name.isdigit()),
        default=0,
    )
    if steps < trained:
        raise ValueError(
            f"train.steps={steps}: the run in {path} has trained {trained} steps "
            "already; use another --workdir"
        )
    file = path / CONFIG_FILE
    planned = json.loads(file.read_text())["train"]["steps"] if file.exists() else steps
    if steps != planned and schedule != "constant":
        logging.warning(
            "train.steps was %d, now %d: the %s schedule of the learning rate was made "
            "for the former, so this is not the run that %d steps from the beginning "
            "would have been",
            *(planned, steps, schedule, steps),
        )


def check_is_run(workdir: str | os.PathLike[str]) -> None:
    """Raises FileNotFoundError unless a run wrote all three; says what is missing."""
    path = Path(workdir)
    if not path.is_dir():
        whole, _, size = str(path).rpartition("@")
        hint = ""
        if size.isdigit() and Path(whole).is_dir():
            hint = f"; python -m jaxrec.cut --workdir={whole} --size={size} makes one"
        raise FileNotFoundError(f"workdir {path}: no such directory{hint}")
    wanted = (CONFIG_FILE, IDS_FILE, "checkpoints/best")
    missing = [name for name in wanted if not (path / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"workdir {path}: {', '.join(missing)} missing; want a directory that a "
            "run wrote, after its first evaluation"
        )


def cut_from(workdir: str | os.PathLike[str]) -> str | None:
    """What a directory was cut from, as RUN@SIZE; None if it is a run itself."""
    path = Path(workdir) / CUT_FILE
    if not path.exists():
        return None
    about = json.loads(path.read_text())
    return f"{about['from']}@{about['size']}"


def read_config(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """The configuration of a run, as plain dicts.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is no JSON, or has no section model with a name.
    """
    path = Path(workdir) / CONFIG_FILE
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(config, dict) or "name" not in (config.get("model") or {}):
        raise ValueError(f"{path}: config.model.name is missing")
    return config


def feature_dims(ids: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Dimensions of the items' features by modality, of what ids.npz holds; or {}."""
    if "feature_names" not in ids:
        return {}
    names, dims = ids["feature_names"].tolist(), ids["feature_dims"].tolist()
    return dict(zip(names, dims, strict=True))


def best_params(
    workdir: str | os.PathLike[str], init: Callable[[jax.Array], Any]
) -> Any:
    """The best parameters of a run.

    Args:
        workdir: Directory of the run.
        init: Draws such parameters from a key; only shapes and types are asked of it.

    Raises:
        FileNotFoundError: None were saved.
        ValueError: They are of another architecture, or damaged.
    """
    abstract = jax.eval_shape(lambda: init(jax.random.key(0)))
    checkpoints = Checkpoints(Path(workdir))
    try:
        return checkpoints.restore_best(abstract).tree
    finally:
        checkpoints.close()
