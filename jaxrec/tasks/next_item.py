"""Next-item prediction: data, backbone, loss and evaluation joined.

`run(config, workdir)` is the whole job: load and split the data, train, take the
parameters that were best on the validation targets, rank the test targets, and put the
floors (and the ceiling, where the data's generator knows it) in the same table.
"""

import dataclasses
import functools
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrec.data
from jaxrec.core import parallel
from jaxrec.core.config import CONFIG_FILE, check_same_run, nearest
from jaxrec.core.dropout import row_keys
from jaxrec.core.environment import write_environment
from jaxrec.core.row_blocks import CACHED_POSITIONS, blocks_for, map_blocks
from jaxrec.core.train import fit
from jaxrec.data.batches import Batches
from jaxrec.data.splits import Cases, Split
from jaxrec.eval.floors import popularity_counts
from jaxrec.eval.metrics import Ranks
from jaxrec.eval.protocol import part_of
from jaxrec.eval.ranking import rank_cases
from jaxrec.eval.report import baselines, format_results
from jaxrec.eval.sampled import sampled_ranks
from jaxrec.losses.sampled import sampled_softmax, uniform_negatives_ce
from jaxrec.losses.softmax import linear_softmax_ce
from jaxrec.models import config_from, model_module

_LOSSES = ("softmax", "sampled_softmax", "uniform_negatives")

_CHUNK = 512  # positions per block where the loss does not choose by itself

# A run may go on with other values of these; all else makes it another run.
MAY_DIFFER = (
    "train.steps",
    "train.log_every",
    "train.save_every",
    "train.patience",
    "eval",
    "parallel",
    "data.path",
    "data.cache",
)


def run(config: Mapping[str, Any], workdir: str) -> dict[str, float]:
    """Trains and tests one backbone on one data set.

    Args:
      config: as from `configs/lrurec.py`.
      workdir: gets config.json, environment.json, ids.npz, metrics, checkpoints,
        results.txt (the table) and test.json (every figure with its standard error).
        A workdir with an unfinished run of the same config is resumed.

    Returns:
      The step of the best parameters; their Recall@10 and NDCG@10 on the test targets,
      and those of the floors and of the ceiling, as fractions.

    Raises:
      ValueError: a config value that is unknown or impossible, or a workdir that holds
        another run.
    """
    path = Path(workdir)
    if path.exists() and not path.is_dir():
        raise ValueError(f"--workdir={path} is a file, not a directory")
    split = jaxrec.data.load(config["data"])
    mesh = parallel.make_mesh(config["parallel"]["model"])
    task = NextItem(config, split, mesh)
    logging.info("%s", task.describe())
    _claim(path, config, split)
    fitted = fit(task, config, mesh, path)
    name = config["model"]["name"]
    rows = {
        name: task.evaluate(fitted.params, "test"),
        **baselines(config, task.evaluated, "test"),
    }
    table = format_results(rows)
    logging.info(
        "Test, best step %d, %s, ± is one standard error over users%s:\n%s",
        fitted.best_step,
        task.protocol(),
        ", (share of the ceiling)" if "ceiling" in rows else "",
        table,
    )
    logging.info("Results, learning curve and checkpoints are in %s", path)
    if jax.process_index() == 0:
        (path / "results.txt").write_text(f"{task.protocol()}\n{table}\n")
        (path / "test.json").write_text(json.dumps(rows, indent=1) + "\n")
    summary = {"best_step": fitted.best_step}
    for row, figures in rows.items():
        for key in ("recall@10", "ndcg@10"):
            summary[f"test/{key}" if row == name else f"{row}/{key}"] = figures[key]
    return summary


def _claim(path: Path, config: Mapping[str, Any], split: Split) -> None:
    """Makes `path` the directory of this run, or checks that it is already.

    A directory in which nothing was ever saved belongs to nobody: a start that failed
    does not stand in the way of the corrected one.

    Raises:
      ValueError: it holds a run with another configuration, or on other data.
    """
    if jax.process_count() > 1 and jax.process_index() > 0:
        return
    fingerprint = _fingerprint(split)
    if any(path.glob("checkpoints/*/[0-9]*")):
        check_same_run(config, path, MAY_DIFFER)
        with np.load(path / "ids.npz") as saved:
            if saved["fingerprint"] != fingerprint:
                raise ValueError(
                    f"the data of {split.sequences.name!r} have changed since the run "
                    f"in {path} began: use another --workdir, or the data it had"
                )
    else:
        (path / CONFIG_FILE).unlink(missing_ok=True)
        check_same_run(config, path, MAY_DIFFER)
        save_ids(split.sequences, path, fingerprint)
    write_environment(path)


