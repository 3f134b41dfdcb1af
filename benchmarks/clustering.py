"""Clustering processes: exactness, quality beside peers that know the model, speed.

python -m benchmarks.clustering [--quick] [--only exact,points,...]
    [--model points-2d=runs/points ...] [--of networks,spikes]

exact   the shipped crp2d models against the enumerated posterior, on sets of 6 points:
        total variation of 2,000 samples (and that of an exact sampler), -ELBO less the
        entropy, the total probability of all partitions of 5 points, calibration
points  points-2d on sets of 50 to 199 points, paired with compiled collapsed Gibbs,
        which knows the model, and beside a variational mixture
variants   a model against others of the same sets, -log p of the truth, paired:
        ``--model points-2d/ccp=DIRECTORY`` is one beside points-2d
speed   one answer, many sets, many samples of one set, beside a Gibbs chain; growth
        with the points and with the clusters
tables  points-nd on tables of 2 to 32 columns, beside k-means, HDBSCAN, mixtures
features   what node features tell by themselves
sbm     60 graphs of the general stochastic block model, beside Leiden and others
threshold  equal blocks below and above the threshold of detection
real    networks with known communities (JAXREC_DATA_DIR), those in the model's reach
parts   larger ones, clustered in parts, and community files
spread  how far simulated spikes are from the middle of their unit, beside others
problems   spikes of one channel with known units (JAXREC_DATA_DIR), beside HDBSCAN
recordings generated recordings by the whole sorter (wants spikeinterface)

Peers are in the extra ``[bench]``. ``--model NAME=DIRECTORY`` takes a run of yours in
place of the shipped model, ``--of`` runs the cases of some models only.
"""

import dataclasses
import time

import jax
import numpy as np

from benchmarks import clustering_graphs as graphs
from benchmarks import clustering_spikes as spikes
from benchmarks import clustering_tables as tables
from benchmarks import harness
from benchmarks.clustering_scores import calibration, error, mean
from jaxbio.clustering import AttentiveClustering, evaluation, stored
from jaxbio.clustering.consensus import together
from jaxbio.clustering.exact import posterior
from jaxbio.clustering.metrics import adjusted_mutual_info, adjusted_rand
from jaxbio.clustering.partitions import all_partitions
from jaxbio.clustering.points import mixtures

CASES = (
    *("exact", "points", "variants", "speed", "tables"),
    *("features", "sbm", "threshold", "real", "parts"),
    *("spread", "problems", "recordings"),
)
_SEED = 1_000_003  # of the sets; no training drew with it


def main(bench: harness.Benchmark) -> None:
    """Runs the cases that were asked for."""
    given = dict(pair.split("=", 1) for pair in bench.options.model or ())
    chosen = bench.options.only.split(",")
    if unknown := set(chosen) - set(CASES):
        raise ValueError(f"--only: want some of {', '.join(CASES)}, got {unknown}")
    known = {*stored.names(), *given}
    if bench.options.of:
        asked = set(bench.options.of.split(","))
        if unknown := asked - known:
            raise ValueError(
                f"--of: there are {', '.join(sorted(known))}, no {unknown}"
            )
        known = asked
    for tau in (2, 4, 10):
        name = f"crp2d-tau{tau}"
        if "exact" in chosen and name in known:
            exactness(bench, name, given.get(name, name), float(tau))
    for name, cases in {
        "points-2d": (points, speed),
        "points-nd": (tables.tables,),
        "sbm": (graphs.features, graphs.sbm, graphs.threshold, graphs.real),
        "networks": (graphs.threshold, graphs.real, graphs.parts),
        "social": (graphs.real, graphs.parts),
        "symmetric": (graphs.threshold,),
        "spikes": (spikes.spread, spikes.problems, spikes.recordings),
    }.items():
        for case in cases:
            if case.__name__ in chosen and name in known:
                case(bench, given.get(name, name))
    for other, where in given.items():
        name, slash, kind = other.partition("/")
        if slash and name in known and "variants" in chosen:
            variants(bench, name, given.get(name, name), kind, where)


def drawn_sets(where: str, count: int, size: int = 0) -> tuple[list, list]:
    """Points and labels of sets from the generator of a model, not centred."""
    cfg = stored.load(where).data_cfg
    cfg = dataclasses.replace(cfg, centre=False, standardise=False)
    if size:
        cfg = dataclasses.replace(cfg, min_points=size, max_points=size)
    keys = jax.random.split(jax.random.key(_SEED), count)
    sets = jax.jit(jax.vmap(lambda key: mixtures.draw(key, cfg)))(keys)
    labels = np.asarray(sets["labels"])
    x = np.asarray(sets["inputs"]["x"], float)
    sizes = (labels >= 0).sum(1)
    return (
        [one[:n] for one, n in zip(x, sizes, strict=True)],
        [one[:n] for one, n in zip(labels, sizes, strict=True)],
    )


