"""The whole job of a task: data, training, test table, and what a run leaves behind."""

import json
import types
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

import jaxrec.data
from jaxrec.core import parallel
from jaxrec.core.environment import write_environment
from jaxrec.core.run_directory import IDS_FILE, as_workdir, claim, cut_from
from jaxrec.core.train import fit
from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import Split
from jaxrec.eval import saved_ranks
from jaxrec.eval.floors import popularity_counts
from jaxrec.eval.metrics import Ranks
from jaxrec.eval.report import ceiling, format_results
from jaxrec.retrieval import popularity_prior
from jaxrec.retrieval.popularity_prior import PopularityPrior
from jaxrec.tasks.item_features import ItemFeatures
from jaxrec.tasks.popularity import check_weights, choose
from jaxrec.tasks.ranking import RankingTask

_NEW = ", new items"

# A run may go on with other values of these; all else makes it another run.
MAY_DIFFER = (
    "train.steps",
    "train.log_every",
    "train.save_every",
    "train.patience",
    "eval",
    "parallel",
    "data.path",
    "features.path",
    "data.cache",
)


def run_task(
    make_task: Callable[..., RankingTask], config: Mapping[str, Any], workdir: str
) -> dict[str, float]:
    """Trains and tests one backbone on one data set.

    Args:
      make_task: from (config, split, mesh) to the task.
      config: the whole configuration.
      workdir: gets config.json, environment.json, ids.npz, metrics, checkpoints,
        results.txt (the table), test.json (every figure with its standard error),
        ranks.npz (where every target stood, see `jaxrec.eval.saved_ranks`) and, with
        eval.popularity, popularity_prior.npz.
        A workdir with an unfinished run of the same config is resumed.

    Returns:
      The step of the best parameters; their Recall@10 and NDCG@10 on the test targets,
      and those of the floors and of the ceiling, as fractions.

    Raises:
      ValueError: a config value that is unknown or impossible, or a workdir that holds
        another run.
    """
    path = as_workdir(workdir)
    split = jaxrec.data.load(config["data"])
    mesh = parallel.make_mesh(config["parallel"]["model"])
    check_weights(config)
    task = make_task(config, split, mesh)
    logging.info("%s", task.describe())
    _claim(path, config, task)
    fitted = fit(task, config, mesh, path)
    name = config["model"]["name"]
    prior = choose(task, fitted.params)
    rows = _tested(task, fitted.params, path, prior)
    table, protocol = format_results(rows), task.protocol()
    if prior is not None:
        protocol += f", popularity prior of {prior.weight():g}"
    logging.info(
        "Test, best step %d, %s, ± is one standard error over users%s:\n%s",
        fitted.best_step,
        protocol,
        ", (share of the ceiling)" if "ceiling" in rows else "",
        table,
    )
    logging.info("Results, learning curve and checkpoints are in %s", path)
    if jax.process_index() == 0:
        (path / "results.txt").write_text(f"{protocol}\n{table}\n")
        (path / "test.json").write_text(json.dumps(rows, indent=1) + "\n")
    summary = {"best_step": fitted.best_step}
    for row, figures in rows.items():
        if row.startswith(f"{name}@") or row.endswith(_NEW):
            continue  # These are in the table.
        for key in ("recall@10", "ndcg@10"):
            summary[f"test/{key}" if row == name else f"{row}/{key}"] = figures[key]
    return summary


def _tested(
    task: RankingTask, params: Any, path: Path, prior: PopularityPrior | None
) -> dict[str, dict[str, float]]:
    """Figures on the test targets, by row: the model, its smaller sizes, the floors.

    Of a model with features also those of the targets that training never saw, as
    "ROW, new items".
    """
    name, config = task.config["model"]["name"], task.config
    if prior is not None:
        task = task.leaning(prior.bias())
    own, rows = {None: task.rank(params, "test")}, {}
    rows[name] = task.evaluate(params, "test", own[None])
    for size, _ in reversed(task.sizes[:-1]):
        smaller, small = task.at_size(params, size)
        if prior is not None:
            smaller = smaller.leaning(prior.bias(size))
        own[size] = smaller.rank(small, "test")
        rows[f"{name}@{size}"] = smaller.evaluate(small, "test", own[size])
    floors = task.floors("test")
    rows |= {row: ranks.summary() for row, ranks in floors.items()}
    rows |= ceiling(config, task.evaluated, "test")
    if task.features.names:
        rows |= _on_new_items(task.evaluated, {name: own[None], **floors})
    if jax.process_index() == 0:
        saved_ranks.save(path, own, floors)
        popularity_prior.save(path, prior)
    return rows


