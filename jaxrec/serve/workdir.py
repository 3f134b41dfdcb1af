"""From a working directory to a Recommender.

Three things of a run are needed, and never its data:

    config.json         section model: which backbone, of which size
    ids.npz             item_ids (items + 1,), titles where known; for a model with user
                        vectors user_ids and user_numbers, each (users,)
    checkpoints/best    the parameters
"""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.core.checkpoint import Checkpoints
from jaxrec.core.config import CONFIG_FILE
from jaxrec.models import config_of_run, model_module, serving_module
from jaxrec.serve.backbone import LENGTHS, from_model
from jaxrec.serve.ids import ItemIds, UserIds
from jaxrec.serve.recommender import Recommender

IDS_FILE = "ids.npz"


def load(
    workdir: str | os.PathLike[str],
    checkpoint: str = "best",
    *,
    seen_capacity: int | None = None,
    on_unknown: str = "skip",
    lengths: tuple[int, ...] = LENGTHS,
) -> Recommender:
    """Loads the best parameters of a run for serving.

    Args:
        workdir: Directory of the run.
        checkpoint: "best", the only kind that holds parameters alone.
        seen_capacity: See `Recommender`.
        on_unknown: See `Recommender`.
        lengths: Lengths of history that programs are made for; longer ones are read in
            pieces of the last.

    Raises:
        FileNotFoundError: The directory is no run, or has no best checkpoint yet; the
            message says what is missing.
        ValueError: A file of it is damaged, the checkpoint is of another architecture
            than the configuration, or an argument is not accepted.
    """
    if checkpoint != "best":
        raise ValueError(f"checkpoint: only 'best' can be served, got {checkpoint!r}")
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths: want one or more of 1 or more, got {lengths}")
    path = Path(workdir)
    _check_is_run(path)
    config = read_config(path)
    ids, users = _read_ids(path / IDS_FILE, bool(config["model"].get("users")))
    module = model_module(config["model"]["name"])
    cfg = config_of_run(config, len(ids), len(users or ()))
    abstract = jax.eval_shape(lambda: module.init(jax.random.key(0), cfg))
    checkpoints = Checkpoints(path)
    try:
        params = checkpoints.restore_best(abstract).tree
    finally:
        checkpoints.close()
    serving = serving_module(config["model"]["name"])
    backbone = from_model(module, cfg, params, serving=serving, lengths=lengths)
    return Recommender(
        backbone, ids, users, seen_capacity=seen_capacity, on_unknown=on_unknown
    )


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


def _check_is_run(path: Path) -> None:
    if not path.is_dir():
        raise FileNotFoundError(f"workdir {path}: no such directory")
    wanted = (CONFIG_FILE, IDS_FILE, "checkpoints/best")
    missing = [name for name in wanted if not (path / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"workdir {path}: {', '.join(missing)} missing; want a directory that a "
            "run wrote, after its first evaluation"
        )


def _read_ids(path: Path, has_users: bool) -> tuple[ItemIds, UserIds | None]:
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            titles = arrays["titles"] if "titles" in arrays else None
            users = None
            if has_users:
                users = UserIds(arrays["user_ids"], arrays["user_numbers"])
            return ItemIds(arrays["item_ids"], titles), users
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from error