def exactness(bench: harness.Benchmark, name: str, where: str, tau: float) -> None:
    """A small model against the enumerated posterior."""
    model = AttentiveClustering.load(where)
    count, draws, orders = (20, 500, 4) if bench.quick else (100, 2000, 16)
    sets, _ = drawn_sets(where, count, 6)
    exact = [posterior(x, 0.7, tau) for x in sets]
    random = np.random.default_rng(0)
    samples = model.sample(sets, draws, orders=1)
    shared = [together(one.labels) for one in samples]
    rows: dict[str, list[float]] = {key: [] for key in ("tv", "floor", "gap", "spread")}
    for x, true, one in zip(sets, exact, samples, strict=True):
        p = np.exp(true.log_prob)
        code = 10 ** np.arange(6)
        found = _shares(one.labels @ code, true.labels @ code)
        rows["tv"].append(np.abs(found - p).sum() / 2)
        ideal = random.multinomial(draws, p / p.sum()) / draws
        rows["floor"].append(np.abs(ideal - p).sum() / 2)
        paths = np.stack(
            [
                model.log_prob(x, true.labels, orders=1, anchors=1, key=k)
                for k in range(orders)
            ]
        )
        rows["gap"].append(float(p @ -paths.mean(0)) - true.entropy)
        rows["spread"].append(float(p @ paths.std(0)))
    five = [
        float(np.exp(model.log_prob(x[:5], all_partitions(5), orders=orders)).sum())
        for x in sets[: count // 4]
    ]
    upper = np.triu_indices(6, 1)
    mine = np.concatenate([pairs[upper] for pairs in shared])
    true_pairs = np.concatenate([one.coclustering[upper] for one in exact])
    facts = {key: mean(values) for key, values in rows.items()}
    bench.record(
        f"exact {name}",
        sets=count,
        samples=draws,
        entropy=float(np.mean([one.entropy for one in exact])),
        total_variation=facts["tv"],
        of_exact_sampler=facts["floor"],
        elbo_gap_nats=facts["gap"],
        path_spread_nats=facts["spread"],
        total_probability=mean(five),
        calibration_error=calibration(mine, true_pairs),
    )


def _shares(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    values, counts = np.unique(found, return_counts=True)
    share = dict(zip(values.tolist(), counts / len(found), strict=True))
    return np.array([share.get(code, 0.0) for code in known.tolist()])


def points(bench: harness.Benchmark, where: str) -> None:
    """Sets of 50 to 199 points, paired with Gibbs sampling that knows the model."""
    from benchmarks.peers import gibbs

    count, tried, draws = (20, 10, 8) if bench.quick else (500, 100, 8)
    model = AttentiveClustering.load(where)
    sets, truth = drawn_sets(where, count)
    known = {"alpha": 0.7, "tau": 10.0, "sigma": 1.0}
    answers: dict[str, list[np.ndarray]] = {}
    samples = model.sample(sets, draws, orders=2)
    answers["posterior sample"] = [one.labels[0] for one in samples]
    answers[f"best of {draws}"] = [one.labels[one.log_prob.argmax()] for one in samples]
    answers["one mode answer"] = model.fit_predict(sets, samples=1, mode="mode")
    chains = [gibbs.cluster(x, seed=i, **known) for i, x in enumerate(sets)]
    answers["Gibbs sample"] = [chain.last for chain in chains]
    answers["Gibbs best"] = [chain.best for chain in chains]
    scores = _against(truth, answers, adjusted_mutual_info)
    rand = _against(truth, answers, adjusted_rand)
    true_numbers = np.array([len(np.unique(row)) for row in truth])
    for name, found in answers.items():
        numbers = np.array([len(np.unique(row)) for row in found])
        peer = "Gibbs best" if "sample" not in name else "Gibbs sample"
        gap = scores[name] - scores[peer]
        bench.record(
            f"points: {name}",
            sets=count,
            ami=mean(scores[name]),
            ari=mean(rand[name]),
            less_gibbs=[
                *mean(gap),
                round(float(gap.mean() - 1.96 * error(gap)), 5),
                round(float(gap.mean() + 1.96 * error(gap)), 5),
            ],
            clusters_less_true=mean(numbers - true_numbers),
        )
    peers = [adjusted_mutual_info(truth[i], _mixture(sets[i])) for i in range(tried)]
    bench.record(
        "points: variational mixture",
        sets=tried,
        ami=mean(peers),
        ours_less_it=mean(scores[f"best of {draws}"][:tried] - peers),
    )


def variants(bench: harness.Benchmark, name: str, ours: str, kind: str, other: str):
    """Two models on the same sets: nats and AMI, paired."""
    kept = [stored.load(where) for where in (ours, other)]
    if kept[0].data_cfg != kept[1].data_cfg:
        raise ValueError(f"--model {name}/{kind}: it was trained on other sets")
    keys = jax.random.split(jax.random.key(_SEED), 32 if bench.quick else 256)
    draw = jax.jit(jax.vmap(lambda key: kept[0].generator.draw(key, kept[0].data_cfg)))
    sets = draw(keys)
    found = [
        evaluation.scores(
            one.params,
            one.model,
            sets,
            jax.random.key(0),
            samples=8,
            orders=2,
            draws=40,
        )
        for one in kept
    ]
    row: dict[str, list[float]] = {}
    for figure in ("nats", "ami", "best_ami"):
        gap = found[1][figure] - found[0][figure]
        reach = 1.96 * error(gap)
        row |= {f"{figure} of {name}": mean(found[0][figure])}
        row |= {f"{figure} of {kind}": mean(found[1][figure])}
        row |= {
            f"{figure}, {kind} less {name}": [
                round(float(gap.mean() + side), 5) for side in (0, -reach, reach)
            ]
        }
    bench.record(f"variants {name} {kind}", sets=len(keys), **row)


def _against(truth, answers, metric) -> dict[str, np.ndarray]:
    """A metric of every answer to every set, by kind of answer."""
    return {
        kind: np.array([metric(*pair) for pair in zip(truth, found, strict=True)])
        for kind, found in answers.items()
    }


def _mixture(x: np.ndarray) -> np.ndarray:
    """scikit-learn's mixture with priors in the scale of the model."""
    from sklearn.mixture import BayesianGaussianMixture

    return BayesianGaussianMixture(
        n_components=min(12, len(x)),
        covariance_type="spherical",
        mean_prior=np.zeros(2),
        mean_precision_prior=0.01,
        degrees_of_freedom_prior=50,
        covariance_prior=50,
        weight_concentration_prior=0.7,
        n_init=5,
        random_state=0,
        max_iter=500,
    ).fit_predict(x)


def speed(bench: harness.Benchmark, where: str) -> None:
    """Answers per second beside a Gibbs chain of 150 sweeps, and how time grows."""
    from benchmarks.peers import gibbs

    model = AttentiveClustering.load(where)
    many = 16 if bench.quick else 64
    sets, _ = drawn_sets(where, many, 199)
    known = {"alpha": 0.7, "tau": 10.0, "sigma": 1.0}

    def chains(some):
        return [gibbs.cluster(x, **known) for x in some]

    def answers(some):
        return model.fit_predict(some, samples=1, mode="mode")

    for case, some in (("one set", sets[:1]), (f"{many} sets", sets)):
        candidates = {
            "Gibbs, 150 sweeps": lambda some=some: chains(some),
            "one mode answer": lambda some=some: answers(some),
        }
        for function in candidates.values():
            function()
        bench.compare(
            f"{case} of 199 points", candidates, work={"sets": len(some)}, points=199
        )
    if jax.default_backend() != "cpu":
        throughput(bench, answers, chains, where)
    one = sets[0]
    bench.compare(
        "256 samples of one set of 199 points",
        {
            "Gibbs, 150 sweeps once": lambda: chains([one]),
            "256 posterior samples": lambda: model.coclustering(one, 256),
        },
        points=199,
    )
    times = {}
    for size in (64, 128, 256, 512, 1024):
        x, _ = drawn_sets(where, 8, size)
        model.clusters(x, 32)
        begin = time.perf_counter()
        model.clusters(x, 32)
        times[size] = time.perf_counter() - begin
    slope = np.polyfit(np.log(list(times)), np.log(list(times.values())), 1)[0]
    bench.record(
        "time by number of points, 8 sets, 32 samples",
        seconds={str(size): round(value, 4) for size, value in times.items()},
        exponent=round(float(slope), 3),
    )
    random = np.random.default_rng(0)
    times, shifts = {}, 100.0 * random.normal(size=(16, 2))
    for clusters in (1, 2, 4, 8):
        labels = np.arange(192) % clusters
        x = [shifts[labels] + random.normal(size=(192, 2)) for _ in range(8)]
        model.clusters(x, 32)
        begin = time.perf_counter()
        model.clusters(x, 32)
        times[clusters] = time.perf_counter() - begin
    bench.record(
        "time by number of clusters, 8 sets of 192 points, 32 samples",
        seconds={str(k): round(value, 4) for k, value in times.items()},
    )


def throughput(bench: harness.Benchmark, answers, chains, where: str) -> None:
    """Sets per second of an accelerator beside those of one core (target C1).

    Sides have as many sets as they want: thousands, and a few dozen.
    """
    count, few = (256, 8) if bench.quick else (4096, 64)
    sets, _ = drawn_sets(where, count, 199)
    answers(sets)
    rates: dict[str, list[float]] = {"ours": [], "Gibbs": []}
    for _ in range(3 if bench.quick else 7):
        for name, run, some in (
            ("ours", answers, sets),
            ("Gibbs", chains, sets[:few]),
        ):
            begin = time.perf_counter()
            run(some)
            rates[name].append(len(some) / (time.perf_counter() - begin))
    bench.target(
        "C1",
        np.divide(rates["ours"], rates["Gibbs"]),
        sets=count,
        points=199,
        sets_per_second=round(float(np.median(rates["ours"])), 1),
        peer="Gibbs, 150 sweeps, one core",
    )


if __name__ == "__main__":
    flags = harness.parser(__doc__)
    flags.add_argument("--only", default=",".join(CASES), help="cases, with commas")
    flags.add_argument("--model", action="append", help="NAME=DIRECTORY of a run")
    flags.add_argument("--of", default="", help="models, with commas; all if empty")
    harness.run(main, "clustering", __doc__, flags)
