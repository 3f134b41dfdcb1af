"""Next-item prediction: each item of a history from the items before it.

`run(config, workdir)` is the whole job: load and split the data, train, take the
parameters that were best on the validation targets, rank the test targets, and put the
floors (and the ceiling, where the data's generator knows it) in the same table.
"""

from collections.abc import Mapping
from typing import Any

import jax

from jaxrec.data.batches import Batches
from jaxrec.models import mask_token_of, times_of
from jaxrec.tasks.ranking import RankingTask
from jaxrec.tasks.workflow import run_task


def run(config: Mapping[str, Any], workdir: str) -> dict[str, float]:
    """Trains and tests one backbone on one data set.

    Args:
      config: as from `configs/lrurec.py`.
      workdir: see `jaxrec.tasks.workflow.run_task`.

    Returns:
      The step of the best parameters; their Recall@10 and NDCG@10 on the test targets,
      and those of the floors and of the ceiling, as fractions.

    Raises:
      ValueError: a config value that is unknown or impossible, or a workdir that holds
        another run.
    """
    return run_task(NextItem, config, workdir)


class NextItem(RankingTask):
    """The task: predict each item of a history from the items before it.

    Raises:
      ValueError: see `RankingTask`; or a model whose positions see later ones.
    """

    def make_batches(self) -> Batches:
        if mask_token_of(self.model, self.cfg) is not None:
            raise ValueError(
                f"model {self.config['model']['name']!r} is not causal here: a "
                "position would see the item it is to predict. Use the entry "
                "jaxrec.tasks.masked_item, or model.causal=true"
            )
        batch = self.config["batch"]
        return Batches(
            self.split,
            size=batch["size"],
            length=batch["length"],
            layout=batch["layout"],
            seed=self.config["seed"],
            multiple=self.row_multiple,
            bos_target=batch["bos_target"],
            windows=batch["windows"],
            draws=self.needs_draws,
            times=times_of(self.cfg),
            **self.sharing,
        )

    def outputs(self, params, batch, keys) -> jax.Array:
        return self.encoded(params, batch, keys)

    def label_segments(self, batch) -> jax.Array:
        """A window's targets are no negatives of each other."""
        return batch["segments"]
