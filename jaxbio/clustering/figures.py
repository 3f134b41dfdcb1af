"""Pictures of an answer: samples side by side, and how often points go together."""

import os
from pathlib import Path

import numpy as np
from matplotlib.patches import Rectangle

from jaxrec.core.plots import GREY, new_figure

# Twelve hues that stay apart in print and for most kinds of colour blindness.
_PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#7F3C8D", "#A5AA99", "#11A579", "#8C510A", "#F2B701", "#4B4B8F"),
)


def plot_points(
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
    plane, names = _plane(points)

    def draw(axes, row):
        axes.scatter(*plane.T, c=[_colour(k) for k in row], s=12, linewidths=0)
        axes.set_xlabel(names[0])
        axes.spines[["top", "right"]].set_visible(False)

    figure, first = _figure(draw, labels, log_prob, together, clusters)
    first.set_ylabel(names[1])
    _save(figure, path)


def plot_graph(
    adjacency: np.ndarray,
    labels: np.ndarray,
    log_prob: np.ndarray,
    together: np.ndarray,
    clusters: np.ndarray,
    path: str | os.PathLike[str],
) -> None:
    """Draws partitions of nodes as adjacency matrices in the order of the clusters.

    Args:
      adjacency: (n, n).
      labels: as for `plot_points`, and the others.
      log_prob: (S,), in nats.
      together: (n, n).
      clusters: probabilities of 0, 1, 2, ... clusters.
      path: of the file.
    """

    def draw(axes, row):
        order = np.argsort(row, kind="stable")
        u, v = np.nonzero(adjacency[np.ix_(order, order)])
        axes.scatter(v, u, s=2, color=GREY, linewidths=0)
        begin = 0
        for k, size in enumerate(np.bincount(row)):
            sides = dict(fill=False, edgecolor=_colour(k), linewidth=1.5)
            axes.add_patch(Rectangle((begin - 0.5, begin - 0.5), size, size, **sides))
            begin += size
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_xlabel("node, by cluster")

    figure, _ = _figure(draw, labels, log_prob, together, clusters, share=False)
    _save(figure, path)


def _figure(draw, labels, log_prob, together, clusters, share=True):
    """Up to four partitions by `draw`, and the panels below; the first axes too."""
    shown = min(len(labels), 4)
    figure = new_figure(3.2 * max(shown, 2), 6.4)
    above, below = figure.subfigures(2, 1)
    panels = above.subplots(1, shown, squeeze=False, sharex=share, sharey=share)[0]
    for axes, row, value in zip(panels, labels, log_prob, strict=False):
        draw(axes, row)
        axes.set_title(f"{row.max() + 1} clusters, log p = {value:.1f}", fontsize=9)
    left, right = below.subplots(1, 2)
    order = np.argsort(labels[0], kind="stable")
    image = left.imshow(
        together[np.ix_(order, order)], vmin=0, vmax=1, cmap="Blues", aspect="equal"
    )
    left.set_title("probability of sharing a cluster", fontsize=9)
    left.set_xlabel("by cluster of the first partition")
    below.colorbar(image, ax=left, fraction=0.046)
    right.bar(np.arange(len(clusters)), clusters, color=_PALETTE[0])
    right.set_xlabel("number of clusters")
    right.set_ylabel("posterior probability")
    right.spines[["top", "right"]].set_visible(False)
    return figure, panels[0]


def _colour(label: int) -> str:
    return _PALETTE[label % len(_PALETTE)]


def _save(figure, path: str | os.PathLike[str]) -> None:
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
