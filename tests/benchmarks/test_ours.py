"""Our benchmarks run, in tiny shapes: sides agree, rows and targets are written.

Every benchmark checks that its sides compute the same thing before it times them; what
it then finds is no result here.
"""

import dataclasses
import json
import os
import resource
from pathlib import Path

import jax
import jax.numpy as jnp
import nested_runs
import numpy as np
import pytest
import serving_runs
import tiny_runs

pytest.importorskip("torch", reason="the peers need the extra [bench]")

from benchmarks import (
    attention_step,
    command,
    evaluation,
    funnel,
    harness,
    nested,
    on_gpu,
    packing,
    pipeline,
    recbole,
    scale,
    scan,
    serving,
    softmax,
    study_group,
    topk,
    train_step,
    training,
)
from benchmarks.shapes import SHAPES, Histories, padded
from jaxrec.core.config_file import load_config

TINY = dataclasses.replace(
    SHAPES["beauty"], batch=16, length=12, items=50, dim=8, blocks=1
)

SHORT = dataclasses.replace(TINY, name="beauty-12k")  # in one micro-batch


@pytest.fixture(name="bench", autouse=True)
def fixture_bench(tmp_path):
    """A benchmark of two rounds; compilation is quick and what it makes is slow."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    flags = harness.parser()
    options = flags.parse_args(["--out", str(tmp_path), "--quick", "--rounds", "2"])
    yield harness.Benchmark("trial", options)
    jax.config.update("jax_disable_most_optimizations", before)


def targets(bench):
    """The targets in the rows, each with what was reached."""
    rows = [json.loads(line) for line in bench.path.read_text().splitlines()]
    assert all({"date", "device", "commit", "command"} <= row.keys() for row in rows)
    found = {row["target"]: row for row in rows if "target" in row}
    assert all(row["reached"] > 0 for row in found.values())
    return found


@pytest.mark.parametrize("name", training.CONFIGS)
def test_config_is_the_one_that_is_shipped(name):
    path = Path(training.__file__).parents[1] / "configs" / f"{name}.py"
    shipped = load_config(f"{path}:ml1m").to_dict()
    ours = dict(training.CONFIGS[name])
    train = shipped.pop("train")
    assert ours.pop("train") == {"steps": train["steps"]}
    assert ours == {key: shipped[key] for key in ours}


def test_config_changes_by_last_name():
    config = training.make_config(TINY, micro=2, dropout=0.0, batch=64)
    assert config["parallel"]["micro"] == 2
    assert config["eval"]["batch"] == 64
    assert config["model"]["dropout"] == config["model"]["dropout_lru"] == 0
    assert config["batch"]["length"] == 12 and config["model"]["dim"] == 8
    config = training.make_config(TINY, "hstu", seed=3, dropout=0.5)
    assert config["model"]["dropout"] == config["model"]["dropout_block"] == 0.5
    assert config["model"]["dim_qk"] == config["model"]["dim_v"] == 8
    assert config["seed"] == 3 and training.CONFIGS["hstu"]["seed"] == 42
    with pytest.raises(ValueError, match="0 sections have a key 'chunks'"):
        training.make_config(TINY, chunks=2)


def test_one_window_each_has_the_targets_of_padded_rows():
    data = Histories(np.arange(1, 16, dtype=np.int32), np.array([0, 2, 5, 15]))
    kept = training.one_window_each(data, 3)
    assert kept.values.tolist() == [1, 2, 3, 4, 5, 12, 13, 14, 15]
    assert kept.offsets.tolist() == [0, 2, 5, 9]
    before, after = padded(data, 3), padded(kept, 3)
    np.testing.assert_array_equal(before.labels, after.labels)
    np.testing.assert_array_equal(before.tokens, after.tokens)


def test_train_step(bench):
    problem = train_step.Problem(TINY)
    plain = problem.ours(dropout=0.0)
    train_step.against_published(bench, problem, plain)
    train_step.against_floor(bench, problem, plain)
    assert targets(bench).keys() == {"P1", "P1m", "P1b"}


def test_a_step_on_other_targets_is_refused():
    problem = train_step.Problem(TINY)
    problem.rows.labels[-1, -1] = problem.rows.labels[-1, -1] % TINY.items + 1
    with pytest.raises(ValueError, match="or they are others"):
        problem.ours()


def test_attention_step(bench):
    problem = attention_step.Problem(SHORT)
    attention_step.compare(bench, problem, compiled=False)
    assert targets(bench).keys() == {"A1"}
    rows = [json.loads(line) for line in bench.path.read_text().splitlines()]
    reached = {row["model"] for row in rows if "target" in row}
    assert reached == {"sasrec", "hstu"}


def test_a_study_group_and_its_members_one_by_one(bench):
    study_group.compare(bench, SHORT, members=2)
    found = targets(bench)
    assert found.keys() == {"A2"} and found["A2"]["compile_ratio"] > 0


def test_scan(bench):
    scan.compare(bench, scan.Problem(2, 5, 4), True, False)
    assert targets(bench).keys() == {"P2"}


def test_softmax(bench):
    softmax.on_cpu(bench, softmax.Problem(20, 30, 8))
    assert targets(bench).keys() == {"P3"}


def test_topk(bench):
    topk.compare(bench, 300, 2, False)
    assert targets(bench).keys() == {"P5", "P5b"}


def test_funnel(bench, monkeypatch):
    monkeypatch.setattr(funnel, "FUNNELS", ((8, 40), (32, 40)))
    catalogue = funnel.Catalogue(300, "trained", funnel.QUERIES, dim=64)
    found = funnel.recalls(catalogue, 10)
    assert 0 < found[8, 40] < found[32, 40] <= 1
    funnel.compare(bench, catalogue, 2, 10, found, found)
    assert targets(bench).keys() == {"N1"}


def test_recall_of_a_run(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(funnel, "KS", (5,))
    monkeypatch.setattr(funnel, "SHORTLISTS", (6, 40))
    cfg = nested_runs.config()
    section = {"name": "fmrlrec", "sizes": list(cfg.sizes), "blocks": 1}
    data = tiny_runs.tiny(**tiny_runs.WORLD).data.to_dict()
    tree = nested_runs.params(cfg)
    serving_runs.save(tmp_path / "run", tree, cfg.items, section, data=data)
    funnel.of_run(bench, tmp_path / "run", users=9)
    rows = [json.loads(line) for line in bench.path.read_text().splitlines()]
    found = {row["funnel"]: row["recall"] for row in rows}
    assert found.keys() == {"4, 6", "4, 40", "8, 6", "8, 40"}
    assert 0 < found["4, 6"] < found["8, 6"] < found["8, 40"] == found["4, 40"] == 1


@pytest.mark.parametrize("curve", funnel.CURVES)
def test_the_first_coordinates_know_what_the_curve_says(curve):
    catalogue = funnel.Catalogue(2000, curve, 200, dim=64)
    queries, table = np.asarray(catalogue.queries), np.asarray(catalogue.table)
    full = queries @ table.T
    for share, wanted in funnel.CURVES[curve].items():
        width = round(64 * share)
        some = queries[:, :width] @ table[:, :width].T
        found = [np.corrcoef(a, b)[0, 1] ** 2 for a, b in zip(some, full, strict=True)]
        assert abs(np.mean(found) - wanted) < 0.05


def test_nested(bench):
    nested.linear(bench, 20, 16, jnp.float32)
    nested.loss(bench, softmax.Problem(20, 30, 16), jnp.float32)
    assert targets(bench).keys() == {"N2", "N3", "N3b"}


def test_sizes_that_double():
    assert nested.doubling(8) == (8,)
    assert nested.doubling(64) == (8, 16, 32, 64)


def test_packing(bench):
    packing.compare(bench, TINY)
    assert targets(bench).keys() == {"P6"}


def test_evaluation(bench):
    evaluation.compare(bench, TINY, users=20)
    assert targets(bench).keys() == {"E1"}


def test_pipeline(bench):
    pipeline.compare(bench, TINY, users=40, steps=2)
    assert targets(bench).keys() == {"I1"}


def test_serving(bench):
    server = serving.Server(dataclasses.replace(TINY, items=120))
    serving.one_event(bench, server)
    serving.state_only(bench, server)
    serving.age(bench, server, 40)
    serving.many_users(bench, dataclasses.replace(TINY, items=150), False)
    assert targets(bench).keys() == {"P4", "P4b", "S1", "G4"}


def test_window_of_attention_models(bench):
    serving.window(bench, TINY, 3, 6)
    assert targets(bench).keys() == {"A3"}


def test_costs_of_a_training_are_read_from_its_log():
    # 4 s to start, 0.5 s a step of 100 targets; 9 s the first evaluation, then 3 s.
    rates = {"time/examples_per_second": 50.0, "time/steps_per_second": 0.5}
    rows = [
        {"step": 2, "kind": "train", "time/cpu_seconds": 5.0, **rates},
        {"step": 4, "kind": "train", "time/cpu_seconds": 6.0, **rates},
        {"step": 4, "kind": "valid", "time/cpu_seconds": 15.0, "ndcg@10": 0.1},
        {"step": 6, "kind": "train", "time/cpu_seconds": 16.0, **rates},
        {"step": 8, "kind": "train", "time/cpu_seconds": 17.0, **rates},
        {"step": 8, "kind": "valid", "time/cpu_seconds": 20.0, "ndcg@10": 0.2},
    ]
    run = command.Run(Path(), rows, resource.getrusage(resource.RUSAGE_SELF))
    assert recbole.figures(run, every=4) == {
        "start_cpu_s": 4.0,
        "targets_per_cpu_s": 200.0,
        "evaluation_cpu_s": 3.0,
        "first_evaluation_cpu_s": 9.0,
        "peak_mb": run.peak_bytes / 1e6,
        "curve": [[15.0, 0.1], [20.0, 0.2]],
    }


def test_a_lead_is_the_smallest_at_any_time_of_the_other():
    ours = [[10.0, 0.1], [20.0, 0.3], [30.0, 0.2]]
    assert recbole.lead(ours, [[12.0, 0.05], [25.0, 0.2], [90.0, 0.25]]) == 1.2
    assert recbole.lead(ours, [[9.0, 0.01], [25.0, 0.2]]) == 0  # nothing of ours yet


def test_events_are_written_as_recbole_reads_them(tmp_path):
    split = training.make_split(
        Histories(np.array([3, 1, 2, 5, 4, 1]), np.array([0, 4, 6])), 5, held_out=1
    )
    recbole.write_events(split.sequences, tmp_path / "toy")
    assert (tmp_path / "toy" / "toy.inter").read_text().split("\n") == [
        "user_id:token\titem_id:token\tplace:float",
        *("0\t3\t0", "0\t1\t1", "0\t2\t2", "0\t5\t3", "1\t4\t0", "1\t1\t1", ""),
    ]


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("JAXREC_DATA_DIR"), reason="JAXREC_DATA_DIR is not set"
)
def test_recbole(bench):
    """With an interpreter that has RecBole in JAXREC_RECBOLE, beside it."""
    peer = os.environ.get("JAXREC_RECBOLE", "")
    bench.options.data, bench.options.peer = "ml100k", peer
    bench.options.models = "GRU4Rec"
    recbole.main(bench)
    assert targets(bench).keys() == ({"R1", "R2"} if peer else set())


@pytest.mark.slow
def test_scale(bench):
    scale.main(bench)
    assert targets(bench).keys() == {"S2"}


@pytest.mark.slow
def test_all_that_waits_for_a_gpu_runs_on_a_cpu(tmp_path, capsys):
    runs = tmp_path / "runs"
    names = [p.name for p in on_gpu.parts(tmp_path, runs, True) if p.workdir is None]
    only = ",".join([*names, "social"])  # One training; all take hours here.
    flags = ["--quick", "--budget-seconds", "1000", "--out", str(tmp_path)]
    on_gpu.main([*flags, "--runs", str(runs), "--only", only])
    lines = (tmp_path / "on_gpu.jsonl").read_text().splitlines()
    ended = {row["part"]: row["ended"] for row in map(json.loads, lines)}
    assert ended == dict.fromkeys(only.split(","), "done")
    assert "| P5 |" in capsys.readouterr().out
