"""Scores that lean towards what is bought often: chosen, tested, served and cut."""

import copy
import dataclasses
import types

import jax
import numpy as np
import pytest
from tiny_runs import tiny_nested

import jaxrec
from jaxrec.core.parallel import make_mesh
from jaxrec.core.run_directory import best_params
from jaxrec.eval import saved_ranks
from jaxrec.models import fmrlrec
from jaxrec.nested.cut import cut_run
from jaxrec.retrieval import popularity_prior
from jaxrec.retrieval.popularity_prior import PRIOR_FILE, PopularityPrior
from jaxrec.tasks import next_item
from jaxrec.tasks.popularity import check_weights, choose
from tests.jaxrec.compiling import numpy_jit, quick_jit
from tests.jaxrec.tasks.test_nested_sizes import model_of

prefill = numpy_jit(fmrlrec.prefill, static_argnums=1)
HISTORY = np.int32([[3, 10, 4]])


@dataclasses.dataclass
class Ranked:
    """Ranks, of which one figure is known."""

    prior: np.ndarray
    figure: float

    def summary(self):
        return {"ndcg@10": self.figure}


class Task:
    """A task that validates best with a weight of its own, by size."""

    sizes = ((4, 0.5), (8, 0.5))
    best = types.MappingProxyType({4: 0.0, 8: 0.5})

    def __init__(self, split, *weights, features=(), monitor="ndcg@10"):
        self.split, self.size, self.prior = split, 8, None
        self.features = types.SimpleNamespace(names=features)
        self.config = {
            "eval": {"popularity": weights},
            "train": {"monitor": monitor},
        }

    def leaning(self, prior):
        other = copy.copy(self)
        other.prior = prior
        return other

    def at_size(self, params, size):
        other = self.leaning(None)
        other.size = size
        return other, params

    def figure(self, prior):
        # Of items with two training events and with one.
        weight = (prior[1] - prior[2]) / np.log(3 / 2)
        return -abs(round(float(weight), 4) - self.best[self.size])

    def rank(self, params, part):
        assert part == "valid"
        return [Ranked(prior, self.figure(prior)) for prior in self.prior]

    def evaluate(self, params, part, ranks):
        np.testing.assert_array_equal(ranks.prior, self.prior)
        assert part == "valid" and self.config["train"]["monitor"] != "ndcg@10"
        return {"ndcg@10": 0.0, "sampled5/ndcg@10": self.figure(self.prior)}


@pytest.mark.parametrize("monitor", ["ndcg@10", "sampled5/ndcg@10"])
def test_each_size_takes_the_weight_that_validates_best(monitor):
    sequences = jaxrec.data.Sequences.from_histories({"u": "1232", "v": "1323"})
    split = jaxrec.data.splits.leave_one_out(sequences)
    prior = choose(Task(split, 1.0, 0.5, 0.75, monitor=monitor), {})
    assert prior.weights == {4: 0.0, 8: 0.5}
    np.testing.assert_allclose(prior.log_counts, [0, *np.log([3, 2, 2])], rtol=1e-6)
    assert choose(Task(split, 0.25, 0.75), {}).weights[8] == 0.25  # the least of equals
    assert choose(Task(split), {}) is None


def test_a_new_item_is_an_average_one_where_features_tell_of_it():
    sequences = jaxrec.data.Sequences.from_histories({"u": "1213", "v": "1324"})
    split = jaxrec.data.splits.leave_one_out(sequences)  # 1213 and 13 are trained on
    with_features = choose(Task(split, 0.5, features=("text",)), {})
    known = np.log([3, 2, 2])
    np.testing.assert_allclose(
        with_features.log_counts, [0, *known, known.mean()], rtol=1e-6
    )
    wanted = 0.5 * (np.array([*known, known.mean()]) - known.mean())
    np.testing.assert_allclose(with_features.bias(), [0, *wanted], atol=1e-6)
    without = choose(Task(split, 0.5), {})
    np.testing.assert_allclose(without.log_counts, [0, *known, 0], rtol=1e-6)
    assert without.bias()[4] == without.bias()[1:].min() < -0.3


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan"), "a"])
def test_weights_that_cannot_be_are_refused(tmp_path, weight):
    config = tiny_nested(tmp_path)
    config.eval.popularity = (0.5, weight)
    with pytest.raises(ValueError, match="eval.popularity: want weights above 0"):
        next_item.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    check_weights({"eval": {"popularity": ()}})


@pytest.fixture(scope="module")
def leaning(tmp_path_factory):
    """Workdir and config of a run that was tested without and then with a prior."""
    folder = tmp_path_factory.mktemp("leaning")
    config = tiny_nested(folder)
    next_item.run(config, folder / "run")
    config.eval.popularity = (0.5, 1.0, 2.0)
    next_item.run(config, folder / "run")
    return folder / "run", config


