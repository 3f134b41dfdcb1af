"""`python -m jaxbio.cluster`: what is written, and what is said of bad requests."""

import re
import subprocess
import sys

import numpy as np
import pytest

from jaxbio import cluster
from jaxbio.clustering import AttentiveClustering, answer
from jaxbio.clustering.consensus import consensus, maxami
from jaxbio.clustering.estimator import Samples
from jaxbio.clustering.graphs.read import read
from tests.jaxbio.clustering.runs import leave, tiny, tiny_graphs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "points"
    leave(path, tiny())
    return path


@pytest.fixture(scope="module")
def graph_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "graphs"
    leave(path, tiny_graphs())
    return path


@pytest.fixture(scope="module")
def block_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "blocks"
    leave(path, tiny_graphs("symmetric"))
    return path


def test_points_of_a_file(model, tmp_path, capsys):
    points = np.random.default_rng(0).normal(size=(7, 2))
    lines = ["name,x,y", *(f"p,{a},{b}" for a, b in points)]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    arguments = [str(tmp_path / "points.csv"), "--columns=x,y", "--samples=20"]
    out = tmp_path / "answer"
    arguments += [f"--model={model}", f"--out={out}"]
    assert cluster.main([*arguments, "--estimate=topk"]) == 0
    assert "7 points, 20 samples" in capsys.readouterr().out
    rows = (out / "labels.csv").read_text().splitlines()
    assert rows[0] == "point,cluster,certainty" and len(rows) == 8
    with np.load(out / "samples.npz") as saved:
        assert saved["labels"].shape == (20, 7)
        assert saved["coclustering"].shape == (7, 7)
        best = saved["labels"][saved["log_prob"].argmax()]
        assert saved["clusters"].sum() == pytest.approx(1)
    assert [int(row.split(",")[1]) for row in rows[1:]] == best.tolist()
    assert all(0 < float(row.split(",")[2]) <= 1 for row in rows[1:])
    assert cluster.main(arguments) == 0
    assert "the consensus has" in capsys.readouterr().out
    rows = (out / "labels.csv").read_text().splitlines()
    with np.load(out / "samples.npz") as saved:
        wanted = consensus(saved["labels"])
    assert [int(row.split(",")[1]) for row in rows[1:]] == wanted.tolist()
    assert (out / "answer.png").read_bytes()[:4] == b"\x89PNG"
    assert cluster.main([*arguments, "--estimate=maxami"]) == 0
    assert "the maxami has" in capsys.readouterr().out
    rows = (out / "labels.csv").read_text().splitlines()
    wanted = maxami(np.load(out / "samples.npz")["labels"])
    assert [int(row.split(",")[1]) for row in rows[1:]] == wanted.tolist()


def ring(path, size):
    """A ring of two dense halves."""
    lines = [
        f"n{i} n{j}"
        for i in range(size)
        for j in range(i)
        if (i < size / 2) == (j < size / 2)
    ]
    path.write_text("\n".join([*lines, f"n0 n{size - 1}"]) + "\n")


def test_graphs_of_a_file_whole_and_in_parts(graph_model, tmp_path, capsys):
    ring(tmp_path / "small.txt", 8)
    arguments = [f"--model={graph_model}", "--samples=6"]
    out = tmp_path / "small"
    assert cluster.main([str(tmp_path / "small.txt"), *arguments, f"--out={out}"]) == 0
    assert "8 nodes, 6 samples" in capsys.readouterr().out
    rows = (out / "labels.csv").read_text().splitlines()
    assert {row.split(",")[0] for row in rows[1:]} == {f"n{i}" for i in range(8)}
    assert (out / "answer.png").exists()
    ring(tmp_path / "large.txt", 70)
    out = tmp_path / "large"
    assert cluster.main([str(tmp_path / "large.txt"), *arguments, f"--out={out}"]) == 0
    assert "70 nodes, in parts of 12" in capsys.readouterr().out
    rows = (out / "labels.csv").read_text().splitlines()
    assert len(rows) == 71 and rows[0] == "node,cluster,certainty"
    assert all(0 < float(row.split(",")[2]) <= 1 for row in rows[1:])
    assert not (out / "answer.png").exists()
    again = tmp_path / "again"
    arguments = [str(tmp_path / "large.txt"), *arguments, "--estimate=topk"]
    assert cluster.main([*arguments, f"--out={again}"]) == 2
    assert (
        "mode: for a graph in parts want one of consensus, maxami, got 'topk'"
        in capsys.readouterr().err
    )


