"""Analyses of whole runs: which users, which histories, and what is measured of them.

Everything here was never trained; what the figures are of is compared by hand.
"""

import json
import shutil
import types

import analysis_runs
import jax
import numpy as np
import pytest

from jaxrec import data
from jaxrec.eval import analyse, analysis, inductive_bias, low_rank
from jaxrec.models import fmrlrec
from tests.jaxrec.compiling import numpy_jit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("analysis")


@pytest.fixture(scope="module")
def section(folder):
    return analysis_runs.write_data(folder)


@pytest.fixture(scope="module")
def ae(folder, section):
    """Directory, module, config, parameters and analysis of a run, both ways."""
    made = analysis_runs.write(
        folder / "ae", section, "sar", causal=False, heads=2, windows=(0, 2)
    )
    return folder / "ae", *made, analyse(folder / "ae", users=100, draws=2)


def histories(section, part="test"):
    """What each user's history of a part holds, the last events that an AE sees."""
    split = data.load(section)
    cases, offsets = getattr(split, part), split.sequences.offsets
    values = split.sequences.values
    return [
        values[offsets[user] : end][-(analysis_runs.LENGTH - 1) :]
        for user, end in zip(cases.user, cases.position, strict=True)
    ]


def weights_by_hand(made, section):
    """Attention of every user alone, with the mask token behind its history."""
    module, cfg, params = made
    attention = numpy_jit(module.attention, static_argnums=1)
    found = []
    for history in histories(section):
        ids = np.zeros((1, analysis_runs.LENGTH), np.int32)
        ids[0, : len(history) + 1] = [*history, cfg.items + 1]
        n = len(history) + 1
        found.append(attention(params, cfg, ids)[:, 0, :, :n, :n].astype(float))
    return found


