"""From a recording to units: who fired when.

Peaks are clustered channel by channel, by any clusterer; the clusters' mean waveforms
become templates; matching pursuit with them finds the spikes, also those that overlap;
units whose trains say that they are one are merged; and what the pursuit leaves
unexplained is searched for peaks again. Long recordings are sorted in parts, and the
parts' units linked, as templates drift.
"""

import dataclasses
import tempfile
from pathlib import Path

import jax
import numpy as np

from jaxbio.clustering.spikes import (
    candidates,
    detect,
    matching,
    merging,
    preprocess,
    pursuit,
    templates,
)
from jaxbio.clustering.spikes.candidates import Cluster
from jaxbio.clustering.spikes.linking import link
from jaxbio.clustering.spikes.matching import Matches
from jaxbio.clustering.spikes.quality import early_share, quality
from jaxbio.clustering.spikes.recording import Part, Traces, pieces
from jaxbio.clustering.spikes.result import Sorting, trains_of

# Seconds of a template around its spike: what a large one leaves out looks like others.
_BEFORE, _AFTER = 0.001, 0.003


@dataclasses.dataclass(frozen=True)
class Config:
    """How a recording is sorted.

    Attributes:
        filter, peaks, clusters, merge, match: See the modules.
        part: Seconds that are sorted at a time; units are linked from one to the next.
        linked: Least cosine of the templates of two parts' units that are one.
        rounds: Times that templates are improved by matching, and peaks are searched
            for in what it left.
        norm: Noise sd; units whose white template is shorter are dropped. The mean of
            noise at its deepest looks like a unit of length 5 to 6.
        smallest: Spikes; units of fewer in a part are dropped.
        contaminated: Units with a larger share of intervals under 1.5 ms are dropped.
        novel: Cosine with a known template up to which a cluster of the residual is a
            unit of its own.
    """

    filter: preprocess.Config = preprocess.Config()
    peaks: detect.Config = detect.Config()
    clusters: candidates.Config = candidates.Config()
    merge: merging.Config = merging.Config()
    match: matching.Config = matching.Config()
    part: float = 300.0
    linked: float = 0.85
    rounds: int = 2
    norm: float = 7.0
    smallest: int = 20
    contaminated: float = 0.1
    novel: float = 0.8


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """What was found in one part; the spikes' units index the templates."""

    start: int
    matches: Matches
    templates: np.ndarray


def sort(
    recording: Traces, cluster: Cluster, key: jax.Array, config: Config | None = None
) -> Sorting:
    """Sorts a recording; the same key gives the same result.

    Args:
        recording: Traces that can be read piece by piece.
        cluster: From (n, 32, 7) float32 whitened snippets (see `snippets.prepare`) and
            a PRNG key to (n,) int labels, negative for none. Snippets are of
            `config.clusters.rate`, whatever the rate of the recording.
        key: PRNG key.
        config: See `Config`.

    Raises:
        ValueError: The recording cannot be prepared (see `preprocess.fit`), or the
            clusterer returned something else than labels.
    """
    config = config or Config()
    fitted = preprocess.fit(recording, config.filter)
    length = round(config.part * recording.rate)
    parts = [
        _sort_part(
            Part(recording, piece.start, piece.stop),
            fitted,
            cluster,
            jax.random.fold_in(key, number),
            config,
        )
        for number, piece in enumerate(pieces(recording.samples, length, 0))
    ]
    white = [preprocess.white(part.templates, fitted) for part in parts]
    names = link(white, config.linked, round(config.merge.shift * recording.rate))
    return _joined(parts, names, fitted, recording)


def _sort_part(part: Part, fitted, cluster: Cluster, key, config: Config) -> _Part:
    with tempfile.TemporaryDirectory() as folder:
        # Read several times, so filtered once; in files, as they may be large.
        shape = (part.samples, len(part.positions))
        traces, residual = (
            np.memmap(Path(folder) / name, np.float32, "w+", shape=shape)
            for name in ("scaled", "residual")
        )
        preprocess.scale_all(part, fitted, traces)
        work = _Work(traces, residual, part.rate, part.positions, fitted, config)
        known = _new_templates(work, traces, cluster, key)
        for number in range(config.rounds):
            matches = _explain(work, known)
            known, matches = _settled(work, known, matches)
            pursuit.subtract(
                traces, matches, known, work.before, config.match.steps, residual
            )
            known = _improved(work, known, matches)
            if number + 1 < config.rounds:
                again = jax.random.fold_in(key, number)
                new = _new_templates(work, residual, cluster, again)
                known = _with_novel(work, known, new)
        matches = _explain(work, known)
        known, matches = _settled(work, known, matches)
        return _Part(part.first, matches, known)


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """One part under work: scaled traces, what is left of them, and the noise."""

    traces: np.ndarray
    residual: np.ndarray
    rate: float
    positions: np.ndarray
    fitted: preprocess.Preprocessing
    config: Config

    @property
    def before(self) -> int:
        return round(_BEFORE * self.rate)

    @property
    def length(self) -> int:
        return self.before + round(_AFTER * self.rate)