def test_blocks_refined(block_model, graph_model, tmp_path, capsys):
    """The labels and how sure they are come from belief propagation."""
    ring(tmp_path / "small.txt", 24)
    arguments = [str(tmp_path / "small.txt"), "--samples=6", "--estimate=refined"]
    out = tmp_path / "out"
    arguments.append(f"--out={out}")
    assert cluster.main([*arguments, f"--model={graph_model}"]) == 2
    assert (
        "refined is an answer of models of equal blocks, such as symmetric; this one "
        "was trained on graphs.sbm" in capsys.readouterr().err
    )
    assert not out.exists()
    assert cluster.main([*arguments, f"--model={block_model}"]) == 0
    model = AttentiveClustering.load(block_model)
    graph = read(tmp_path / "small.txt")
    with np.load(out / "samples.npz") as saved:
        found = model.refine(graph, saved["labels"])
    rows = (out / "labels.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[1]) for row in rows] == found.labels.tolist()
    sure = [float(row.split(",")[2]) for row in rows]
    np.testing.assert_allclose(sure, found.marginals.max(1), atol=1e-4)
    told = capsys.readouterr().out
    nats = f"({found.evidence:.1f} nats more probable than one), in"
    assert f"the refined has 2 clusters {nats}" in told


def test_how_far_it_is_can_be_read_in_a_file(graph_model, tmp_path):
    """Of a process whose standard error is no terminal."""
    program = (
        "import sys; from jaxrec.core import progress; from jaxbio import cluster\n"
        "progress.CountLine.__init__.__kwdefaults__['every'] = 0.0\n"
        "sys.exit(cluster.main(sys.argv[1:]))"
    )
    arguments = [f"--model={graph_model}", "--samples=3", f"--out={tmp_path / 'out'}"]
    for name, size, what in (("large", 70, "parts"), ("small", 8, "probabilities")):
        ring(tmp_path / name, size)
        command = [sys.executable, "-c", program, str(tmp_path / name), *arguments]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        assert re.search(rf"{what}: (\d+)/\1  .* ETA 0:00", said.stderr)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("1,2\n3,x\n", [], "line 2, column 1: 'x' is no number"),
        ("1,2,3\n", [], "the model takes 2 coordinates, got 3"),
        ("1,2\n", ["--samples=0"], "samples: want an integer of 1 or more, got 0"),
        ("1,2\n", ["--columns=5,1"], "there is no column '5' of 2"),
    ],
)
def test_bad_requests_end_in_a_line(model, tmp_path, capsys, text, options, message):
    (tmp_path / "points.csv").write_text(text)
    arguments = [str(tmp_path / "points.csv"), f"--out={tmp_path / 'answer'}", *options]
    assert cluster.main([*arguments, f"--model={model}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "answer").exists()


def test_an_unknown_model_is_named(tmp_path, capsys):
    arguments = ["points.csv", "--model=points-7d", f"--out={tmp_path}"]
    assert cluster.main(arguments) == 2
    error = capsys.readouterr().err
    assert "'points-7d': no such directory, nor a model of this name" in error
    assert "did you mean 'points-2d'?" in error


def test_a_graph_has_no_columns(graph_model, tmp_path, capsys):
    ring(tmp_path / "small.txt", 6)
    arguments = [str(tmp_path / "small.txt"), f"--model={graph_model}", "--columns=x"]
    assert cluster.main([*arguments, f"--out={tmp_path / 'answer'}"]) == 2
    assert "--columns=x: a graph has none" in capsys.readouterr().err


def test_weak_structure_is_told_of(tmp_path):
    truth = np.repeat([0, 1], 60)
    moved = np.random.default_rng(0).random((32, 120)) < 0.25

    class Model:
        refines = False

        def sample(self, data, samples, key, progress):
            return Samples(np.where(moved, 1 - truth, truth), np.zeros(samples))

    def told(estimate):
        how = {"samples": 32, "seed": 0, "estimate": estimate}
        arguments = (range(120), "node", tmp_path, lambda *parts: None)
        return answer._answer(Model(), None, *arguments, **how)

    weak = "samples share little; --estimate=maxami looks for weak structure"
    assert told("consensus").endswith(weak)
    assert "the consensus has 1 cluster, in" in told("consensus")
    assert "the maxami has 2 clusters, in" in told("maxami")
    assert weak not in told("maxami")
    Model.refines = True
    assert "share little; --estimate=refined looks for" in told("consensus")