def test_attention_both_ways(ae, section):
    _, *made, found = ae
    json.dumps(found, allow_nan=False)
    assert found["users"] == len(analysis_runs.LENGTHS)
    assert (found["backbone"], found["causal"], found["blocks"]) == ("sar", False, 1)
    lengths = [len(history) for history in histories(section)]
    assert found["history"] == {
        "mean": pytest.approx(np.mean(lengths)),
        "least": min(lengths),
        "most": 7,
    }
    by_hand = weights_by_hand(made, section)
    assert set(found["views"]) == {"all", "lower"}
    for view, summary in found["views"].items():
        assert set(summary) == {"model", "random", "shuffled"}
        rows = []
        for weights, count in zip(by_hand, lengths, strict=True):
            if view == "lower":
                weights = np.tril(weights) / np.tril(weights).sum(-1, keepdims=True)
            own = inductive_bias.figures(weights, weights != 0, history=count)
            rows.append(own | low_rank.figures(low_rank.singular_values(weights)))
        for name in rows[0]:
            wanted = np.mean([row[name] for row in rows], 0)  # (blocks, h)
            got = summary["model"]["figures"][name]
            np.testing.assert_allclose(got["heads"], wanted, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(got["mean"], wanted.mean(1), rtol=1e-4)
    # The local head sees little, and so do its controls.
    for kind in ("model", "random", "shuffled"):
        figure = found["views"]["all"][kind]["figures"]["locality_2"]["heads"][0]
        assert figure[1] == pytest.approx(1) and figure[0] < 0.95


def test_the_example_is_the_attention_of_its_user(ae, section):
    _, *made, found = ae
    users = data.load(section).sequences.user_ids.tolist()
    place = users.index(found["example"]["user"])
    lengths = [len(history) for history in histories(section)]
    assert lengths[place] == max(lengths)  # the nearest to 20
    wanted = weights_by_hand(made, section)[place]
    np.testing.assert_allclose(found["example"]["weights"], wanted, atol=1e-6)


def test_tables(ae, section):
    _, module, cfg, params, found = ae
    table = params["embedding"]["table"][1 : cfg.items + 1]
    rows = [np.pad(h, (7 - len(h), 0)) for h in histories(section)]
    ids = np.array(rows, np.int32)
    hidden = numpy_jit(module.prefill, static_argnums=1)(params, cfg, ids)[1]
    for name, matrix in (("items", table), ("users", hidden)):
        model = found["tables"][name]["model"]
        sigma = low_rank.singular_values(matrix)
        assert model["rows"] == len(matrix)
        np.testing.assert_allclose(model["singular_values"], sigma, rtol=1e-3)
        figures = low_rank.figures(sigma)
        assert model["figures"] == pytest.approx(figures, rel=1e-3, abs=1e-5)
        random = found["tables"][name]["random"]["figures"]
        assert random["effective_rank"] > 0.8 * figures["effective_rank"]


def test_some_users_of_a_part(folder, section):
    analysis_runs.write(folder / "ar", section, "sar")
    found = analyse(folder / "ar", "valid", users=3, seed=5, draws=1)
    again = analyse(folder / "ar", "valid", users=3, seed=5, draws=1)
    assert found == again
    assert found["users"] == 3 and found["tables"]["users"]["model"]["rows"] == 3
    assert found["causal"] and set(found["views"]) == {"all"}
    # Validation: all events but two; a history of one event has nothing to choose.
    assert found["history"]["least"] >= 2
    weights = np.array(found["example"]["weights"])
    assert (weights[..., ~np.tri(weights.shape[-1], dtype=bool)] == 0).all()


def test_a_recurrent_model(folder, section):
    module, cfg, params = analysis_runs.write(folder / "lru", section, "lru")
    found = analyse(folder / "lru", users=4)
    json.dumps(found, allow_nan=False)
    assert found["example"] is None and set(found["views"]) == {"recurrence"}
    model = found["views"]["recurrence"]["model"]
    size = np.asarray(module.impulse(params, cfg, analysis_runs.LENGTH))
    mass = size / size.sum(1, keepdims=True)
    np.testing.assert_allclose(model["mass_by_distance"], mass, rtol=1e-5)
    wanted = {"locality_2": mass[0, :3].sum(), "recency_5": mass[0, :5].sum()}
    wanted["mean_distance"] = mass[0] @ np.arange(analysis_runs.LENGTH)
    for name, value in wanted.items():
        assert model["figures"][name]["mean"] == [pytest.approx(value, rel=1e-5)]
    assert found["tables"]["users"]["model"]["rows"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 0}, "users: want 1 or more, got 0"),
        ({"draws": 0}, "draws: want 1 or more, got 0"),
        ({"part": "train"}, r"part must be one of \['test', 'valid'\], got 'train'"),
    ],
)
def test_arguments_out_of_range(ae, arguments, message):
    with pytest.raises(ValueError, match=message):
        analyse(ae[0], **arguments)


def test_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such directory"):
        analyse(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="config.json, ids.npz, checkpoints"):
        analyse(tmp_path)


def test_other_data(ae, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(ae[0], run)
    with np.load(run / "ids.npz") as arrays:
        np.savez(run / "ids.npz", item_ids=arrays["item_ids"][::-1])
    with pytest.raises(ValueError, match="data of .* its items are others"):
        analyse(run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"data": None}))
    with pytest.raises(ValueError, match="config has no data section"):
        analyse(run)


def test_histories_of_one_event(tmp_path):
    lines = [f"u{user},i{time},{time}" for user in range(3) for time in range(3)]
    path = tmp_path / "events.csv"
    path.write_text("user,item,time\n" + "\n".join(lines) + "\n")
    section = {"name": "custom", "path": str(path), "cache": str(tmp_path / "cache")}
    analysis_runs.write(tmp_path / "run", section, "sar")
    with pytest.raises(ValueError, match="valid part of .* no history of 2 or more"):
        analyse(tmp_path / "run", "valid")


def test_an_item_table_that_is_made_of_features():
    cfg = fmrlrec.FMRLRecConfig(5, (4,), features=(3,), blocks=1, table_multiple=4)
    params = fmrlrec.init(jax.random.key(0), cfg)
    run = types.SimpleNamespace(module=fmrlrec, params=params, cfg=cfg)
    table, _ = fmrlrec.head(params, cfg)
    np.testing.assert_array_equal(analysis._item_table(run), table[1:6])
