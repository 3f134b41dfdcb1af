"""Our side of a training benchmark: what a run of `jaxrec.tasks.next_item` runs.

The task's loss under `jaxrec.core.parallel.make_step`, with the values that
``configs/lrurec.py``, ``sasrec.py`` and ``hstu.py`` have for ml1m (a test compares
them), on the same users as a peer's padded batch. The values stand here as plain dicts
because a GPU machine may lack the package that config files need.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.shapes import Histories, Shape
from jaxrec.core import parallel, timing
from jaxrec.core.optim import make_optimiser
from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import Cases, Split
from jaxrec.tasks.next_item import NextItem

CONFIG = {
    "seed": 42,
    "model": {
        "name": "lru",
        "dim": 64,
        "blocks": 2,
        "dropout": 0.2,
        "dropout_lru": 0.2,
        "r_min": 0.8,
        "r_max": 0.99,
        "compute_dtype": "float32",
        "scan": "auto",
    },
    "loss": {
        "name": "softmax",
        "chunk": 0,
        "catalogue_chunk": 0,
        "samples": 0,
        "negatives": "popularity",
        "mask_hits": False,
        "calibration": 0.75,
    },
    "batch": {
        "size": 128,
        "length": 200,
        "layout": "packed",
        "windows": "released",
        "bos_target": True,
        "sse_item": 0.0,
        "sse_windows": 1.0,
        "sse_user": 0.0,
        "unknown_user": 0.1,
    },
    "optim": {
        "name": "adamw",
        "lr": 3e-3,
        "schedule": "cosine",
        "warmup": 50,
        "final_lr": 0.0,
        "weight_decay": 0.01,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-9,
        "clip_norm": 5.0,
        "bias_correction": True,
    },
    "train": {"steps": 7000},
    "eval": {
        "mask": "window",
        "ties": "optimistic",
        "repeat_targets": "keep",
        "batch": 256,
        "max_users": 0,
        "sampled_negatives": 0,
        "popularity": (),
        "floors": True,
    },
    "parallel": {"mode": "jit", "model": 1, "micro": 0},
}


def _changed(**sections: Mapping[str, Any]) -> dict[str, Any]:
    """`CONFIG` with some values of its sections replaced, and another model."""
    config = copy.deepcopy(CONFIG) | {"model": sections.pop("model")}
    for name, values in sections.items():
        config[name] |= values
    return config


_STUDY_OPTIM = {"weight_decay": 0.0, "b2": 0.98, "eps": 1e-8}

CONFIGS = {
    "lrurec": CONFIG,
    "sasrec": _changed(
        model={
            "name": "sar",
            "dim": 64,
            "blocks": 2,
            "heads": 1,
            "causal": True,
            "norm_first": True,
            "windows": (),
            "local": "window",
            "users": False,
            "dropout": 0.2,
            "dropout_attention": 0.2,
            "compute_dtype": "float32",
        },
        batch={"bos_target": False},
        optim=_STUDY_OPTIM | {"clip_norm": 5.0},
    ),
    "hstu": _changed(
        model={
            "name": "hstu",
            "dim": 50,
            "blocks": 2,
            "heads": 1,
            "dim_qk": 50,
            "dim_v": 50,
            "temperature": 0.05,
            "dropout": 0.2,
            "dropout_block": 0.2,
            "times": False,
            "compute_dtype": "float32",
        },
        loss={"name": "uniform_negatives", "samples": 128, "mask_hits": True},
        batch={"bos_target": False},
        optim=_STUDY_OPTIM | {"lr": 1e-3, "schedule": "constant", "warmup": 0},
        train={"steps": 5000},
        parallel={"micro": 8},
    ),
}


def make_config(
    shape: Shape, name: str = "lrurec", seed: int = 42, **changes: Any
) -> dict[str, Any]:
    """Returns the configuration for a shape.

    Args:
        shape: Gives batch size, length, width and blocks.
        name: Which of `CONFIGS`.
        seed: Of parameters, batches and masks.
        **changes: Values by their last name ("micro", "chunk", "layout", "scan",
            "compute_dtype", ...); "dropout" sets all rates.

    Raises:
        ValueError: If no section, or more than one, has a key of that name.
    """
    config = copy.deepcopy(CONFIGS[name]) | {"seed": seed}
    model = config["model"]
    model |= {"dim": shape.dim, "blocks": shape.blocks}
    model |= {key: shape.dim for key in ("dim_qk", "dim_v") if key in model}
    config["batch"] |= {"size": shape.batch, "length": shape.length}
    if "dropout" in changes:
        rates = [key for key in model if key.startswith("dropout")]
        changes = {**dict.fromkeys(rates, changes["dropout"]), **changes}
    for key, value in changes.items():
        sections = [s for s in config.values() if isinstance(s, dict) and key in s]
        if len(sections) != 1:
            raise ValueError(f"config: {len(sections)} sections have a key {key!r}")
        sections[0][key] = value
    return config


def one_window_each(data: Histories, length: int) -> Histories:
    """Keeps so much of each history that its targets are those of a padded row.

    These are the last `length` items, and the item before them as an input.
    """
    begin = np.maximum(data.offsets[:-1], data.offsets[1:] - length - 1)
    kept = [data.values[a:b] for a, b in zip(begin, data.offsets[1:], strict=True)]
    offsets = np.cumsum([0, *map(len, kept)])
    return Histories(np.concatenate(kept), offsets)


def make_split(data: Histories, items: int, held_out: int = 0) -> Split:
    """Returns a split whose targets are the last events of users.

    Args:
        data: The histories.
        items: Catalogue size.
        held_out: 1 to train on all events but the targets; 0 to train on them too,
            where nothing will be evaluated.
    """
    sequences = Sequences(
        values=data.values,
        offsets=np.asarray(data.offsets, np.int64),
        user_ids=np.arange(1, len(data.offsets)).astype(str),
        item_ids=np.concatenate([[""], np.arange(1, items + 1).astype(str)]),
        name="generated",
    )
    ends = sequences.offsets[1:]
    users = np.flatnonzero(sequences.lengths > held_out)
    cases = Cases(users.astype(np.int32), ends[users] - 1)
    return Split(sequences, ends - held_out, valid=cases, test=cases)


def make_task(split: Split, config: Mapping[str, Any]) -> NextItem:
    """Returns the task on one device."""
    return NextItem(config, split, parallel.make_mesh(1, jax.devices()[:1]))


def task_with_targets(
    split: Split, labels: np.ndarray, shape: Shape, name: str = "lrurec", **changes: Any
) -> NextItem:
    """Returns a task whose first batch has the very targets of a peer's batch.

    Args:
        split: The users of the peer's batch.
        labels: Its targets, 0 where there is none.
        shape: As for `make_config`.
        name: Likewise.
        **changes: Likewise.

    Raises:
        ValueError: If the targets are not the same.
    """
    theirs = np.sort(labels[labels > 0])
    # Rows are rounded: at worst one more is needed to hold all users in one batch.
    for extra in (0, math.ceil(shape.batch / 8)):
        size = shape.batch + extra
        task = make_task(split, make_config(shape, name, size=size, **changes))
        ours = task.batch(0)["labels"]
        if np.array_equal(np.sort(ours[ours > 0]), theirs):
            return task
    raise ValueError(
        f"our batch has {np.count_nonzero(ours)} targets, the padded rows have "
        f"{len(theirs)}, or they are others"
    )


class Trainer:
    """A compiled training step with its state: each call trains by one step.

    Args:
        task: What is trained.
        params: Parameters to begin with; they are copied.
        program: The step, if it was compiled before for a task of this shape.

    Attributes:
        task: As given.
        program: The compiled step, for `jaxrec.core.timing.memory_plan`.
        batch: The batch that is trained on, placed on the device.
        targets: Number of targets in it.
        compile_s: Seconds that compilation took.
    """

    def __init__(self, task: NextItem, params: Any, program: Any = None):
        self.task = task
        config = task.config
        optimiser = make_optimiser(
            config["optim"], config["train"]["steps"], task.decayed, task.frozen
        )
        self._step = parallel.make_step(
            task.loss,
            optimiser,
            task.mesh,
            micro=parallel.micro_batches(config["parallel"]["micro"]),
        )
        params = jax.tree.map(jnp.array, params)  # A copy: the state is donated.
        state = {
            "params": params,
            "opt": optimiser.init(params),
            "step": jnp.zeros((), jnp.int32),
        }
        placed = parallel.shardings(task.mesh, state, task.rules)
        self._state = jax.device_put(state, placed)
        self._key = jax.random.fold_in(jax.random.key(config["seed"]), 1)
        batch = task.batch(0)
        self.targets = task.examples(batch)
        self.batch = parallel.put_batch(batch, task.mesh)
        self.program, self.compile_s = program, 0.0
        if program is None:
            self.program, self.compile_s = timing.compile_timed(
                self._step, *self._arguments()
            )

    def __call__(self, batch: Mapping[str, jax.Array] | None = None) -> jax.Array:
        """Trains on a batch, the one of step 0 if not given; returns the mean loss."""
        arguments = self._arguments(self.batch if batch is None else batch)
        self._state, report = self.program(*arguments)
        return report["loss"]

    def compile_cold_and_warm(self) -> dict[str, float]:
        """Returns seconds of compilation without and with JAX's persistent cache."""
        _, cold, warm = timing.compile_cold_and_warm(self._step, *self._arguments())
        return {"compile_s": cold, "compile_warm_s": warm}

    def loss(self) -> float:
        """Returns the mean loss on the batch under the present parameters."""
        sums = jax.jit(self.task.loss)(self._state["params"], self.batch, self._key)
        value, weight = sums["loss"]
        return float(value / weight)

    def _arguments(self, batch=None):
        return self._state, self.batch if batch is None else batch, self._key
