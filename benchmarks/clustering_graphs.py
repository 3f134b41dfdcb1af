"""Cases of `benchmarks.clustering` on graphs: beside Leiden, Infomap, spectral methods.

Adjusted mutual information with the truth, mean and standard error over graphs, or mean
and standard deviation over ten seeds on a real network. No method but the two spectral
ones is told the number of communities.
"""

import os
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import harness
from benchmarks.clustering_scores import mean
from benchmarks.peers import communities as peers
from jaxbio.clustering import AttentiveClustering, stored
from jaxbio.clustering.consensus import consensus, maxami
from jaxbio.clustering.graphs import propagation, symmetric_sbm
from jaxbio.clustering.graphs.communities import best_matches, single_labels
from jaxbio.clustering.graphs.features import Features, node_features
from jaxbio.clustering.graphs.graph import Graph, induced, largest_component
from jaxbio.clustering.graphs.inputs import as_graph
from jaxbio.clustering.graphs.read import read
from jaxbio.clustering.metrics import adjusted_mutual_info

_SEED = 1_000_003  # of the graphs; no training drew with it
_SAMPLES = 32
_MORE = 128  # where samples share little: of few the consensus may be one cluster


def sbm(bench: harness.Benchmark, where: str) -> None:
    """Graphs of the stochastic block model that the model was trained on."""
    count = 8 if bench.quick else 60
    kept = stored.load(where)
    graphs = _drawn(kept.generator, kept.data_cfg, count)
    found = _compared(AttentiveClustering.load(where), graphs, _SAMPLES)
    bench.record("sbm", graphs=count, **found)


def features(bench: harness.Benchmark, where: str) -> None:
    """What kinds of node features tell by themselves: k-means with the true number of
    blocks on 40 graphs of two blocks or more, and what computing them takes."""
    kept = stored.load(where)
    graphs = [
        graph
        for graph in _drawn(kept.generator, kept.data_cfg, 8 if bench.quick else 60)
        if graph.labels.max() > 0
    ][:40]
    size = kept.data_cfg.max_points
    kinds = {
        "as published": Features(
            operator="laplacian", weighting="none", iterations=0, degree=False
        ),
        "times the root of the size, degree": Features(
            operator="laplacian", weighting="root_size", iterations=0
        ),
        "by magnitude times eigenvalue": Features(degree=False),
        "the same, degree": Features(),
        "the same, exactly": Features(iterations=0),
    }
    for name, cfg in kinds.items():
        program = jax.jit(node_features, static_argnames="cfg")
        rows, seconds = [], []
        for seed, graph in enumerate(graphs):
            matrix = np.zeros((size, size), np.float32)
            matrix[: len(graph), : len(graph)] = graph.matrix().toarray()
            valid = np.arange(size) < len(graph)
            begin = time.process_time()
            found = np.asarray(program(matrix, valid, cfg))[: len(graph)]
            seconds.append(time.process_time() - begin)
            count = len(np.unique(graph.labels))
            labels = peers.kmeans(found.astype(float), count, seed)
            rows.append(adjusted_mutual_info(graph.labels, labels))
        bench.record(
            f"features: {name}",
            graphs=len(graphs),
            ami=mean(rows),
            cpu_ms=round(1e3 * float(np.median(seconds)), 2),
        )


def threshold(bench: harness.Benchmark, where: str) -> None:
    """Equal blocks in 1,000 nodes, below and above the threshold of detection, a
    signal-to-noise ratio of 1: two of mean degree 6, four of mean degree 12."""
    model = AttentiveClustering.load(where)
    for blocks, degree in ((2, 6.0), (4, 12.0)):
        for ratio in (0.5, 2.0) if bench.quick else (0.5, 1.5, 2.0, 3.0, 5.0):
            cfg = symmetric_sbm.Config(
                min_points=300 if bench.quick else 1000,
                max_points=300 if bench.quick else 1000,
                clusters=(blocks, blocks),
                degree=(degree, degree),
                ratio=(ratio, ratio),
            )
            graphs = _drawn(symmetric_sbm, cfg, 2 if bench.quick else 8)
            found = _compared(model, graphs, _MORE)
            about = {"blocks": blocks, "degree": degree, "ratio": ratio}
            bench.record("threshold", model=Path(where).name, **about, **found)


def real(bench: harness.Benchmark, where: str) -> None:
    """Networks with known communities under JAXREC_DATA_DIR, and the karate club, as
    far as the model reaches."""
    model = AttentiveClustering.load(where)
    for name, graph in _networks(bench.quick).items():
        if len(graph) <= model.reach:
            found = _on_one(model, graph)
            bench.record(
                f"real {name}", model=Path(where).name, nodes=len(graph), **found
            )


def parts(bench: harness.Benchmark, where: str) -> None:
    """Networks that are larger, in parts; community files by their best matches too."""
    model = AttentiveClustering.load(where)
    for name, graph in {} if bench.quick else _networks().items():
        if len(graph) > model.reach:
            found = _on_one(model, graph)
            bench.record(
                f"parts {name}", model=Path(where).name, nodes=len(graph), **found
            )
    for path in sorted(_folder().glob("clare/*.ungraph.txt.gz")):
        name = path.name.removesuffix(".ungraph.txt.gz")
        graph = read(path, communities=path.with_name(f"{name}.cmty.txt"))
        if bench.quick:
            at = np.unique(np.concatenate(graph.communities[:20]))
            graph = induced(graph, at)
        seeds = 1 if bench.quick or len(graph) > 30_000 else 3
        found = _on_communities(model, graph, seeds)
        bench.record(f"parts {name}", model=Path(where).name, nodes=len(graph), **found)