def _fingerprint(split: Split) -> str:
    """A checksum of everything that training and serving take from the data."""
    sequences, total = split.sequences, 0
    for array in (sequences.values, sequences.offsets, split.train_end):
        total = zlib.crc32(np.ascontiguousarray(array), total)
    for ids in (sequences.user_ids, sequences.item_ids):
        total = zlib.crc32("\0".join(ids.tolist()).encode(), total)
    return f"{total:08x}"


class NextItem:
    """The task: predict each item of a history from the items before it.

    Args:
      config: the whole configuration.
      split: the data.
      mesh: devices, over which rows of a batch and, if asked, the item table are split.

    Raises:
      ValueError: unknown loss, or a batch that cannot be split.
    """

    rules: parallel.Rules = (
        ("embedding/table", P("model", None)),
        ("item_bias", P("model")),
    )

    def __init__(
        self, config: Mapping[str, Any], split: Split, mesh: jax.sharding.Mesh
    ):
        self.config, self.split, self.mesh = config, split, mesh
        if config["loss"]["name"] not in _LOSSES:
            name = config["loss"]["name"]
            raise ValueError(
                f"loss.name: {name!r} is unknown, nearest is "
                f"{nearest(name, _LOSSES)!r}; known are {', '.join(_LOSSES)}"
            )
        for part in ("valid", "test"):
            part_of(split, part)
        items = split.sequences.items
        self.model = model_module(config["model"]["name"])
        fields = dict(config["model"])
        if config["parallel"]["model"] > 1:
            fields["table_multiple"] = config["parallel"]["model"]
        self.cfg = config_from(fields["name"], fields, items)
        batch = config["batch"]
        self.batches = Batches(
            split,
            size=batch["size"],
            length=batch["length"],
            layout=batch["layout"],
            seed=config["seed"],
            multiple=parallel.row_multiple(mesh, config["parallel"]["micro"]),
            bos_target=batch["bos_target"],
            windows=batch["windows"],
        )
        self.batch = self.batches
        self._counts = None
        negatives = config["loss"]["negatives"]
        if negatives not in ("popularity", "uniform"):
            raise ValueError(
                f"loss.negatives: want popularity or uniform, got {negatives!r}"
            )
        if negatives == "popularity" and config["loss"]["name"] == "sampled_softmax":
            self._counts = popularity_counts(split)

    def init(self, key: jax.Array):
        return self.model.init(key, self.cfg)

    def decayed(self, path: tuple[str, ...]) -> bool:
        return self.model.decayed(path)

    def examples(self, batch: Mapping[str, np.ndarray]) -> int:
        """Targets in a batch."""
        return int(np.count_nonzero(batch["labels"]))

    def loss(self, params, batch, key: jax.Array) -> parallel.Sums:
        """Summed cross-entropy of all targets in the rows of `batch`; their count."""
        rates = ("dropout", "dropout_lru")
        random = any(getattr(self.cfg, name, 0.0) for name in rates)
        hidden = self.model.encode(
            params,
            self.cfg,
            batch["tokens"],
            segments=batch["segments"],
            keys=row_keys(key, batch["row"]) if random else None,
        )
        table, bias = self.model.head(params, self.cfg)
        flat = hidden.reshape(-1, hidden.shape[-1]).astype(self.cfg.compute_dtype)
        labels = batch["labels"].reshape(-1)
        weights = (labels > 0).astype(jnp.float32)
        loss = self._loss(flat, table, bias, labels, weights, key, batch["row"])
        return {"loss": (loss, weights.sum())}

    def _loss(self, hidden, table, bias, labels, weights, key, rows):
        options = self.config["loss"]
        chunk = options["chunk"]
        if not chunk and (options["name"] != "softmax" or self.mesh.shape["model"] > 1):
            chunk = _CHUNK
        inputs = (hidden, table, bias, labels, weights)
        if options["name"] == "softmax":
            return linear_softmax_ce(*inputs, chunk, options["catalogue_chunk"])
        # Negatives are shared per block of positions: tie them to the first row.
        key = jax.random.fold_in(jax.random.fold_in(key, 1 << 20), rows[0])
        sample = {
            "items": self.cfg.items,
            "samples": options["samples"],
            "chunk": chunk,
        }
        if options["name"] == "uniform_negatives":
            return uniform_negatives_ce(*inputs, key, **sample)
        return sampled_softmax(*inputs, key, counts=self._counts, **sample)

    def rank(self, params, part: str) -> Ranks:
        """Where the targets of a part stand among all items, one rank per case."""
        options = self.config["eval"]
        return rank_cases(
            params,
            self.evaluated,
            part,
            **self._functions,
            ties=options["ties"],
            mask=options["mask"],
            repeat_targets=options["repeat_targets"],
        )

    def evaluate(self, params, part: str) -> dict[str, float]:
        """Recall, NDCG and MRR with standard errors, over the users of a part.

        With eval.sampled_negatives = n also the sampled figures, as "sampled<n>/...".
        """
        metrics = self.rank(params, part).summary()
        negatives = self.config["eval"]["sampled_negatives"]
        if negatives:
            ranks = sampled_ranks(
                params,
                self.evaluated,
                part,
                **self._functions,
                negatives=negatives,
                seed=self.config["seed"],
            )
            metrics |= ranks.summary()
        return metrics

    @functools.cached_property
    def _functions(self) -> dict[str, Any]:
        """How the model ranks, the same objects at every call (they keep compiled
        code)."""

        on_cpu = self.mesh.devices.flat[0].platform == "cpu"

        def last_hidden(params, ids):
            def of(rows):
                return self.model.prefill(params, self.cfg, rows)[1]

            blocks = blocks_for(*ids.shape, CACHED_POSITIONS) if on_cpu else 1
            return map_blocks(of, blocks, ids)

        return {
            "hidden_fn": jax.jit(last_hidden),
            "table_fn": lambda params: self.model.head(params, self.cfg),
            "window": self.config["batch"]["length"],
            "batch": self.config["eval"]["batch"],
            "sharding": NamedSharding(self.mesh, P("data")),
        }

    @functools.cached_property
    def evaluated(self) -> Split:
        """The split with at most eval.max_users targets a part, drawn by the seed."""
        most = self.config["eval"]["max_users"]
        if not most:
            return self.split
        rng = np.random.default_rng(self.config["seed"])

        def drawn(cases):
            some = np.sort(rng.permutation(len(cases))[:most])
            return Cases(cases.user[some], cases.position[some])

        valid, test = drawn(self.split.valid), drawn(self.split.test)
        return dataclasses.replace(self.split, valid=valid, test=test)

    def protocol(self) -> str:
        """The evaluation protocol in one line, to stand beside every figure."""
        options = self.config["eval"]
        split = self.config["data"].get("split", "leave_one_out").replace("_", "-")
        masked = {
            "window": f"items of the last {self.batches.length} events masked",
            "all": "all items of the history masked",
            "none": "history not masked",
        }[options["mask"]]
        return (
            f"{self.split.sequences.name}, {split}, full ranking of "
            f"{self.split.sequences.items} items, {masked}, ties {options['ties']}"
        )

    def describe(self) -> str:
        """What the run is made of, in a few lines."""
        data, batches = self.split.sequences, self.batches
        kind = self.mesh.devices.flat[0].device_kind
        return "\n".join(
            [
                f"{data.name}: {data.users} users, {data.items} items, "
                f"{data.events} events; {len(self.split.valid)} validation and "
                f"{len(self.split.test)} test targets",
                f"batches: {self.config['batch']['size']} windows in "
                f"{batches.rows} rows x {batches.length} slots, "
                f"{batches.fill:.0%} filled, {batches.steps_per_epoch} per epoch",
                f"devices: {dict(self.mesh.shape)} x {kind}",
            ]
        )


def save_ids(sequences, workdir: Path, fingerprint: str) -> None:
    """Writes ids.npz: the raw ids and titles that the server answers in."""
    arrays = {"user_ids": sequences.user_ids, "item_ids": sequences.item_ids}
    arrays["fingerprint"] = np.array(fingerprint)
    if sequences.titles is not None:
        arrays["titles"] = sequences.titles
    partial = workdir / "ids.tmp.npz"
    np.savez_compressed(partial, **arrays)
    partial.replace(workdir / "ids.npz")