def _on_new_items(split: Split, ranks: Mapping[str, Ranks]) -> dict[str, dict]:
    """Figures of the test targets without a training event."""
    targets = split.sequences.values[split.test.position]
    new = popularity_counts(split)[targets] == 0
    logging.info("%d of %d test targets are new items", new.sum(), len(new))
    if not new.any():
        return {}
    return {f"{row}{_NEW}": r.where(new).summary() for row, r in ranks.items()}


def _claim(path: Path, config: Mapping[str, Any], task: RankingTask) -> None:
    """Makes `path` the directory of this run, or checks that it is already.

    Raises:
      ValueError: it holds a run with another configuration, or on other data.
    """
    if jax.process_count() > 1 and jax.process_index() > 0:
        return
    if whole := cut_from(path):
        raise ValueError(
            f"--workdir={path} was cut from {whole} and is for serving; training would "
            "take its place: use another --workdir"
        )
    split = task.split
    found = fingerprint(split, config["model"].get("times", False))
    kept = _kept_features(task.features)
    if claim(path, config, MAY_DIFFER):
        if not (path / IDS_FILE).exists():
            raise ValueError(
                f"{path}: there are checkpoints, but {IDS_FILE} is missing, so that "
                "nobody knows what data they are of: use another --workdir"
            )
        with np.load(path / IDS_FILE) as saved:
            if saved["fingerprint"] != found:
                raise ValueError(
                    f"the data of {split.sequences.name!r} have changed since the run "
                    f"in {path} began: use another --workdir, or the data it had"
                )
            if any(not np.array_equal(saved[key], kept[key]) for key in kept):
                raise ValueError(
                    f"the features of the items have changed since the run in {path} "
                    "began: use another --workdir, or the features it had"
                )
    else:
        save_ids(split.sequences, path, found, task.batches.user_numbers, kept)
    write_environment(path)


def fingerprint(split: Split, times: bool = False) -> str:
    """A checksum of all that training, with or without times, takes from the data."""
    sequences, total = split.sequences, 0
    arrays = (sequences.values, sequences.offsets, split.train_end)
    for array in (*arrays, sequences.times) if times else arrays:
        total = zlib.crc32(np.ascontiguousarray(array), total)
    for ids in (sequences.user_ids, sequences.item_ids):
        total = zlib.crc32("\0".join(ids.tolist()).encode(), total)
    return f"{total:08x}"


def _kept_features(features: ItemFeatures) -> dict[str, np.ndarray]:
    """What ids.npz has of features: modalities, their dimensions and a checksum."""
    if not features.names:
        return {}
    total = 0
    for table in features.tables:
        total = zlib.crc32(np.ascontiguousarray(table), total)
    return {
        "feature_names": np.array(features.names),
        "feature_dims": np.array(features.dims),
        "feature_fingerprint": np.array(f"{total:08x}"),
    }


def save_ids(
    sequences: Sequences,
    workdir: Path,
    checksum: str,
    user_numbers: np.ndarray,
    features: Mapping[str, np.ndarray] = types.MappingProxyType({}),
) -> None:
    """Writes ids.npz: the raw ids and titles that the server answers in, and `features`
    that go with them."""
    arrays = {"user_ids": sequences.user_ids, "item_ids": sequences.item_ids}
    arrays["user_numbers"] = user_numbers
    arrays["fingerprint"] = np.array(checksum)
    arrays |= features
    if sequences.titles is not None:
        arrays["titles"] = sequences.titles
    partial = workdir / "ids.tmp.npz"
    np.savez_compressed(partial, **arrays)
    partial.replace(workdir / IDS_FILE)