def _new_templates(work: _Work, traces: np.ndarray, cluster, key) -> np.ndarray:
    """Templates of the clusters of peaks, without those that are alike."""
    config = work.config
    peaks = detect.detect(traces, work.rate, work.positions, config.peaks)
    trains = candidates.discover(
        traces,
        work.rate,
        peaks,
        work.positions,
        work.fitted,
        cluster,
        key,
        config.clusters,
    )
    found = templates.mean_waveforms(
        traces, trains, work.before, work.length, robust=True
    )
    found = templates.without_noise(found, np.array([len(t) for t in trains]))
    # These trains are small parts, of which a cosine is no proof.
    strict = dataclasses.replace(config.merge, certain=np.inf)
    into, _ = _groups(work, found, trains, strict)
    return found[into == np.arange(len(found))]


def _explain(work: _Work, known: np.ndarray) -> Matches:
    return pursuit.explain(
        work.traces, work.rate, known, work.before, work.fitted, work.config.match
    )


def _settled(
    work: _Work, known: np.ndarray, matches: Matches
) -> tuple[np.ndarray, Matches]:
    """Merges units that are one, and drops those that are none."""
    config = work.config
    trains = trains_of(matches.samples, matches.units, len(known))
    into, moved = _groups(work, known, trains, config.merge)
    units = into[matches.units]
    samples = matches.samples + moved[matches.units]
    trains = [np.sort(train) for train in trains_of(samples, units, len(known))]
    norms = np.linalg.norm(preprocess.white(known, work.fitted), axis=(1, 2))
    echo = merging.echoes(norms, trains, work.length, len(work.traces))
    good = [
        into[unit] == unit
        and len(train) >= config.smallest
        and norms[unit] >= config.norm
        and early_share(train, work.rate) <= config.contaminated
        and not echo[unit]
        for unit, train in enumerate(trains)
    ]
    (kept,) = np.nonzero(good)
    number = np.full(len(known), -1, np.int32)
    number[kept] = np.arange(len(kept))
    matches = dataclasses.replace(matches, samples=samples, units=number[units])
    order = np.argsort(samples, kind="stable")
    return known[kept], matching.chosen(matches, order[matches.units[order] >= 0])


def _groups(
    work: _Work, known: np.ndarray, trains: list[np.ndarray], merge: merging.Config
) -> tuple[np.ndarray, np.ndarray]:
    white = preprocess.white(known, work.fitted)
    return merging.groups(white, trains, len(work.traces), work.rate, merge)


def _improved(work: _Work, known: np.ndarray, matches: Matches) -> np.ndarray:
    """Templates with what is systematically left of their spikes added."""
    trains = trains_of(matches.samples, matches.units, len(known))
    left = templates.mean_waveforms(
        work.residual, trains, work.before, work.length, robust=True
    )
    counts = np.bincount(matches.units, minlength=len(known))
    sums = np.bincount(matches.units, matches.amplitudes, minlength=len(known))
    size = np.where(counts, sums / np.maximum(counts, 1), 1)[:, None, None]
    return templates.without_noise(known * size + left, counts)


def _with_novel(work: _Work, known: np.ndarray, new: np.ndarray) -> np.ndarray:
    """All known templates and the new ones that are unlike each of them."""
    shift = round(work.config.merge.shift * work.rate)
    alike = templates.similarity(
        preprocess.white(new, work.fitted), preprocess.white(known, work.fitted), shift
    )[0]
    return np.concatenate(
        [known, new[alike.max(axis=1, initial=0) < work.config.novel]]
    )


def _joined(
    parts: list[_Part], names: list[np.ndarray], fitted, recording: Traces
) -> Sorting:
    """One sorting of all parts, templates averaged over their spikes."""
    before = round(_BEFORE * recording.rate)
    window = before + round(_AFTER * recording.rate)
    units = 1 + max((int(name.max(initial=-1)) for name in names), default=-1)
    samples, labels, amplitudes = [], [], []
    total = np.zeros((units, window, len(recording.positions)))
    counts = np.zeros(units)
    for part, name in zip(parts, names, strict=True):
        samples.append(part.matches.samples + part.start)
        labels.append(name[part.matches.units].astype(np.int32))
        amplitudes.append(part.matches.amplitudes)
        spikes = np.bincount(part.matches.units, minlength=len(name))
        total[name] += part.templates * spikes[:, None, None]
        counts[name] += spikes
    means = (total / np.maximum(counts, 1)[:, None, None]).astype(np.float32)
    samples, labels, amplitudes = map(np.concatenate, (samples, labels, amplitudes))
    return Sorting(
        samples,
        labels,
        amplitudes,
        means,
        before,
        means.min(axis=1).argmin(axis=1).astype(np.int32),
        quality(
            trains_of(samples, labels, units),
            trains_of(amplitudes, labels, units),
            means,
            preprocess.white(means, fitted),
            recording.samples,
            recording.rate,
        ),
        recording.rate,
        recording.positions,
        recording.samples,
    )
