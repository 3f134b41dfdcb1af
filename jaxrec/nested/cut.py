"""A smaller recommender cut out of a trained one, as a directory that serves."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.core.checkpoint import Checkpoints
from jaxrec.core.config import CONFIG_FILE, to_json
from jaxrec.core.environment import write_environment
from jaxrec.core.run_directory import CUT_FILE, IDS_FILE
from jaxrec.nested.run import NestedRun, read_run
from jaxrec.retrieval import popularity_prior


def cut_run(
    workdir: str | os.PathLike[str],
    size: int,
    out: str | os.PathLike[str],
    keep_features: bool = False,
) -> int:
    """Writes the model of one size as a directory for `jaxrec.load`.

    Args:
        workdir: Directory of the trained run.
        size: One of its sizes.
        out: Directory to write; is made, and must be empty.
        keep_features: Whether features and their projection stay, by which new items
            can be added. Else the item table is computed once and for all.

    Returns:
        The number of parameters that were written.

    Raises:
        FileNotFoundError: `workdir` is no run, or has no best checkpoint yet.
        ValueError: Its model has no such size, or no sizes; `out` is not empty; there
            are no features to keep.
    """
    run, out = read_run(workdir), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out={out}: not an empty directory")
    if keep_features and not run.cfg.features:
        raise ValueError(f"workdir {run.path}: a model without features to keep")
    cfg, params = run.model.truncate(run.params, run.cfg, size)
    if not keep_features:
        cfg, params = run.model.tabulate(params, cfg)
    out.mkdir(parents=True, exist_ok=True)
    _write_ids(run.path / IDS_FILE, out / IDS_FILE, keep_features)
    write_environment(out)
    prior = popularity_prior.load(run.path, run.cfg.items)
    popularity_prior.save(out, None if prior is None else prior.of_size(size))
    about = {"from": str(run.path), "size": size}
    (out / CUT_FILE).write_text(json.dumps(about) + "\n")
    checkpoints = Checkpoints(out)
    try:
        checkpoints.save_best(0, params, about)
    finally:
        checkpoints.close()
    # Last: with it the directory is complete.
    (out / CONFIG_FILE).write_text(to_json(_config(run, cfg, keep_features)))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _config(run: NestedRun, cfg: Any, keep_features: bool) -> dict[str, Any]:
    config = copy.deepcopy(run.config)
    config["model"] |= {
        "sizes": list(cfg.sizes),
        "size_weights": list(cfg.size_weights),
    }
    if not keep_features and "features" in config:
        config["features"]["kind"] = "none"
    return config


def _write_ids(source: Path, target: Path, keep_features: bool) -> None:
    with np.load(source) as arrays:
        kept = {
            name: arrays[name]
            for name in arrays
            if keep_features or not name.startswith("feature_")
        }
    np.savez_compressed(target, **kept)
