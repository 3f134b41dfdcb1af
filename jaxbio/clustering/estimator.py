"""The estimator: posterior samples over partitions of a user's data.

model = AttentiveClustering.load("points-2d")
labels = model.fit_predict(points)
drawn = model.sample(points, samples=1000)
"""

import os
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from jaxbio.clustering import batches, stored
from jaxbio.clustering.consensus import consensus, maxami, spectral, together
from jaxbio.clustering.given import as_key, as_rows, check_count, is_table
from jaxbio.clustering.graphs.graph import Graph
from jaxbio.clustering.graphs.propagation import Refined
from jaxbio.clustering.graphs.subgraphs import cluster_in_parts
from jaxbio.clustering.stored import Stored
from jaxrec.core.progress import CountLine

MODES = ("posterior", "mode", "topk")
MEANS = {"consensus": consensus, "maxami": maxami}
ESTIMATES = (*MEANS, "refined", "topk", "mode")
LARGEST = 4096  # points of a set
_REACH = 5  # times the largest set of the training; see `reach`


class Samples(NamedTuple):
    """Partitions of a set of n points.

    Attributes:
      labels: (S, n) int32, canonical: clusters are numbered as they first appear.
      log_prob: (S,) float64, of each partition, in nats.
    """

    labels: np.ndarray
    log_prob: np.ndarray


