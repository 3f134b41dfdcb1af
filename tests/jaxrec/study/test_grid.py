"""The whole study, tiny: cells, search, report, going on and adding to it."""

import json

import numpy as np
import pytest
from tiny_study import tiny_study

import jaxrec
from jaxrec.study import grid


def test_a_study_from_cells_to_report(tmp_path):
    config = tiny_study(arms=("local",))
    with config.unlocked():
        config.published = {"local-ar": {"recall@10": 0.2, "ndcg@10": 0.1}}
    result = grid.run(config, tmp_path)
    assert len(result) == 2 * 4
    ranks = np.load(tmp_path / "local-ar/seed-42/ranks.npz")["test_rank"]
    both = [ranks, np.load(tmp_path / "local-ar/seed-43/ranks.npz")["test_rank"]]
    assert result["local-ar/recall@10"] == pytest.approx(np.mean(np.array(both) < 10))
    report = (tmp_path / "report.md").read_text()
    for words in ("| local-ae |", "## AR - AE", "Holm's p", "popularity", "0.2000 ("):
        assert words in report
    for name in ("bars.png", "curves.png", "time.png"):
        assert (tmp_path / name).stat().st_size > 5000
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["ar_minus_ae"]["local"]["ndcg@10"]["mean"] == pytest.approx(
        result["local-ar/ndcg@10"] - result["local-ae/ndcg@10"]
    )
    # Each run serves like any other.
    rec = jaxrec.load(tmp_path / "local-ae/seed-43")
    (answer,) = rec.recommend([["3", "5"]], k=4)
    assert len(answer.ids) == 4
    assert not list(tmp_path.glob("*/training*"))

    # One seed more: what is there is kept.
    before = (tmp_path / "local-ar/seed-42/test.json").stat().st_mtime_ns
    more = grid.run(tiny_study(arms=("local",), modes=("ar",), seeds=3), tmp_path)
    assert (tmp_path / "local-ar/seed-42/test.json").stat().st_mtime_ns == before
    assert (tmp_path / "local-ar/seed-44/test.json").exists()
    assert "local-ar/recall@10" in more and "local-ae/recall@10" not in more

    other = tiny_study(arms=("local",), modes=("ar",))
    other.run.optim.lr = 0.5
    with pytest.raises(ValueError, match="run.optim.lr: 0.008 there, 0.5 now"):
        grid.run(other, tmp_path)
    fewer = tiny_study(arms=("local",), modes=("ar",))
    fewer.run.data.num_users = 50
    with pytest.raises(ValueError, match="run.data.num_users: 60 there, 50 now"):
        grid.run(fewer, tmp_path)


@pytest.mark.parametrize(
    ("halving", "heads", "steps"),
    [(False, (), [4, 4, 4]), (True, (1, 2), [2, 2, 2, 4, 4, 4])],
)
def test_the_search_takes_the_best_on_validation(tmp_path, halving, heads, steps):
    config = tiny_study(modes=("ar",), seeds=1)
    config.search.optim.lr = (1e-3, 0.03, 0.3)
    config.search.model.heads = heads
    config.study.update(halving=halving, grace=1)
    grid.run(config, tmp_path)
    found = json.loads((tmp_path / "ce-ar/search.json").read_text())
    rows = found["candidates"]
    best = max(rows, key=lambda row: row["value"])
    assert found["best"] == best["candidate"] and best["steps"] == 4
    assert len({row["value"] for row in rows}) > 1
    assert sorted(row["steps"] for row in rows) == steps
    run = json.loads((tmp_path / "ce-ar/seed-42/config.json").read_text())
    assert run["optim"]["lr"] == found["best"]["optim.lr"]
    assert not (tmp_path / "ce-ar/search").exists()


def test_options_of_the_search_are_checked(tmp_path):
    config = tiny_study()
    config.study.update(halving=True, reduction=1)
    with pytest.raises(ValueError, match="halving wants grace >= 1 and reduction >= 2"):
        grid.run(config, tmp_path)
    config.study.update(halving=False, search_seeds=0)
    with pytest.raises(ValueError, match="study.search_seeds: want >= 1, got 0"):
        grid.run(config, tmp_path)
