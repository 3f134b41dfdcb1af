"""The estimator: shapes, determinism, many sets at once, and what is refused."""

import json

import numpy as np
import pytest

from jaxbio.clustering import AttentiveClustering, estimator, programs, stored
from jaxbio.clustering.consensus import consensus, maxami
from jaxbio.clustering.graphs.graph import from_pairs
from jaxbio.clustering.partitions import all_partitions
from tests.jaxbio.clustering.runs import leave, tiny, tiny_graphs


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    leave(path, tiny())
    return path


@pytest.fixture(scope="module")
def model(workdir):
    return AttentiveClustering.load(workdir)


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(9, 2)) * 8


def test_samples_are_partitions_with_probabilities(model, points):
    drawn = model.sample(points, samples=20, key=3)
    assert drawn.labels.shape == (20, 9) and drawn.log_prob.shape == (20,)
    assert (drawn.labels[:, 0] == 0).all() and (drawn.log_prob <= 0).all()
    again = model.sample(points, samples=20, key=3)
    np.testing.assert_array_equal(drawn.labels, again.labels)
    np.testing.assert_array_equal(drawn.log_prob, again.log_prob)
    other = model.sample(points, samples=20, key=4)
    assert (drawn.labels != other.labels).any()
    fewer = model.sample(points, samples=5, key=3)
    np.testing.assert_array_equal(fewer.labels, drawn.labels[:5])


def test_progress_counts_all_there_is_and_changes_nothing(model, points, monkeypatch):
    told = {}

    class Line(estimator.CountLine):
        def __init__(self, what, total, **options):
            super().__init__(what, total, **options)
            told[what] = [options["shown"], total]
            self.done = told[what].append

        def __exit__(self, *_):
            told[self._what].append("closed")

    monkeypatch.setattr(estimator, "CountLine", Line)
    whole = model.sample([points, points[:4]], samples=21)
    assert told["samples"] == [False, 42, 21, 21, "closed"]
    monkeypatch.setattr(programs, "_POINTS", {"cpu": 32})
    drawn = model.sample([points, points[:4]], samples=21, progress=True)
    for one, other in zip(whole, drawn, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.log_prob, other.log_prob, rtol=1e-5, atol=1e-5)
    samples, probabilities = told["samples"], told["probabilities"]
    assert samples == [True, 42, 7, 7, 7, 11, 10, "closed"]
    distinct = sum(len(np.unique(one.labels, axis=0)) for one in whole)
    assert probabilities[1] == sum(probabilities[2:-1]) == distinct
    assert len(probabilities) > 5


@pytest.mark.parametrize("mode", ["topk", "mode"])
def test_the_most_probable_come_first_and_once(model, points, mode):
    drawn = model.sample(points, samples=30, mode=mode)
    assert (np.diff(drawn.log_prob) <= 0).all()
    assert len(np.unique(drawn.labels, axis=0)) == len(drawn.labels) <= 30
    if mode == "topk":
        np.testing.assert_array_equal(
            model.fit_predict(points, samples=30, mode="topk"), drawn.labels[0]
        )


def test_many_sets_at_once_are_answered_as_one_by_one(model, points):
    sets = [points, points[:3], points[:1], np.tile(points, (2, 1))]
    together = model.sample(sets, samples=6)
    for one, drawn in zip(sets, together, strict=True):
        alone = model.sample(one, samples=6)
        np.testing.assert_array_equal(drawn.labels, alone.labels)
        np.testing.assert_allclose(drawn.log_prob, alone.log_prob, rtol=1e-4, atol=1e-4)
    labels = model.fit_predict(sets, samples=6)
    assert [len(row) for row in labels] == [9, 3, 1, 18]
    assert labels[2].tolist() == [0]
    found = model.log_prob(sets, labels, orders=2)
    assert len(found) == 4 and found[2] == 0
    for row, drawn in zip(labels, together, strict=True):
        np.testing.assert_array_equal(row, consensus(drawn.labels))
    labels = model.fit_predict(sets, samples=6, mode="maxami")
    for row, drawn in zip(labels, together, strict=True):
        np.testing.assert_array_equal(row, maxami(drawn.labels))


def test_probabilities_of_all_partitions_are_total(model, points):
    rows = all_partitions(4)
    found = model.log_prob(points[:4], rows, orders=300)
    assert np.exp(found).sum() == pytest.approx(1, abs=0.02)
    one = model.log_prob(points[:4], [5, 5, -2, 5], orders=300)
    (same,) = np.flatnonzero((rows == [0, 0, 1, 0]).all(1))
    assert one == pytest.approx(found[same], abs=0.3)
    few = model.log_prob(points[:4], rows, orders=500, anchors=1)
    assert np.exp(few).sum() == pytest.approx(1, abs=0.05)


def test_pairs_and_numbers_of_clusters(model, points):
    labels = model.sample(points, samples=200).labels
    shared = model.coclustering(points, samples=200)
    expected = (labels[:, :, None] == labels[:, None]).mean(0)
    np.testing.assert_allclose(shared, expected, atol=1e-6)
    shares = model.clusters(points, samples=200)
    assert shares.sum() == pytest.approx(1) and shares[0] == 0
    assert shares @ np.arange(len(shares)) == pytest.approx((labels.max(1) + 1).mean())


def test_a_list_of_rows_is_one_table(model, points):
    np.testing.assert_array_equal(
        model.fit_predict(points.tolist()), model.fit_predict(points)
    )


def test_how_far_a_model_reaches(model, monkeypatch):
    assert model.reach == 5 * model.trained_on == 60
    monkeypatch.setattr(estimator, "LARGEST", 50)
    assert model.reach == 50


