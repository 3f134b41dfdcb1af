"""Pictures of an answer: samples side by side, and how often points go together."""

import os
from pathlib import Path

import numpy as np

from jaxrec.core.plots import GREY, new_figure

# Twelve hues that stay apart in print and for most kinds of colour blindness.
_PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#7F3C8D", "#A5AA99", "#11A579", "#8C510A", "#F2B701", "#4B4B8F"),
)


def plot_answer(
    points: np.ndarray,
    labels: np.ndarray,
    log_prob: np.ndarray,
    together: np.ndarray,
    clusters: np.ndarray,
    path: str | os.PathLike[str],
) -> None:
    """Draws partitions of points and what the posterior says of pairs.

    Above the first partitions, below the co-clustering matrix, with the points in the
    order of the first one's clusters, and the posterior of the number of clusters.

    Args:
      points: (n, d); more than two coordinates are shown along their two principal
        axes, one against its index.
      labels: (S, n), the most probable first; up to four are drawn.
      log_prob: (S,), in nats.
      together: (n, n) probabilities that two points share a cluster.
      clusters: probabilities of 0, 1, 2, ... clusters.
      path: of the file, whose ending says its kind.
    """
    shown = min(len(labels), 4)
    figure = new_figure(3.2 * max(shown, 2), 6.4)
    above, below = figure.subfigures(2, 1)
    plane, names = _plane(points)
    for axes, row, value in zip(
        above.subplots(1, shown, squeeze=False, sharex=True, sharey=True)[0],
        labels,
        log_prob,
        strict=False,
    ):
        colours = [_PALETTE[k % len(_PALETTE)] for k in row]
        axes.scatter(*plane.T, c=colours, s=12, linewidths=0)
        axes.set_title(f"{row.max() + 1} clusters, log p = {value:.1f}", fontsize=9)
        axes.set_xlabel(names[0])
        axes.spines[["top", "right"]].set_visible(False)
    above.axes[0].set_ylabel(names[1])
    left, right = below.subplots(1, 2)
    order = np.argsort(labels[0], kind="stable")
    image = left.imshow(
        together[np.ix_(order, order)], vmin=0, vmax=1, cmap="Blues", aspect="equal"
    )
    left.set_title("probability of sharing a cluster", fontsize=9)
    left.set_xlabel("point, by cluster of the first partition")
    below.colorbar(image, ax=left, fraction=0.046)
    right.bar(np.arange(len(clusters)), clusters, color=_PALETTE[0])
    right.set_xlabel("number of clusters")
    right.set_ylabel("posterior probability")
    right.spines[["top", "right"]].set_visible(False)
    right.tick_params(colors=GREY)
    partial = Path(path).with_suffix(".partial" + Path(path).suffix)
    figure.savefig(partial)
    partial.replace(path)


def _plane(points: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """Two coordinates (n, 2) of points (n, d), and what they are."""
    if points.shape[1] == 1:
        index = np.arange(len(points))
        return np.column_stack([points[:, 0], index]), ("value", "row")
    if points.shape[1] == 2:
        return points, ("first column", "second column")
    centred = points - points.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:2].T, ("first principal axis", "second principal axis")
