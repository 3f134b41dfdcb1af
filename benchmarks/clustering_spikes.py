"""Cases of `benchmarks.clustering` on spikes: snippets with known units, recordings."""

import dataclasses
import os
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks import harness
from benchmarks.clustering_scores import calibration, mean, reliability
from jaxbio.clustering import AttentiveClustering, stored
from jaxbio.clustering.consensus import consensus, maxami, together
from jaxbio.clustering.metrics import adjusted_mutual_info, adjusted_rand
from jaxbio.clustering.spikes import interface, simulate, snippets, sort
from jaxbio.clustering.spikes.learned import learned

_SAMPLES = 32
_MANY = 128
_SEED = 1_000_003  # of simulated problems; no training drew with it
# Recordings of `spikeinterface.core.generate_ground_truth_recording`, 60 seconds.
_QUIET = {
    "noise_kwargs": {"noise_levels": 10.0, "strategy": "on_the_fly"},
    "generate_templates_kwargs": {"unit_params": {"alpha": (100.0, 250.0)}},
}
_RECORDINGS = {
    "A": {"num_channels": 32, "num_units": 20, "seed": 0},
    "B": {"num_channels": 32, "num_units": 20, "seed": 2},
    "C": {"num_channels": 32, "num_units": 20, "seed": 3},
    "D": {"num_channels": 16, "num_units": 12, "seed": 1, **_QUIET},
}


def spread(bench: harness.Benchmark, where: str) -> None:
    """How far snippets are from the middle of their unit: simulated, and generated ones
    (JAXREC_DATA_DIR/spikes-generated) if they are here."""
    sources = {"simulated": _simulated(where, 8 if bench.quick else 64)}
    if _file().exists():
        sources["generated"] = _read(_file(), 6 if bench.quick else None)
    for name, source in sources.items():
        units = [row for pair in zip(*source, strict=True) for row in _spread(*pair)]
        lengths = [row[0] for row in units]
        for rows in np.array_split(np.array(units)[np.argsort(lengths)], 5):
            length, along, across, far = rows.mean(0).round(2).tolist()
            bench.record(
                f"spread: {name}",
                units=len(rows),
                length=length,
                along=along,
                across=across,
                across_90=far,
            )


def _spread(prepared: np.ndarray, labels: np.ndarray) -> list[list[float]]:
    """Of the units of a problem: the length of the median, and from it the sd along
    that and across it per feature, by the median and by the 90th percentile."""
    x = np.asarray(snippets.features(prepared, np.ones(len(prepared), bool), 12))
    rows = []
    for own in (x[labels == unit] for unit in np.unique(labels)):
        if len(own) < 25:
            continue
        middle = np.median(own, 0)
        length = np.linalg.norm(middle)
        along = own @ (middle / length)
        across = ((own - np.outer(along, middle / length)) ** 2).sum(1)
        sd = np.median(np.abs(along - length)) / 0.6745
        squares = np.quantile(across, (0.5, 0.9)) / (x.shape[1] - 1)
        rows.append([length, sd, *np.sqrt(squares)])
    return rows


def _simulated(where: str, count: int) -> tuple[list, list]:
    """Prepared snippets and units of problems of a model's simulator."""
    cfg = dataclasses.replace(stored.load(where).data_cfg, features=0)
    keys = jax.random.split(jax.random.key(_SEED), count)
    drawn = jax.jit(jax.vmap(lambda key: simulate.draw(key, cfg)))(keys)
    x, labels = np.asarray(drawn["inputs"]["x"]), np.asarray(drawn["labels"])
    real = labels >= 0
    pairs = list(zip(x, labels, real, strict=True))
    return [one[r] for one, _, r in pairs], [row[r] for _, row, r in pairs]


