"""Scores that lean towards what is bought often, as far as validation asks for it.

    score of an item for the tested and served model = s + c (log(1 + n) - average)

with n its events in training, the average that of the items and c a weight (the logit
adjustment after training of Menon et al., "Long-tail learning via logit adjustment",
ICLR 2021, who lean the other way, towards rare classes). A model that has seen its
training histories many times, and through dropout, trusts what it knows of a single
history too much, and so ranks rare items too high in histories that are new to it; what
all histories have in common it knows well. An item without training events that is
known by its features is new, not unpopular: it counts as the average one, as do items
that a running model takes in.

popularity_prior.npz    log_counts (items + 1,) float32, log(1 + n) or what it counts as
                        sizes (k,) int32, weights (k,) float32: of a nested model each
                        size has its own; one of 0 is that of a model with one size
"""

import dataclasses
import os
import zipfile
from pathlib import Path

import numpy as np

PRIOR_FILE = "popularity_prior.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class PopularityPrior:
    """What is added to the scores of a model.

    Attributes:
        log_counts: (items + 1,) float32, 0 for the padding.
        weights: By size of a nested model, {0: ...} for others.
    """

    log_counts: np.ndarray
    weights: dict[int, float]

    def weight(self, size: int | None = None) -> float:
        """Of a size or of the whole model."""
        return self.weights[max(self.weights) if size is None else size]

    def bias(self, size: int | None = None) -> np.ndarray:
        """(items + 1,) float32, what a size or the whole model gets added; 0 for the
        padding and the average item."""
        bias = self.log_counts - self.log_counts[1:].mean()
        bias[0] = 0
        return np.float32(self.weight(size)) * bias

    def of_size(self, size: int) -> "PopularityPrior":
        """That of the model that is cut out at a size."""
        kept = {s: w for s, w in self.weights.items() if s <= size}
        return dataclasses.replace(self, weights=kept)


def save(workdir: str | os.PathLike[str], prior: PopularityPrior | None) -> None:
    """Writes popularity_prior.npz into a run's directory; None removes it."""
    path = Path(workdir) / PRIOR_FILE
    if prior is None:
        path.unlink(missing_ok=True)
        return
    partial = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        partial,
        log_counts=prior.log_counts,
        sizes=np.array(list(prior.weights), np.int32),
        weights=np.array(list(prior.weights.values()), np.float32),
    )
    partial.replace(path)


def load(workdir: str | os.PathLike[str], items: int) -> PopularityPrior | None:
    """The prior of a run, None if it has none.

    Args:
        workdir: Directory of the run.
        items: Size of its catalogue.

    Raises:
        ValueError: The file is damaged or of another catalogue.
    """
    path = Path(workdir) / PRIOR_FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            sizes, weights = arrays["sizes"].tolist(), arrays["weights"].tolist()
            prior = PopularityPrior(
                arrays["log_counts"], dict(zip(sizes, weights, strict=True))
            )
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if prior.log_counts.shape != (items + 1,):
        raise ValueError(
            f"{path}: log_counts is {prior.log_counts.shape}, not of {items} items"
        )
    return prior
