"""Masked-item prediction: hidden items of a history from all the others.

`run(config, workdir)` is the whole job, as in `jaxrec.tasks.next_item`. Evaluation puts
the mask token behind the history, as BERT4Rec does (Sun et al., CIKM 2019): a model of
`length` positions then sees the last length - 1 events, one less than a model that
reads from left to right.
"""

from collections.abc import Mapping
from typing import Any

import jax

from jaxrec.data.masked_batches import MaskedBatches
from jaxrec.models import mask_token_of
from jaxrec.tasks.ranking import RankingTask
from jaxrec.tasks.workflow import run_task


def run(config: Mapping[str, Any], workdir: str) -> dict[str, float]:
    """Trains and tests one backbone on one data set.

    Args:
      config: as from `configs/bert4rec.py`.
      workdir: see `jaxrec.tasks.workflow.run_task`.

    Returns:
      The step of the best parameters; their Recall@10 and NDCG@10 on the test targets,
      and those of the floors and of the ceiling, as fractions.

    Raises:
      ValueError: a config value that is unknown or impossible, or a workdir that holds
        another run.
    """
    return run_task(MaskedItem, config, workdir)


class MaskedItem(RankingTask):
    """The task: predict items that were replaced by the mask token.

    Raises:
      ValueError: see `RankingTask` and `MaskedBatches`; or a model without mask token.
    """

    def make_batches(self) -> MaskedBatches:
        token = mask_token_of(self.model, self.cfg)
        if token is None:
            raise ValueError(
                f"model {self.config['model']['name']!r} reads from left to right here "
                "and has no mask token. Use the entry jaxrec.tasks.next_item, or "
                "model.causal=false where the model has it"
            )
        batch = self.config["batch"]
        return MaskedBatches(
            self.split,
            probability=batch["mask_probability"],
            token=token,
            size=batch["size"],
            length=batch["length"],
            layout=batch["layout"],
            seed=self.config["seed"],
            multiple=self.row_multiple,
            windows=batch["windows"],
            draws=self.needs_draws,
            **self.sharing,
        )

    def outputs(self, params, batch, keys) -> jax.Array:
        return self.encoded(params, batch, keys, at=batch["slots"])

    def label_segments(self, batch) -> None:
        """Other masked items of the window may be negatives."""
        return None