def _drawn(generator, cfg, count) -> list[Graph]:
    """Graphs with their labels."""
    keys = jax.random.split(jax.random.key(_SEED), count)
    sets = jax.jit(jax.vmap(lambda key: generator.draw(key, cfg)))(keys)
    graphs = []
    for matrix, labels in zip(sets["inputs"]["adjacency"], sets["labels"], strict=True):
        size = int((labels >= 0).sum())
        graph = as_graph(np.asarray(matrix)[:size, :size])
        graphs.append(_labelled(graph, np.asarray(labels)[:size]))
    return graphs


def _labelled(graph: Graph, labels: np.ndarray) -> Graph:
    return Graph(graph.nodes, graph.edges, labels.astype(np.int32))


def _compared(
    model: AttentiveClustering, graphs: list[Graph], samples: int
) -> dict[str, list]:
    """AMI of every method on every graph, mean and standard error."""
    drawn = model.sample(graphs, samples, orders=2)
    ours = {
        "posterior sample": [one.labels[0] for one in drawn],
        f"best of {samples}": [one.labels[one.log_prob.argmax()] for one in drawn],
        f"consensus of {samples}": [consensus(one.labels) for one in drawn],
        f"maxami of {samples}": [maxami(one.labels) for one in drawn],
    }
    if model.refines:
        ours[f"refined of {samples}"] = [
            model.refine(graph, one.labels).labels
            for graph, one in zip(graphs, drawn, strict=True)
        ]
    answers = dict(ours)
    for seed, graph in enumerate(graphs):
        peer = _by_peers(graph, seed)
        if model.refines:  # the same without a model
            start = peer["Bethe Hessian, true K"]
            peer["Bethe Hessian refined"] = propagation.refine(graph, [start]).labels
        for name, labels in peer.items():
            answers.setdefault(name, []).append(labels)
    truth = [graph.labels for graph in graphs]
    found = {
        name: mean([adjusted_mutual_info(*p) for p in zip(truth, rows, strict=True)])
        for name, rows in answers.items()
    }
    for name, rows in ours.items():
        pairs = zip(rows, truth, strict=True)
        gaps = [len(np.unique(row)) - len(np.unique(own)) for row, own in pairs]
        found[f"clusters less true: {name}"] = mean(gaps)
    return found


def _by_peers(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    count = len(np.unique(graph.labels[graph.labels >= 0]))
    matrix = graph.matrix().toarray()
    found = {
        "spectral, true K": peers.normalised_spectral(matrix, count, seed),
        "Bethe Hessian, true K": peers.bethe_hessian(matrix, count, seed),
        "Leiden": peers.leiden(graph.edges, len(graph), seed),
        "Infomap": peers.infomap(graph.edges, len(graph), seed),
    }
    return found


def _on_one(model: AttentiveClustering, graph: Graph) -> dict[str, list[float]]:
    """AMI of ten seeds on one network, mean and standard deviation."""
    known = graph.labels >= 0
    rows: dict[str, list[float]] = {}
    for seed in range(10):
        answers = dict(_by_peers(graph, seed)) | _ours(model, graph, seed)
        for name, labels in answers.items():
            score = adjusted_mutual_info(graph.labels[known], labels[known])
            rows.setdefault(name, []).append(score)
    return {
        name: [round(float(np.mean(v)), 4), round(float(np.std(v)), 4)]
        for name, v in rows.items()
    }


def _on_communities(
    model: AttentiveClustering, graph: Graph, seeds: int
) -> dict[str, list[float]]:
    """AMI of nodes in one community, best matches of all communities, and the number
    of clusters, means over seeds."""
    labels = single_labels(graph)
    known = labels >= 0
    rows: dict[str, list[tuple[float, float, int]]] = {}
    for seed in range(seeds):
        answers = {
            "Leiden": peers.leiden(graph.edges, len(graph), seed),
            "Infomap": peers.infomap(graph.edges, len(graph), seed),
            "ours, in parts": model.fit_predict_in_parts(graph, seed=seed),
        }
        for name, found in answers.items():
            score = adjusted_mutual_info(labels[known], found[known])
            matched = float(best_matches(graph, found).mean())
            rows.setdefault(name, []).append((score, matched, int(found.max()) + 1))
    return {
        f"{figure}: {name}": round(float(np.mean([row[at] for row in found])), 4)
        for name, found in rows.items()
        for at, figure in enumerate(("ami", "f1", "clusters"))
    }


def _ours(model: AttentiveClustering, graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """The most probable of some samples, and what is near all of them."""
    if len(graph) > model.reach:
        return {"ours, in parts": model.fit_predict_in_parts(graph, seed=seed)}
    drawn = model.sample(graph, _MORE, key=seed, orders=1)
    return {
        "ours, best": drawn.labels[drawn.log_prob.argmax()],
        "ours, consensus": consensus(drawn.labels),
        "ours, maxami": maxami(drawn.labels),
    }


def _folder() -> Path:
    return Path(os.environ.get("JAXREC_DATA_DIR", "")) / "graphs"


def _networks(quick: bool = False) -> dict[str, Graph]:
    """The largest component of each network that is here."""
    graphs = {"karate": _karate()}
    names = ["football", "polbooks", "dolphins", "polblogs"]
    for name in names[: 2 if quick else None]:
        for path in _folder().glob(f"small/{name}.gml*"):
            graphs[name] = largest_component(read(path))
    if not quick:
        for path in sorted(_folder().glob("planetoid/c*.npz")):
            graphs[path.stem] = largest_component(read(path))
    return graphs


def _karate() -> Graph:
    import networkx

    club = networkx.karate_club_graph()
    labels = [club.nodes[node]["club"] == "Officer" for node in club]
    return _labelled(as_graph(networkx.to_numpy_array(club)), np.array(labels))
