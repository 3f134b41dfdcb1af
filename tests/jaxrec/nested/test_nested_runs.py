"""A trained nested run is cut, measured and compared at a shell."""

import json

import jax
import numpy as np
import pytest
from tiny_runs import WORLD, tiny, tiny_nested

import jaxrec
from jaxrec import compare, cut, sizes
from jaxrec.core.run_directory import best_params
from jaxrec.eval.metrics import per_case
from jaxrec.eval.saved_ranks import load as load_ranks
from jaxrec.models import fmrlrec
from jaxrec.nested.run import read_run
from jaxrec.tasks import next_item
from tests.jaxrec.compiling import numpy_jit

HISTORY = ["i3", "i10", "i4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory of a trained run of sizes 4 and 8."""
    folder = tmp_path_factory.mktemp("nested")
    next_item.run(tiny_nested(folder), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Directory of a run of LRURec on the same targets."""
    config = tiny(**WORLD)
    config.eval.mask = "none"
    workdir = tmp_path_factory.mktemp("lrurec")
    next_item.run(config, workdir)
    return workdir


def answers(workdir):
    (answer,) = jaxrec.load(workdir).recommend([HISTORY], WORLD["num_items"] - 3)
    return dict(zip(answer.ids, answer.scores, strict=True))


def test_a_cut_run_serves_the_first_coordinates(run, tmp_path, capsys):
    out = tmp_path / "small"
    arguments = [f"--workdir={run}", "--size=4", f"--out={out}"]
    assert cut.main(arguments) == 0
    written = read_run(out)
    count = sum(leaf.size for leaf in jax.tree.leaves(written.params))
    assert f"size 4, {count:,} parameters" in capsys.readouterr().out
    assert written.sizes == (4,) and "features" not in written.params

    whole = read_run(run)
    ids = np.int32([[3, 10, 4]])
    hidden = numpy_jit(fmrlrec.prefill, static_argnums=1)(whole.params, whole.cfg, ids)
    wanted = fmrlrec.score(whole.params, whole.cfg, hidden[1][0], 4)
    for item, score in answers(out).items():
        assert score == pytest.approx(float(wanted[int(item[1:])]), abs=1e-5)

    kept = tmp_path / "kept"
    assert cut.main([*arguments[:2], f"--out={kept}", "--keep_features"]) == 0
    assert read_run(kept).cfg.features == (6, 5)
    assert answers(kept) == pytest.approx(answers(out), abs=1e-5)
    again = tmp_path / "again"
    assert cut.main([f"--workdir={kept}", "--size=4", f"--out={again}"]) == 0
    assert answers(again) == pytest.approx(answers(out), abs=1e-5)

    with pytest.raises(ValueError, match=f"was cut from {run}@4 and is for serving"):
        next_item.run(tiny_nested(tmp_path), out)
    assert answers(out) == pytest.approx(answers(kept), abs=1e-5)
    assert sizes.main([f"--workdir={out}"]) == 2
    assert f"not tested itself; ask for {run}@4" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=f"cut --workdir={run} --size=4 makes"):
        jaxrec.load(f"{run}@4")

    told = {
        f"--workdir={run} --size=5": r"size: want one of (4, 8), got 5",
        f"--workdir={run} --size=4 --out={out}": "not an empty directory",
        f"--workdir={out} --size=4 --keep_features": "without features to keep",
        f"--workdir={tmp_path / 'none'} --size=4": "no such directory",
    }
    for given, message in told.items():
        assert cut.main([f"--out={tmp_path / 'bad'}", *given.split()]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "bad").exists()


def test_every_size_is_measured(run, tmp_path, capsys):
    out = tmp_path / "sizes"
    arguments = [f"--workdir={run}", f"--out={out}", "--k=5", "--training"]
    assert sizes.main(arguments) == 0
    printed = capsys.readouterr().out
    found = json.loads((out / "sizes.json").read_text())
    small, large = found["sizes"]
    tested = json.loads((run / "test.json").read_text())
    assert small["recall@10"] == tested["fmrlrec@4"]["recall@10"]
    assert f"{large['ndcg@10']:.4f} ± {large['ndcg@10_se']:.4f}" in printed
    assert (small["size"], large["size"]) == (4, 8)
    cfg = read_run(run).cfg
    params = best_params(run, lambda key: fmrlrec.init(key, cfg))
    _, folded = fmrlrec.tabulate(params, cfg)
    assert large["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(folded))
    assert small["parameters"] < large["parameters"] == large["bytes"] / 4
    assert (small["state_bytes"], large["state_bytes"]) == (2 * 4 * 4, 2 * 8 * 4)
    assert 0 < large["step_s"] <= large["step_p99_s"]
    rows = found["training"]["rows"]
    assert [row["model"] for row in rows] == ["all sizes", "4", "8"]
    assert rows[1]["bytes"] < rows[2]["bytes"]
    assert found["training"]["against_all"][0] > 0
    assert "of the largest alone" in printed
    assert (out / "sizes.png").stat().st_size > 0


def test_two_models_are_compared_user_by_user(run, other, capsys):
    given = ["--runs", str(other), "--with", str(run), "--metrics", "recall@10"]
    assert compare.main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    one, two = (load_ranks(path).rank for path in (other, run))
    change = (two < 10) * 1.0 - (one < 10)
    assert f"{(one < 10).mean():.4f} ± " in lines[1]
    assert f"{change.mean():+.4f}" in lines[1]
    error = 1.959964 * change.std(ddof=1) / len(change) ** 0.5
    low, high = change.mean() - error, change.mean() + error
    assert f"{low:+.4f} to {high:+.4f}" in lines[1]

    sized = ["--runs", f"{run}@8", "--with", f"{run}@4", "--metrics", "ndcg@20"]
    assert compare.main(sized) == 0
    printed = capsys.readouterr().out
    for size in (None, 4):
        mean = per_case(load_ranks(run, size).rank)["ndcg@20"].mean()
        assert f"{mean:.4f} ± " in printed.splitlines()[1]
    assert "no seeds" not in printed


def test_runs_of_a_side_that_are_no_seeds_are_told(run, other, capsys):
    assert compare.main(["--runs", str(run), str(other), "--with", str(run)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "no seeds of one model, they differ in " in last and "model.name" in last


def test_what_cannot_be_compared(run, other, tmp_path, capsys):
    def told(*given):
        assert compare.main(["--runs", str(run), "--with", *map(str, given)]) == 2
        return capsys.readouterr().err

    assert "no size 5" in told(f"{run}@5")
    assert "metric 'recall@3' is unknown" in told(other, "--metrics", "recall@3")
    masked = tmp_path / "masked"
    masked.mkdir()
    for path in other.iterdir():
        (masked / path.name).symlink_to(path)
    (masked / "config.json").unlink()
    config = json.loads((other / "config.json").read_text())
    config["eval"]["mask"] = "all"
    (masked / "config.json").write_text(json.dumps(config))
    assert 'eval.mask is "none" there and "all" here' in told(masked)
    config = json.loads((other / "config.json").read_text())
    config["data"]["seed"] = 8
    (masked / "config.json").write_text(json.dumps(config))
    assert "data.seed is 0 there and 8 here" in told(masked)
    (masked / "ranks.npz").unlink()
    assert "not there; the command that trained the run" in told(masked)


def test_a_model_of_one_size_has_none_to_choose(other, capsys):
    assert sizes.main([f"--workdir={other}"]) == 2
    assert "a run of model 'lru', which has one size only" in capsys.readouterr().err
