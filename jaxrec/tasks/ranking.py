"""What the tasks share: a backbone, a loss by name, and full-ranking evaluation."""

import abc
import copy
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrec.core import parallel
from jaxrec.core.dropout import row_keys
from jaxrec.core.row_blocks import CACHED_POSITIONS, blocks_for, map_blocks
from jaxrec.data.batches import Batches
from jaxrec.data.shared_embeddings import SharedEmbeddings
from jaxrec.data.splits import Cases, Split
from jaxrec.eval.floors import popularity_counts
from jaxrec.eval.metrics import Ranks
from jaxrec.eval.nearest import nearest_ranks
from jaxrec.eval.protocol import part_of
from jaxrec.eval.ranking import rank_cases
from jaxrec.eval.report import floor_ranks
from jaxrec.eval.sampled import sampled_ranks
from jaxrec.models import (
    config_of_run,
    drops,
    frozen_of,
    loss_sizes_of,
    model_module,
    times_of,
    users_of,
    window_of,
)
from jaxrec.tasks import item_features
from jaxrec.tasks.losses import check_loss, has_own_negatives, summed_loss

_STEP_SALT = 1 << 21  # Rows are numbered below it.


class RankingTask(abc.ABC):
    """What tasks that rank the catalogue share: model, losses and evaluation.

    A task adds `make_batches`, `outputs` and `label_segments`. The model is a backbone
    module, of which nothing is asked but what `jaxrec.models` describes.

    Args:
      config: the whole configuration.
      split: the data.
      mesh: devices, over which rows of a batch and, if asked, the item table are split.

    Raises:
      ValueError: unknown loss, an option of another loss, or a batch that cannot be
        split.
    """

    loss_label = "training loss (nats per target)"
    rules: parallel.Rules = (
        ("embedding/table", P("model", None)),
        ("features/table", P("model", None)),
        ("item_bias", P("model")),
    )

    def __init__(
        self, config: Mapping[str, Any], split: Split, mesh: jax.sharding.Mesh
    ):
        self.config, self.split, self.mesh = config, split, mesh
        check_loss(config["loss"], split.sequences.items)
        for part in ("valid", "test"):
            part_of(split, part)
        self.model = model_module(config["model"]["name"])
        self.features = item_features.of_run(config, split.sequences)
        items, users = split.sequences.items, split.sequences.users
        self.cfg = config_of_run(config, items, users, self.features.dims)
        self.sizes = loss_sizes_of(self.model, self.cfg)
        if self.sizes and config["loss"]["catalogue_chunk"]:
            raise ValueError(
                f"loss.catalogue_chunk: model {config['model']['name']!r} learns at "
                f"{len(self.sizes)} sizes, whose softmax takes all items: leave it at 0"
            )
        self.prior: np.ndarray | None = None
        self.batches = self.make_batches()
        self.batch = self.batches
        self._counts = self._spared = None
        if self.features.spares_new:
            new = popularity_counts(split) == 0
            new[0] = False  # The padding has none either.
            self._spared = np.pad(new, (0, self.cfg.rows - len(new)))
        loss = config["loss"]
        if loss["name"] == "sampled_softmax" and loss["negatives"] == "popularity":
            self._counts = popularity_counts(split)

    def init(self, key: jax.Array):
        return self.model.init(key, self.cfg)

    def furnish(self, params):
        """Puts the features of the items in, split over devices as the drawn ones."""
        if not self.features.tables:
            return params
        given = self.model.with_features(params, self.cfg, self.features.tables)

        def placed(drawn, table):
            table = np.asarray(table)
            return jax.make_array_from_callback(
                table.shape, drawn.sharding, lambda index: table[index]
            )

        tables = jax.tree.map(placed, params["features"], given["features"])
        return params | {"features": tables}

    def at_size(self, params, size: int) -> "tuple[RankingTask, Any]":
        """The task of the model of one size inside this one, and its parameters.

        Raises:
          ValueError: a size that is none of the model's.
        """
        other = copy.copy(self)
        other.prior = None
        other.__dict__.pop("_functions", None)  # They are of this model.
        other.cfg, small = self.model.truncate(params, self.cfg, size)
        other.sizes = loss_sizes_of(other.model, other.cfg)
        return other, small

    def leaning(self, prior: np.ndarray | None) -> "RankingTask":
        """The task that ranks by scores with `prior` (items + 1,) added to them; `rank`
        with each of several (c, items + 1)."""
        other = copy.copy(self)
        other._functions = self._functions  # What they compile, they compile once.
        other.prior = prior
        return other

    def with_rates(self, rates: Mapping[str, float | jax.Array]) -> "RankingTask":
        """The task with other dropout rates, by field of the model's config; they may
        be traced."""
        other = copy.copy(self)
        other.cfg = dataclasses.replace(self.cfg, **rates)
        return other

    def decayed(self, path: tuple[str, ...]) -> bool:
        return self.model.decayed(path)

    def frozen(self, path: tuple[str, ...]) -> bool:
        return frozen_of(self.model, path)

    def examples(self, batch: Mapping[str, np.ndarray]) -> int:
        """Targets in a batch."""
        return int(np.count_nonzero(batch["labels"]))

    @property
    def row_multiple(self) -> int:
        """What the rows of a batch are a multiple of."""
        return parallel.row_multiple(self.mesh, self.config["parallel"]["micro"])

    @property
    def sharing(self) -> dict[str, Any]:
        """Arguments of the batches: whose they are, and what is replaced in them."""
        fields = dataclasses.fields(SharedEmbeddings)
        chances = {field.name: self.config["batch"][field.name] for field in fields}
        shared = SharedEmbeddings(**chances)
        return {"users": users_of(self.cfg) > 0, "shared": shared}

    @abc.abstractmethod
    def make_batches(self) -> Batches:
        """The training batches, with draws where `needs_draws` says so."""

    @abc.abstractmethod
    def outputs(self, params, batch, keys) -> jax.Array:
        """Outputs (..., d) of the model that go with batch["labels"], any axes.

        `keys` are one dropout key per row, or None where nothing is dropped.
        """

    @abc.abstractmethod
    def label_segments(self, batch) -> jax.Array | None:
        """Segments of batch["labels"], in which no target is another's negative.

        `None`: no target is its own.
        """

    @property
    def needs_draws(self) -> bool:
        """Whether the loss takes its negatives from batch["draws"]."""
        return has_own_negatives(self.config["loss"])

    def encoded(self, params, batch, keys, **options) -> jax.Array:
        """What the model makes of the tokens of a batch, see `jaxrec.models`."""
        options |= {name: batch[name] for name in ("users", "times") if name in batch}
        tokens, segments = batch["tokens"], batch["segments"]
        return self.model.encode(
            params, self.cfg, tokens, segments=segments, keys=keys, **options
        )

    def loss(self, params, batch, key: jax.Array) -> parallel.Sums:
        """Summed loss of all targets in the rows of `batch`; their count."""
        keys = row_keys(key, batch["row"]) if drops(self.cfg) else None
        if hasattr(self.model, "for_step"):
            step_key = jax.random.fold_in(key, _STEP_SALT)
            params = self.model.for_step(params, self.cfg, step_key)
        hidden = self.outputs(params, batch, keys)
        table, bias = self.model.head(params, self.cfg)
        if self._spared is not None:
            bias = jnp.where(self._spared, -1e9, bias)
        flat = hidden.reshape(-1, hidden.shape[-1]).astype(self.cfg.compute_dtype)
        labels = batch["labels"].reshape(-1)
        weights = (labels > 0).astype(jnp.float32)
        inputs = (flat, table, bias, labels, weights)
        return {"loss": (self._loss(inputs, batch, key), weights.sum())}

    def _loss(self, inputs, batch, key):
        return summed_loss(
            self.config["loss"],
            inputs,
            batch,
            key,
            items=self.cfg.items,
            sizes=self.sizes,
            counts=self._counts,
            segments=self.label_segments(batch),
            is_split=self.mesh.shape["model"] > 1,
        )

    def rank(self, params, part: str) -> Ranks | list[Ranks]:
        """Where the targets of a part stand among all items, one rank per case; a list
        where it leans on several priors."""
        options = self.config["eval"]
        return rank_cases(
            params,
            self.evaluated,
            part,
            **self._functions,
            table_fn=self._head,
            ties=options["ties"],
            mask=options["mask"],
            repeat_targets=options["repeat_targets"],
        )

    def evaluate(
        self, params, part: str, ranks: Ranks | None = None
    ) -> dict[str, float]:
        """Recall, NDCG and MRR with standard errors, over the users of a part.

        With eval.sampled_negatives = n also the sampled figures, as "sampled<n>/...".

        Args:
          params: of the model.
          part: "test" or "valid".
          ranks: those of `rank`, where they are known already.
        """
        ranks = self.rank(params, part) if ranks is None else ranks
        metrics = ranks.summary()
        negatives = self.config["eval"]["sampled_negatives"]
        if negatives:
            ranks = sampled_ranks(
                params,
                self.evaluated,
                part,
                **self._functions,
                table_fn=self._head,
                negatives=negatives,
                seed=self.config["seed"],
            )
            metrics |= ranks.summary()
        return metrics

    def _head(self, params) -> tuple[jax.Array, jax.Array]:
        """Table and bias by which targets are ranked."""
        table, bias = self.model.head(params, self.cfg)
        if self.prior is None:
            return table, bias
        room = len(bias) - self.prior.shape[-1]
        several = [(0, 0)] * (self.prior.ndim - 1)
        return table, bias + np.pad(self.prior, [*several, (0, room)])

    @functools.cached_property
    def _functions(self) -> dict[str, Any]:
        """How the model ranks, the same objects at every call (they keep compiled
        code)."""

        on_cpu = self.mesh.devices.flat[0].platform == "cpu"

        has_users, times = users_of(self.cfg) > 0, times_of(self.cfg)
        names = ("users",) * has_users + ("times",) * times

        def last_hidden(params, ids, *others):
            def of(rows, *others):
                given = dict(zip(names, others, strict=True))
                return self.model.prefill(params, self.cfg, rows, **given)[1]

            blocks = blocks_for(*ids.shape, CACHED_POSITIONS) if on_cpu else 1
            return map_blocks(of, blocks, ids, *others)

        return {
            "hidden_fn": jax.jit(last_hidden),
            "users": self.batches.user_numbers if has_users else None,
            "times": times,
            "window": self.window,
            "batch": self.config["eval"]["batch"],
            "sharding": NamedSharding(self.mesh, P("data")),
        }

    @property
    def window(self) -> int:
        """How many of the last events evaluation shows the model."""
        return window_of(self.model, self.cfg) or self.batches.length

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

    def floors(self, part: str) -> dict[str, Ranks]:
        """What stands beside the ranks of a part, see `jaxrec.eval.report`; of a model
        with features also the likeness of the items by these."""
        found = floor_ranks(self.config, self.evaluated, part)
        options = self.config["eval"]
        if options["floors"] and self.features.tables:
            found["nearest features"] = nearest_ranks(
                self.evaluated,
                part,
                np.concatenate(self.features.tables, 1),
                mask=options["mask"],
                window=self.window,
                repeat_targets=options["repeat_targets"],
            )
        return found

    def protocol(self) -> str:
        """The evaluation protocol in one line, to stand beside every figure."""
        options = self.config["eval"]
        split = self.config["data"].get("split", "leave_one_out").replace("_", "-")
        masked = {
            "window": f"items of the last {self.window} events masked",
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
