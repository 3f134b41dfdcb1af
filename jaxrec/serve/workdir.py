"""From a working directory to a Recommender.

What `jaxrec.core.run_directory` names is needed of a run, and never its data.
"""

import os
import zipfile
from pathlib import Path

import numpy as np

from jaxrec.core.run_directory import (
    IDS_FILE,
    best_params,
    check_is_run,
    feature_dims,
    read_config,
)
from jaxrec.models import config_of_run, model_module, serving_module
from jaxrec.retrieval import popularity_prior
from jaxrec.serve.backbone import LENGTHS, from_model
from jaxrec.serve.ids import ItemIds, UserIds
from jaxrec.serve.recommender import Recommender


def load(
    workdir: str | os.PathLike[str],
    checkpoint: str = "best",
    *,
    seen_capacity: int | None = None,
    on_unknown: str = "skip",
    lengths: tuple[int, ...] = LENGTHS,
    room: int = 0,
) -> Recommender:
    """Loads the best parameters of a run for serving.

    Args:
        workdir: Directory of the run.
        checkpoint: "best", the only kind that holds parameters alone.
        seen_capacity: See `Recommender`.
        on_unknown: See `Recommender`.
        lengths: Lengths of history that programs are made for; longer ones are read in
            pieces of the last.
        room: How many items `Recommender.add_items` may add later, of a model whose
            item vectors are made of features. Each costs the memory of an item.

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
    if type(room) is not int or room < 0:
        raise ValueError(f"room: want an integer of 0 or more, got {room!r}")
    path = Path(workdir)
    check_is_run(path)
    config = read_config(path)
    has_users = bool(config["model"].get("users"))
    ids, users, features = _read_ids(path / IDS_FILE, has_users)
    module = model_module(config["model"]["name"])
    cfg = config_of_run(config, len(ids), len(users or ()), tuple(features.values()))
    params = best_params(path, lambda key: module.init(key, cfg))
    serving = serving_module(config["model"]["name"])
    prior = popularity_prior.load(path, len(ids))
    backbone = from_model(
        module,
        cfg,
        params,
        serving=serving,
        lengths=lengths,
        room=room,
        prior=None if prior is None else prior.bias(),
    )
    return Recommender(
        backbone,
        ids,
        users,
        feature_names=tuple(features),
        seen_capacity=seen_capacity,
        on_unknown=on_unknown,
    )


def _read_ids(
    path: Path, has_users: bool
) -> tuple[ItemIds, UserIds | None, dict[str, int]]:
    """Ids of items and users, and the dimensions of the items' features by modality."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            titles = arrays["titles"] if "titles" in arrays else None
            users = None
            if has_users:
                users = UserIds(arrays["user_ids"], arrays["user_numbers"])
            return ItemIds(arrays["item_ids"], titles), users, feature_dims(arrays)
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from error