def problems(bench: harness.Benchmark, where: str) -> None:
    """Snippets of one detection channel (JAXREC_DATA_DIR/spikes-generated)."""
    if not _file().exists():
        bench.record("problems: not here", wanted="JAXREC_DATA_DIR/spikes-generated")
        return
    sets, truth = _read(_file(), 6 if bench.quick else None)
    model = AttentiveClustering.load(where)
    begin = time.process_time()
    drawn = model.sample(sets, _MANY, orders=2)
    seconds = (time.process_time() - begin) / len(sets)
    answers = {"posterior sample": [one.labels[0] for one in drawn]}
    for count in (_SAMPLES, _MANY):
        some = [(one.labels[:count], one.log_prob[:count]) for one in drawn]
        answers |= {
            f"best of {count}": [rows[scores.argmax()] for rows, scores in some],
            f"consensus of {count}": [consensus(rows) for rows, _ in some],
            f"maxami of {count}": [maxami(rows) for rows, _ in some],
        }
    answers["HDBSCAN"] = [_hdbscan(x) for x in sets]
    true_numbers = np.array([len(np.unique(row)) for row in truth])
    scores = {
        name: np.array(
            [adjusted_mutual_info(*p) for p in zip(truth, found, strict=True)]
        )
        for name, found in answers.items()
    }
    for name, found in answers.items():
        gap = np.array([len(np.unique(row)) for row in found]) - true_numbers
        pairs = zip(truth, found, strict=True)
        bench.record(
            f"problems: {name}",
            problems=len(sets),
            ami=mean(scores[name]),
            ami_less_hdbscan=mean(scores[name] - scores["HDBSCAN"]),
            ari=mean([adjusted_rand(*pair) for pair in pairs]),
            clusters_less_true=mean(gap),
            clusters_away=mean(np.abs(gap)),
        )
    # The number that is least away in the mean, by the samples.
    numbers = np.array([np.median(one.labels.max(1)) + 1 for one in drawn])
    bench.record(
        f"problems: number of clusters, median of {_MANY}",
        problems=len(sets),
        clusters_less_true=mean(numbers - true_numbers),
        clusters_away=mean(np.abs(numbers - true_numbers)),
    )
    # Whether two snippets are of one unit, as the share of samples that say so.
    predicted, true = [], []
    for one, own in zip(drawn, truth, strict=True):
        upper = np.triu_indices(len(own), 1)
        predicted.append(together(one.labels)[upper])
        true.append((own[:, None] == own)[upper])
    pairs = np.concatenate(predicted), np.concatenate(true)
    bench.record(
        "problems: calibration",
        samples=_MANY,
        calibration_error=calibration(*pairs),
        predicted_true_share=reliability(*pairs).round(4).tolist(),
    )
    bench.record("problems: cost", cpu_seconds_per_problem=round(seconds, 3))


def _file() -> Path:
    folder = Path(os.environ.get("JAXREC_DATA_DIR", "")) / "spikes-generated"
    return folder / "spike_problems.npz"


def _read(path: Path, most: int | None):
    """Prepared snippets and units of every problem."""
    sets, truth = [], []
    with np.load(path) as data:
        x, y, offsets = data["x"].astype(np.float32), data["y"], data["offsets"]
        noise = [snippets.noise_statistics(rows) for rows in data["noise"]]
        for problem, recording in enumerate(data["recording"][:most]):
            rows = slice(offsets[problem], offsets[problem + 1])
            times, channels = noise[recording]
            temporal = snippets.temporal_whitening(times)
            spatial = snippets.spatial_whitening(channels, np.arange(x.shape[2]))
            sets.append(np.asarray(snippets.prepare(x[rows], temporal, spatial)))
            truth.append(y[rows])
    return sets, truth


def _hdbscan(prepared: np.ndarray) -> np.ndarray:
    """HDBSCAN of the same features, its noise points to the nearest centre."""
    from sklearn.cluster import HDBSCAN

    x = np.asarray(snippets.features(prepared, np.ones(len(prepared), bool), 12))
    labels = HDBSCAN(min_cluster_size=8, min_samples=5, copy=True).fit_predict(x)
    if labels.max() < 0:
        return np.zeros(len(x), int)
    centres = np.stack([x[labels == k].mean(0) for k in range(labels.max() + 1)])
    nearest = ((x[:, None] - centres) ** 2).sum(-1).argmin(1)
    return np.where(labels < 0, nearest, labels)


def recordings(bench: harness.Benchmark, where: str) -> None:
    """Generated recordings with known units, by the whole sorter."""
    from spikeinterface.comparison import compare_sorter_to_ground_truth
    from spikeinterface.core import generate_ground_truth_recording

    for name, options in _RECORDINGS.items():
        recording, truth = generate_ground_truth_recording(
            durations=[10.0 if bench.quick else 60.0],
            sampling_frequency=30000.0,
            **options,
        )
        begin = time.process_time()
        found = sort.sort(
            interface.from_spikeinterface(recording), learned(where), jax.random.key(0)
        )
        seconds = time.process_time() - begin
        compared = compare_sorter_to_ground_truth(
            truth, interface.to_spikeinterface(found), exhaustive_gt=True
        )
        accuracy = compared.get_performance()["accuracy"].to_numpy(float)
        bench.record(
            f"recording {name}",
            mean_accuracy=round(float(accuracy.mean()), 4),
            at_least_08=int((accuracy >= 0.8).sum()),
            units=len(found.templates),
            false_positives=len(compared.get_false_positive_units()),
            cpu_s=round(seconds, 1),
        )
