"""Training of a clustering process: `run(config, workdir)` is the whole job.

Sets are drawn on the device, each from its own number, so that the same global batch is
the same on one device or on eight, and no set is seen twice.
"""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxbio.clustering import evaluation, stored
from jaxbio.clustering.processes import process_of
from jaxrec.core import parallel
from jaxrec.core.cli import results_table
from jaxrec.core.environment import write_environment
from jaxrec.core.run_directory import as_workdir, claim
from jaxrec.core.train import fit

_STREAMS = ("train", "valid", "test")
MAY_DIFFER = (
    *("train.steps", "train.log_every", "train.save_every", "train.patience"),
    *("eval", "parallel"),
)


def run(config: Mapping[str, Any], workdir: str) -> dict[str, float]:
    """Trains a model and tests it on sets of the same generator.

    Args:
      config: as from `configs/acp_points.py`.
      workdir: gets config.json, environment.json, metrics, checkpoints and test.json.
        A workdir with an unfinished run of the same config is resumed.

    Returns:
      The step of the best parameters, and figures on the test sets as of
      `jaxbio.clustering.evaluation.scores`: means with standard errors.

    Raises:
      ValueError: a config value that is unknown or impossible, or a workdir that holds
        another run.
    """
    path = as_workdir(workdir)
    mesh = parallel.make_mesh()
    task = Clustering(config, mesh)
    if jax.process_index() == 0:
        claim(path, config, MAY_DIFFER)
        write_environment(path)
    fitted = fit(task, config, mesh, path)
    results = task.evaluate(fitted.params, "test")
    if jax.process_index() == 0:
        (path / "test.json").write_text(json.dumps(results, indent=1) + "\n")
    logging.info(
        "Test, best step %d, %d sets, ± is one standard error over sets:\n%s",
        fitted.best_step,
        config["eval"]["sets"],
        results_table(results),
    )
    return {"best_step": fitted.best_step} | {
        f"test/{name}": value for name, value in results.items()
    }


class Clustering:
    """The task: say which points belong to the cluster of an anchor, again and again.

    Raises:
      ValueError: a config value that is unknown or impossible.
    """

    rules: parallel.Rules = ()
    loss_label = "training loss (nats per point)"

    def __init__(self, config: Mapping[str, Any], mesh: jax.sharding.Mesh):
        self.config = config
        self.model = stored.model_of(config)
        self.process = process_of(self.model)
        self.generator, self.data_cfg = stored.generator_of(config)
        self.most = self.data_cfg.max_clusters
        micro = parallel.micro_batches(config["parallel"]["micro"])
        self.size = config["batch"]["sets"]
        multiple = mesh.shape["data"] * micro
        if self.size < 1 or self.size % multiple:
            raise ValueError(
                f"batch.sets={self.size}: want a multiple of {multiple}, the devices "
                "times parallel.micro"
            )
        for section, names in {"batch": ("steps", "draws"), "eval": _EVAL}.items():
            for name in names:
                if config[section][name] < 1:
                    raise ValueError(
                        f"{section}.{name}: want 1 or more, got {config[section][name]}"
                    )

    def init(self, key: jax.Array) -> Any:
        return self.process.init(key, self.model)

    def furnish(self, params: Any) -> Any:
        return params

    def decayed(self, path: tuple[str, ...]) -> bool:
        return path[-1] == "kernel"

    def frozen(self, path: tuple[str, ...]) -> bool:
        return False

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Numbers of the sets of a step."""
        return {
            "set": np.arange(step * self.size, (step + 1) * self.size, dtype=np.uint32)
        }

    def examples(self, batch: Mapping[str, np.ndarray]) -> int:
        """Sets in a batch."""
        return len(batch["set"])

    def draw(self, numbers: jax.Array, stream: str) -> dict[str, Any]:
        """Sets by number, of the stream "train", "valid" or "test"."""
        root = jax.random.fold_in(jax.random.key(self.config["seed"]), 2)
        root = jax.random.fold_in(root, _STREAMS.index(stream))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(root, numbers)
        return jax.vmap(lambda key: self.generator.draw(key, self.data_cfg))(keys)

    def loss(self, params: Any, batch: Any, key: jax.Array) -> parallel.Sums:
        """-log p of the steps that were taken, in nats per point, and per set."""
        sets = self.draw(batch["set"], "train")
        labels = sets["labels"]
        encoded = self.process.encode(params, self.model, sets["inputs"], labels >= 0)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["set"])
        options = self.config["batch"]
        found, weights = self.process.log_steps_of(
            params,
            self.model,
            encoded,
            labels,
            keys,
            most=self.most,
            steps=options["steps"],
            draws=options["draws"],
        )
        total = -(found * weights).sum()
        points = (labels >= 0).sum().astype(jnp.float32)
        sets_here = jnp.asarray(len(labels), jnp.float32)
        return {"loss": (total, points), "nats": (total, sets_here)}

    def evaluate(self, params: Any, part: str) -> dict[str, float]:
        """Figures of `evaluation.scores` on drawn sets, and "elbo", -nats."""
        options = self.config["eval"]
        sets = jax.jit(self.draw, static_argnums=1)(
            jnp.arange(options["sets"], dtype=jnp.uint32), part
        )
        found = evaluation.scores(
            params,
            self.model,
            sets,
            jax.random.key(self.config["seed"]),
            samples=options["samples"] if part == "test" else 1,
            orders=options["orders"],
            draws=options["draws"],
        )
        return {"elbo": -float(found["nats"].mean())} | evaluation.summary(found)


_EVAL = ("sets", "samples", "orders", "draws")
