"""A floor that knows what items are: those most like the last one, by their features.

Score of item v after a history that ends with item l: the cosine of their features. It
is trained on nothing, so it ranks items that nobody has bought as well as others.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.splits import Split
from jaxrec.eval.metrics import Ranks
from jaxrec.eval.ranking import rank_cases


def nearest_ranks(
    split: Split,
    part: str,
    features: np.ndarray,
    *,
    mask: str,
    window: int,
    repeat_targets: str = "keep",
) -> Ranks:
    """Ranks of the targets of a part by likeness to the last item of the history.

    Args:
        split: Data.
        part: "test" or "valid".
        features: (items, dim) float32; an item without any has a row of 0, and is as
            like to everything as what is at a right angle to it.
        mask: As for `jaxrec.eval.ranking.rank_cases`.
        window: Likewise.
        repeat_targets: Likewise. Ties are ranked at their expected place.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    table = np.zeros((len(features) + 1, features.shape[1]), np.float32)
    np.divide(features, lengths, out=table[1:], where=lengths > 0)
    return rank_cases(
        jnp.asarray(table),
        split,
        part,
        _last_vector,
        _as_head,
        window=window,
        mask=mask,
        ties="expected",
        repeat_targets=repeat_targets,
    )


@jax.jit
def _last_vector(table, ids):
    return table[ids[:, -1]]


def _as_head(table):
    return table, jnp.zeros(len(table))