def test_blocks_are_refined(tmp_path):
    leave(tmp_path, tiny_graphs("symmetric"))
    model = AttentiveClustering.load(tmp_path)
    half = np.kron(np.eye(2), np.ones((8, 8))) - np.eye(16)
    graphs = [half, half[:2, :2], half[3:, 3:]]
    drawn = model.sample(graphs, samples=6)
    labels = model.fit_predict(graphs, samples=6, mode="refined")
    for graph, one, row in zip(graphs, drawn, labels, strict=True):
        found = model.refine(graph, one.labels)
        np.testing.assert_array_equal(row, found.labels)
        assert len(found.marginals) == len(graph)
    assert labels[1].tolist() == [0, 0]
    found = model.refine(half, np.arange(16) // 8)
    assert found.labels.tolist() == [0] * 8 + [1] * 8 and found.evidence > 5
    with pytest.raises(ValueError, match="want shape \\(16,\\) or \\(S, 16\\)"):
        model.refine(half, np.zeros(15, int))
    with pytest.raises(ValueError, match="one of consensus, maxami, got 'refined'"):
        model.fit_predict_in_parts(from_pairs(np.arange(2), [(0, 1)]), mode="refined")


def test_only_blocks_are_refined(model, points):
    said = "refined is an answer of models of equal blocks.* trained on points.mixtures"
    with pytest.raises(ValueError, match=said):
        model.fit_predict(points, mode="refined")


def test_points_do_not_go_in_parts(model):
    graph = from_pairs(np.arange(3), [(0, 1), (1, 2)])
    with pytest.raises(ValueError, match="in parts go graphs; the model clusters poi"):
        model.fit_predict_in_parts(graph)


def test_equal_points_are_answered(model):
    labels = model.fit_predict(np.full((5, 2), 3.0))
    assert labels.shape == (5,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.sample(x, 0), "samples: want an integer of 1 or more, got 0"),
        (lambda m, x: m.sample(x, mode="best"), "mode: want one of posterior, mode,"),
        (
            lambda m, x: m.fit_predict(x, mode="posterior"),
            "mode: want one of consensus, maxami, refined, topk, mode, got 'posterior'",
        ),
        (lambda m, x: m.sample([]), "got an empty list"),
        (lambda m, x: m.log_prob(x, [0, 1]), "want shape \\(9,\\) or \\(S, 9\\)"),
        (lambda m, x: m.log_prob(x, x[:, 0]), "labels: want integers, got float64"),
        (lambda m, x: m.log_prob([x], [[0] * 9] * 2), "each of 1 data sets, got 2"),
        (lambda m, x: m.log_prob(x, [0] * 9, anchors=0), "anchors: want an integer"),
        (lambda m, x: m.sample(np.zeros((4097, 2))), "data set 0 has 4,097 points"),
        (lambda m, x: m.sample(x * np.inf), "the value in row 0, column 0 is"),
        (lambda m, x: m.sample([x, x[:, :1]]), "takes 2 coordinates, got 1"),
    ],
)
def test_bad_requests_are_refused(model, points, call, message):
    with pytest.raises(ValueError, match=message):
        call(model, points)


def test_a_packaged_model_answers_like_its_run(workdir, model, points, tmp_path):
    size = stored.package(workdir, tmp_path / "kept", {"command": "made here"})
    assert size == (tmp_path / "kept/parameters.npz").stat().st_size
    kept = AttentiveClustering.load(tmp_path / "kept")
    assert kept.card["command"] == "made here" and model.card == {}
    assert kept.description == model.description
    labels = model.fit_predict(points)
    ours, theirs = (m.log_prob(points, labels) for m in (kept, model))
    assert ours == pytest.approx(theirs, abs=0.1)  # half precision
    first = (tmp_path / "kept/parameters.npz").read_bytes()
    stored.package(workdir, tmp_path / "again", {})
    assert (tmp_path / "again/parameters.npz").read_bytes() == first


def test_damaged_and_foreign_models_are_refused(workdir, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="no such directory, nor a model of this"
    ):
        AttentiveClustering.load("no-such-model")
    with pytest.raises(FileNotFoundError, match="config.json is missing"):
        AttentiveClustering.load(tmp_path)
    stored.package(workdir, tmp_path / "kept", {})
    with open(tmp_path / "kept/parameters.npz", "ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="is damaged: its sha256 is"):
        AttentiveClustering.load(tmp_path / "kept")
    config = json.loads((workdir / "config.json").read_text())
    (tmp_path / "kept/card.json").write_text("{}")
    with pytest.raises(ValueError, match="card.json: sha256 is missing"):
        AttentiveClustering.load(tmp_path / "kept")
    (tmp_path / "kept/card.json").unlink()
    with pytest.raises(FileNotFoundError, match="card.json is missing"):
        AttentiveClustering.load(tmp_path / "kept")
    (tmp_path / "new").mkdir()
    (tmp_path / "new/config.json").write_text(json.dumps(config))
    with pytest.raises(FileNotFoundError, match="checkpoints/best is missing"):
        AttentiveClustering.load(tmp_path / "new")
    (tmp_path / "new/config.json").write_text('{"model": {"name": "lru"}}')
    with pytest.raises(ValueError, match="config.encoder is missing"):
        AttentiveClustering.load(tmp_path / "new")


def test_a_folder_of_the_same_name_hides_no_shipped_model(tmp_path, monkeypatch):
    (tmp_path / "crp2d-tau4").mkdir()
    monkeypatch.chdir(tmp_path)
    assert AttentiveClustering.load("crp2d-tau4").card["seed"] == 42


def test_shares_of_pairs():
    labels = np.array([[0, 0, 1], [0, 1, 1]])
    expected = [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]
    np.testing.assert_allclose(estimator.together(labels), expected)