class AttentiveClustering:
    """Clusters data with a trained clustering process.

    All methods but `refine` and `fit_predict_in_parts` take one data set, or a list or
    tuple of data sets of any sizes, which are then answered together, with a list of
    answers. A data set is what the model's
    generator module takes: of points a table (n, d) of numbers.

    Programs are compiled for sizes that are powers of two, up to 4,096 points; a set is
    padded to the next one. Answers depend on the set and the key alone.

    Args:
      kept: a trained model, from `jaxbio.clustering.stored.load`.
    """

    def __init__(self, kept: Stored):
        self._kept = kept

    @classmethod
    def load(cls, name: str | os.PathLike[str]) -> "AttentiveClustering":
        """A model by the directory of a run, or by the name of one that is shipped.

        Raises:
          FileNotFoundError: there is no such directory or name; known names are told.
          ValueError: a file is damaged.
        """
        return cls(stored.load(name))

    @property
    def card(self) -> dict[str, Any]:
        """Of a shipped model: command, seed, date, device, figures, limits."""
        return dict(self._kept.card)

    @property
    def description(self) -> dict[str, Any]:
        """Configurations of the model, of its encoder and of what it was trained on."""
        return stored.described(self._kept)

    @property
    def kind(self) -> str:
        """What it clusters: "points", "graphs" or "spikes"."""
        return self._kept.generator.__name__.split(".")[-2]

    @property
    def trained_on(self) -> int:
        """Points of the largest set that it was trained on."""
        return self._kept.data_cfg.max_points

    @property
    def reach(self) -> int:
        """Points of the largest set that is answered without a warning.

        What its card says, else five times what it was trained on: at four times,
        polblogs is clustered by `networks` as well as by other methods, and not by
        `social` (`configs/acp_graphs.py`).
        """
        return min(LARGEST, self.card.get("reach", _REACH * self.trained_on))

    def fit_predict(
        self,
        data: Any,
        *,
        samples: int = 128,
        mode: str = "consensus",
        key: int | jax.Array = 0,
    ) -> Any:
        """Labels (n,); a list for a list.

        Args:
          data: a data set, or a list of them.
          samples: how many partitions are drawn. Of few the consensus can be one
            cluster by chance. Of one nothing is asked but its labels, which is the
            fastest answer there is.
          mode: "consensus": the partition nearest to samples of the posterior (see
            `jaxbio.clustering.consensus`). Each sample of a large or noisy set has its
            own errors, and the most probable of them as well. "maxami": the same for
            structure so weak that samples share little. "refined": of `symmetric`
            only, see `refine`. "topk", "mode": the most probable of what `sample`
            draws.
          key: a seed or a key.

        Raises:
          ValueError: unknown mode, one that is not of this model, no sample, or data
            that the model cannot take.
        """
        if mode not in ESTIMATES:
            raise ValueError(f"mode: want one of {', '.join(ESTIMATES)}, got {mode!r}")
        if mode in MEANS:
            return self._from_samples(data, samples, key, MEANS[mode])
        if mode == "refined":
            return self._refined_samples(data, samples, key)
        if samples == 1:
            sets, single = self._sets(data)
            rows = self._draw(sets, 1, mode, key)
        else:
            drawn = self.sample(data, samples, mode, key=key)
            single = isinstance(drawn, Samples)
            rows = [one.labels for one in ([drawn] if single else drawn)]
        labels = [one[0] for one in rows]
        return labels[0] if single else labels

    @property
    def refines(self) -> bool:
        """Whether it can `refine`: a model of graphs of equal blocks."""
        return hasattr(self._kept.generator, "refine")

    def check_refines(self) -> None:
        """Raises ValueError for a model that cannot `refine`."""
        if not self.refines:
            kind = self._kept.generator.__name__.removeprefix("jaxbio.clustering.")
            raise ValueError(
                "refined is an answer of models of equal blocks, such as symmetric; "
                f"this one was trained on {kind}"
            )

    def refine(
        self, graph: Any, labels: np.ndarray, shared: np.ndarray | None = None
    ) -> Refined:
        """The blocks of a graph by the likelihood of what the model was trained on.

        Belief propagation (`jaxbio.clustering.graphs.propagation`) is begun in 2, 3, ..
        blocks, up to the most of the training, each time in those that how often nodes
        are together in samples shows; its evidence decides between them.

        Args:
          graph: one graph, of n nodes.
          labels: (S, n) integers, samples of it.
          shared: (n, n), `jaxbio.clustering.consensus.together` of them, if known.

        Raises:
          ValueError: a model of anything but equal blocks, or labels of another length.
        """
        self.check_refines()
        generator, cfg = self._kept.generator, self._kept.data_cfg
        n = generator.size_of(graph)
        rows = as_rows(labels, n)
        shared = together(rows) if shared is None else shared
        starts = spectral(shared, cfg.max_clusters) if n > 2 else []
        return generator.refine(graph, starts)

    def fit_predict_in_parts(
        self,
        graph: Graph,
        *,
        samples: int = 8,
        cover: int = 1,
        mode: str = "consensus",
        seed: int = 0,
        certainty: bool = False,
    ) -> Any:
        """Labels (n,) of a graph far beyond `reach`, by overlapping parts.

        Parts are as large as the largest graph of the training. Their samples are
        merged, see `jaxbio.clustering.graphs.subgraphs`; progress is shown.

        Args:
          graph: from `jaxbio.clustering.graphs.read.read`.
          samples: of each part.
          cover: in how many parts every node is, or more.
          mode: "consensus" or "maxami", the one partition of samples where one is
            needed: of a part that no other overlaps, and of all parts where more than
            64 clusters are found.
          seed: of the parts and of the samples.
          certainty: whether to tell as well how often each node is with the others of
            its cluster, (n,) in (0, 1]: in samples, over those it shares a part with.

        Raises:
          ValueError: a model of other things than graphs, unknown mode, no sample.
        """
        if self.kind != "graphs":
            raise ValueError(f"in parts go graphs; the model clusters {self.kind}")
        if mode not in MEANS:
            raise ValueError(
                f"mode: for a graph in parts want one of {', '.join(MEANS)}, got "
                f"{mode!r}"
            )
        check_count(samples=samples)

        def cluster(parts):
            return self._from_samples(parts, samples, seed, lambda rows: rows)

        size, whole = self.trained_on, MEANS[mode]
        labels, sure = cluster_in_parts(
            graph, cluster, size, cover=cover, seed=seed, whole=whole
        )
        return (labels, sure) if certainty else labels

    def sample(
        self,
        data: Any,
        samples: int = 1000,
        mode: str = "posterior",
        *,
        key: int | jax.Array = 0,
        orders: int = 4,
        progress: bool = False,
    ) -> Any:
        """Draws partitions.

        Args:
          data: a data set, or a list of them.
          samples: S.
          mode: "posterior": independent samples of the posterior. "topk": the same,
            each partition once, the most probable first; fewer than S if some were
            drawn twice. "mode": the most probable decisions for random anchors, the
            search of the published code, each once as well; no posterior.
          key: a seed or a key.
          orders: of clusters, for the probabilities, see `log_prob`.
          progress: whether to show how far it is.

        Returns:
          `Samples` with probabilities of the partitions, or a list of them.

        Raises:
          ValueError: unknown mode, no sample, or data that the model cannot take.
        """
        check_count(orders=orders)
        sets, single = self._sets(data)
        with CountLine("samples", samples * len(sets), shown=progress) as line:
            drawn = self._draw(sets, samples, mode, key, line.done)
        _, prob_key = jax.random.split(as_key(key))
        distinct = [np.unique(rows, axis=0, return_inverse=True) for rows in drawn]
        each = [rows for rows, _ in distinct]
        total = sum(map(len, each))
        with CountLine("probabilities", total, shown=progress) as line:
            found = batches.log_prob(
                self._kept, sets, each, prob_key, orders, 1, line.done
            )
        answers = []
        for (rows, index), log_prob in zip(distinct, found, strict=True):
            if mode == "posterior":
                index = index.reshape(-1)
                answers.append(Samples(rows[index], log_prob[index]))
            else:
                best = np.argsort(-log_prob, kind="stable")
                answers.append(Samples(rows[best], log_prob[best]))
        return answers[0] if single else answers

    def log_prob(
        self,
        data: Any,
        labels: Any,
        *,
        orders: int = 16,
        anchors: int | None = None,
        key: int | jax.Array = 0,
    ) -> Any:
        """Log probabilities of partitions, in nats.

        The mean over size-biased orders of the product over clusters of the mean over
        anchors: unbiased as a probability, not one order's (see
        `jaxbio.clustering.probability`).

        Args:
          data: a data set of n points, or a list of them.
          labels: (n,) or (S, n) integers, clusters of any numbers; a list for a list.
          orders: R, of the clusters.
          anchors: A, drawn from every cluster, or None for all of its points.
          key: a seed or a key.

        Returns:
          A float, or (S,) float64; a list for a list.

        Raises:
          ValueError: labels of another length.
        """
        check_count(orders=orders)
        if anchors is not None:
            check_count(anchors=anchors)
        sets, single = self._sets(data)
        given = [labels] if single else list(labels)
        if len(given) != len(sets):
            raise ValueError(
                f"labels: want one array for each of {len(sets)} data sets, got "
                f"{len(given)}"
            )
        rows = [as_rows(one, size) for one, (_, size) in zip(given, sets, strict=True)]
        found = batches.log_prob(
            self._kept, sets, rows, as_key(key), orders, anchors or 0
        )
        found = [
            float(values[0]) if np.ndim(one) == 1 else values
            for values, one in zip(found, given, strict=True)
        ]
        return found[0] if single else found

    def coclustering(
        self, data: Any, samples: int = 1000, *, key: int | jax.Array = 0
    ) -> Any:
        """How probably two points share a cluster, (n, n) float64, from samples."""
        return self._from_samples(data, samples, key, together)

    def clusters(
        self, data: Any, samples: int = 1000, *, key: int | jax.Array = 0
    ) -> Any:
        """Probabilities of 0, 1, 2, ... clusters, (most + 1,) float64, from samples."""

        def shares(labels):
            return np.bincount(labels.max(1) + 1) / len(labels)

        return self._from_samples(data, samples, key, shares)

    def _refined_samples(self, data, samples, key):
        self.check_refines()
        sets, single = self._sets(data)
        drawn = self._draw(sets, samples, "posterior", key)
        pairs = zip(sets, drawn, strict=True)
        answers = [self.refine(one, rows).labels for (one, _), rows in pairs]
        return answers[0] if single else answers

    def _from_samples(self, data, samples, key, function):
        sets, single = self._sets(data)
        drawn = self._draw(sets, samples, "posterior", key)
        answers = [function(rows) for rows in drawn]
        return answers[0] if single else answers

    def _draw(self, sets, samples, mode, key, done=None) -> list[np.ndarray]:
        """Canonical labels (S, n) of every set; `done` is told of how many."""
        if mode not in MODES:
            raise ValueError(f"mode: want one of {', '.join(MODES)}, got {mode!r}")
        check_count(samples=samples)
        draw_key, _ = jax.random.split(as_key(key))
        how = "mode" if mode == "mode" else "posterior"
        return batches.draw(self._kept, sets, draw_key, samples, how, done)

    def _sets(self, data) -> tuple[list[tuple[Any, int]], bool]:
        """Data sets with their sizes, and whether only one was given."""
        single = not isinstance(data, list | tuple) or is_table(data)
        given = [data] if single else data
        if not given:
            raise ValueError("data: want one data set or more, got an empty list")
        sets = [(one, self._kept.generator.size_of(one)) for one in given]
        for number, (_, size) in enumerate(sets):
            if size > LARGEST:
                raise ValueError(
                    f"data set {number} has {size:,} points, want at most {LARGEST:,}: "
                    "cluster a random subset, or a graph by fit_predict_in_parts"
                )
            if size > self.reach:
                remedy = "; fit_predict_in_parts is for larger graphs"
                logging.warning(
                    "data set %d has %d points; the model was trained on at most %d%s",
                    *(number, size, self.trained_on),
                    remedy if self.kind == "graphs" else "",
                )
        return sets, single