def plain_scores(workdir, config, ids, size):
    cfg = model_of(config)
    params = best_params(workdir, lambda key: fmrlrec.init(key, cfg))
    table, _ = fmrlrec.head(params, cfg)
    hidden = prefill(params, cfg, ids)[1][0]
    return np.asarray(hidden[:size] @ table[:, :size].T)


def test_targets_are_ranked_by_scores_with_the_prior(leaning):
    workdir, config = leaning
    split = jaxrec.data.load(config.data)
    prior = popularity_prior.load(workdir, split.sequences.items)
    assert set(prior.weights) == {4, 8} and max(prior.weights.values()) > 0
    for size in (4, 8):
        wanted = []
        for user, position in zip(split.test.user, split.test.position, strict=True):
            begin = max(split.sequences.offsets[user], position - config.batch.length)
            history = split.sequences.values[begin:position]
            ids = np.zeros((1, config.batch.length), np.int32)
            ids[0, len(ids[0]) - len(history) :] = history
            scores = plain_scores(workdir, config, ids, size) + prior.bias(size)
            target = split.sequences.values[position]
            wanted.append((scores[1:] > scores[target]).sum())  # nothing is masked
        found = saved_ranks.load(workdir, None if size == 8 else size)
        np.testing.assert_array_equal(found.rank, wanted)
    assert f"popularity prior of {prior.weight():g}\n" in (
        (workdir / "results.txt").read_text()
    )


def test_what_is_compiled_serves_all_weights(leaning):
    _, config = leaning
    mesh = make_mesh(devices=jax.devices()[:1])
    task = next_item.NextItem(config, jaxrec.data.load(config.data), mesh)
    params = quick_jit(task.init)(jax.random.key(0))
    logs = np.zeros(config.data.num_items + 1, np.float32)
    smaller, _ = task.at_size(params, 4)
    for of_size in (task, smaller):
        functions = [of_size.leaning(logs)._functions for _ in range(2)]
        assert functions[0]["hidden_fn"] is functions[1]["hidden_fn"]
    assert smaller._functions["hidden_fn"] is not task._functions["hidden_fn"]


def test_it_is_served_and_cut_with_the_model(leaning, tmp_path):
    workdir, config = leaning
    items = config.data.num_items
    prior = popularity_prior.load(workdir, items)
    cut_run(workdir, 4, tmp_path / "cut")
    assert popularity_prior.load(tmp_path / "cut", items).weights == {
        4: prior.weights[4]
    }
    for run, size in ((workdir, 8), (tmp_path / "cut", 4)):
        scores = plain_scores(workdir, config, HISTORY, size) + prior.bias(size)
        wanted = [n for n in np.argsort(-scores) if n not in (0, *HISTORY[0])][:5]
        (answer,) = jaxrec.load(run).recommend([["i3", "i10", "i4"]], 5)
        assert list(answer.ids) == [f"i{n}" for n in wanted]
        np.testing.assert_allclose(answer.scores, scores[wanted], rtol=0, atol=1e-5)


def test_a_test_without_it_leaves_none(leaning):
    workdir, config = leaning
    kept = (workdir / PRIOR_FILE).read_bytes(), config.copy_and_resolve_references()
    config = kept[1]
    with_prior = saved_ranks.load(workdir).rank
    config.eval.popularity = ()
    try:
        next_item.run(config, workdir)
        assert not (workdir / PRIOR_FILE).exists()
        assert (saved_ranks.load(workdir).rank != with_prior).any()
    finally:
        (workdir / PRIOR_FILE).write_bytes(kept[0])


def test_files_that_are_damaged_or_of_other_items(tmp_path):
    assert popularity_prior.load(tmp_path, 3) is None
    prior = PopularityPrior(np.float32([0, 1, 2, 3]), {4: 0.25, 8: 0.5})
    popularity_prior.save(tmp_path, prior)
    again = popularity_prior.load(tmp_path, 3)
    assert again.weights == prior.weights and again.weight() == 0.5
    np.testing.assert_array_equal(again.bias(), [0, -0.5, 0, 0.5])
    np.testing.assert_array_equal(again.of_size(4).bias(), [0, -0.25, 0, 0.25])
    with pytest.raises(ValueError, match=r"npz: log_counts is \(4,\), not of 5 items"):
        popularity_prior.load(tmp_path, 5)
    path = tmp_path / PRIOR_FILE
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=f"{PRIOR_FILE} is damaged"):
        popularity_prior.load(tmp_path, 3)
