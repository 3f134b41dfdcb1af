"""What `python -m jaxbio.cluster` writes: labels, samples and a picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxbio.clustering.consensus import together
from jaxbio.clustering.estimator import MEANS, AttentiveClustering
from jaxbio.clustering.figures import plot_graph, plot_points
from jaxbio.clustering.graphs.read import read
from jaxbio.clustering.points.read import read_points

_OF_A_PART = 8  # samples: more change nothing, since many parts are merged


def answer_points(
    model: AttentiveClustering,
    path: str,
    columns: Sequence[str],
    out: Path,
    **how: Any,
) -> str:
    """Clusters the points of a file; what to tell of it.

    Args:
      model: of points.
      path: see `jaxbio.clustering.points.read.read_points`.
      columns: see there.
      out: directory to write, made if need be.
      **how: samples, seed, and which estimate labels are.
    """
    points = read_points(path, columns)

    def picture(*answer):
        plot_points(points, *answer, out / "answer.png")

    return _answer(model, points, range(len(points)), "point", out, picture, **how)


def answer_graph(model: AttentiveClustering, path: str, out: Path, **how: Any) -> str:
    """Clusters the nodes of a graph in a file; what to tell of it.

    Args:
      model: of graphs.
      path: see `jaxbio.clustering.graphs.read.read`.
      out: directory to write, made if need be.
      **how: samples, seed, and which estimate labels are.
    """
    graph = read(path)
    if len(graph) > model.reach:
        labels, sure = model.fit_predict_in_parts(
            graph,
            samples=min(how["samples"], _OF_A_PART),
            mode=how["estimate"],
            seed=how["seed"],
            certainty=True,
        )
        out.mkdir(parents=True, exist_ok=True)
        _write_labels(out, "node", graph.nodes, labels, sure)
        return (
            f"{len(graph):,} nodes, in parts of {model.trained_on}: "
            f"{labels.max() + 1} clusters, in {out / 'labels.csv'}\n"
            "of parts there are labels only, no samples and no picture"
        )

    def picture(*answer):
        plot_graph(graph.matrix().toarray(), *answer, out / "answer.png")

    return _answer(model, graph, graph.nodes, "node", out, picture, **how)


def _answer(
    model: AttentiveClustering,
    data: Any,
    names: Sequence[Any],
    what: str,
    out: Path,
    picture: Callable[..., None],
    *,
    samples: int,
    seed: int,
    estimate: str,
) -> str:
    if estimate == "refined":
        model.check_refines()
    drawn = model.sample(data, samples, key=seed, progress=True)
    order = np.argsort(-drawn.log_prob, kind="stable")
    _, first = np.unique(drawn.labels[order], axis=0, return_index=True)
    best = order[np.sort(first)]
    shared = together(drawn.labels)
    sure, kind, how_far = None, estimate, ""
    if estimate == "topk":
        labels, kind = drawn.labels[best[0]], "most probable"
    elif estimate == "refined":
        labels, marginals, _, evidence = model.refine(data, drawn.labels, shared)
        if labels.max():
            sure = marginals.max(1)
            how_far = f" ({evidence:.1f} nats more probable than one)"
    else:
        labels = MEANS[estimate](drawn.labels, shared)
    counts = np.bincount(drawn.labels.max(1) + 1) / len(drawn.labels)
    if sure is None:
        same = labels[:, None] == labels
        sure = (shared * same).sum(1) / same.sum(1)
    out.mkdir(parents=True, exist_ok=True)
    _write_labels(out, what, names, labels, sure)
    np.savez_compressed(
        out / "samples.npz", **drawn._asdict(), coclustering=shared, clusters=counts
    )
    picture(drawn.labels[best], drawn.log_prob[best], shared, counts)
    numbers = ", ".join(f"{k}: {p:.2f}" for k, p in enumerate(counts) if p >= 0.005)
    found = "1 cluster" if not labels.max() else f"{labels.max() + 1} clusters"
    told = (
        f"{len(labels)} {what}s, {samples} samples, {len(best)} distinct\n"
        f"clusters and their probability: {numbers}\n"
        f"the {kind} has {found}{how_far}, in {out / 'labels.csv'}"
    )
    if estimate == "consensus" and not labels.max() and counts[1] < 0.5:
        weak = "refined" if model.refines else "maxami"
        told += f"\nsamples share little; --estimate={weak} looks for weak structure"
    return told


def _write_labels(out, what, names, labels, certainty):
    lines = [f"{what},cluster,certainty"]
    for name, label, sure in zip(names, labels, certainty, strict=True):
        lines.append(f"{_quoted(str(name))},{label},{sure:.4f}")
    (out / "labels.csv").write_text("\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    """A cell of a CSV file."""
    if any(sign in text for sign in ',"\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
