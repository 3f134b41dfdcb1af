"""Items added to a running recommender: as if they had been there from the start."""

import dataclasses

import nested_runs
import numpy as np
import pytest
import serving_runs
from nested_runs import FEATURES, ITEMS

import jaxrec
from jaxrec.models import fmrlrec, fmrlrec_serving
from jaxrec.serve.backbone import from_model

ADDED, ROOM = 3, 5
TOTAL = ITEMS + ADDED
NEW = ["n1", 12345, "n3"]
HISTORY = [3, 9, 14, TOTAL - 2, 25]  # with the first of the added items
IDS = [*serving_runs.item_ids(), *map(str, NEW)]


@pytest.fixture(scope="module")
def whole():
    """Config and parameters of the model that has all items."""
    cfg = nested_runs.config(TOTAL, FEATURES)
    tree = nested_runs.params(cfg)
    tables = nested_runs.feature_tables(TOTAL)
    tables[1][-1] = 0  # The last item has its first modality only.
    return cfg, fmrlrec.with_features(tree, cfg, tables)


def parts(whole):
    """Config and parameters without the added items; their features by modality."""
    cfg, tree = whole
    table = tree["features"]["table"]
    fewer = tree | {"features": {"table": table[: ITEMS + 1]}}
    new = np.split(np.asarray(table[ITEMS + 1 :]), [FEATURES[0]], 1)
    return dataclasses.replace(cfg, items=ITEMS), fewer, new


def make(whole, **options):
    cfg, tree, new = parts(whole)
    return nested_runs.recommender(cfg, tree, **({"room": ROOM} | options)), new


@pytest.fixture(scope="module")
def added(whole):
    """A recommender that took them in, and a state from before."""
    rec, new = make(whole, titles=np.array(["", *"t" * ITEMS]))
    before = rec.prefill([raw(HISTORY[:3]), []])
    rec.top(before, 5, funnel=(4, 20))
    rec.add_items(NEW[:1], [table[:1] for table in new], ["Title"])
    rec.add_items(NEW[1:], [table[1:] for table in new])
    return rec, before


def raw(numbers):
    return [IDS[n] for n in numbers]


def best(whole, history, k, exclude=True):
    scores, _ = nested_runs.scores(*whole, history)
    found = serving_runs.best(scores, k, history if exclude else ())
    return raw(found), scores[found]


def assert_answer(answer, expected):
    assert list(answer.ids) == expected[0]
    np.testing.assert_allclose(answer.scores, expected[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("exclude", [True, False])
def test_equals_the_model_that_had_them_from_the_start(whole, added, exclude):
    rec = added[0]
    assert (rec.items, rec.room) == (TOTAL, ROOM - ADDED)
    histories = [HISTORY, HISTORY[::-1] * 3, []]
    answers = rec.recommend([raw(h) for h in histories], TOTAL, exclude)
    for history, answer in zip(histories, answers, strict=True):
        assert_answer(answer, best(whole, history, TOTAL, exclude))
        assert set(answer.ids) >= set(raw(range(TOTAL - 2, TOTAL + 1))) - set(
            raw(history) if exclude else ()
        )


def test_states_from_before_go_on(whole, added):
    rec, before = added
    state = rec.observe(before, [raw([TOTAL])[0]] * 2)
    answers = rec.top(state, 10)
    for history, answer in zip((HISTORY[:3], []), answers, strict=True):
        assert_answer(answer, best(whole, [*history, TOTAL], 10))
    pool = rec.put(rec.start(8), [4], rec.take(before, [0]))
    _, (answer,) = rec.observe_and_top(pool, [12345], 10, slots=[4])
    assert_answer(answer, best(whole, [*HISTORY[:3], TOTAL - 1], 10))
    arrays = rec.to_arrays(before)
    assert rec.top(rec.from_arrays(arrays), 10) == rec.top(before, 10)


def test_nothing_is_compiled(whole):
    rec, new = make(whole)
    rec.warm(k=10, users=[1])
    before = rec.compiled
    for row in range(ADDED):
        rec.add_items([NEW[row]], [table[row : row + 1] for table in new])
        rec.recommend([raw(HISTORY[:3])], 10)
        rec.observe_and_top(rec.start(), NEW[row], 10)
    assert rec.compiled == before


def test_a_funnel_finds_them(whole, added):
    """Its copy of the first coordinates was made before they came."""
    rec, before = added
    direct = nested_runs.recommender(*whole, ids=np.array(IDS))
    wanted = direct.recommend([raw(HISTORY[:3]), []], 20, funnel=(4, 20))
    found = rec.top(before, 20, funnel=(4, 20))
    for one, other in zip(found, wanted, strict=True):
        assert_answer(one, (list(other.ids), other.scores))
        assert set(one.ids) & set(map(str, NEW))


def test_ids_and_titles(added):
    rec = added[0]
    assert rec.ids.titles([ITEMS, ITEMS + 1, TOTAL]) == ("t", "Title", "")
    assert rec.ids.array.tolist() == IDS
    assert rec.ids.number("12345") == TOTAL - 1


def test_many_are_written_in_pieces(whole):
    """Also by name, without titles, into a catalogue with a ring of what was seen."""
    cfg, tree, _ = parts(whole)
    rec = nested_runs.recommender(cfg, tree, room=150)
    rec = jaxrec.Recommender(
        rec._engine.backbone, rec.ids, feature_names=("text", "image"), seen_capacity=4
    )
    names = [f"m{n}" for n in range(150)]
    text, image = nested_runs.feature_tables(150, 7)
    rec.add_items(names, {"image": image, "text": text})
    assert rec.room == 0 and rec.ids.titles([ITEMS + 1]) == ("",)
    full = dataclasses.replace(cfg, items=ITEMS + 150)
    old = np.asarray(tree["features"]["table"])[1:]
    tables = [
        np.concatenate([old[:, : FEATURES[0]], text]),
        np.concatenate([old[:, FEATURES[0] :], image]),
    ]
    model = full, fmrlrec.with_features(tree, full, tables)
    history = [3, ITEMS + 150, ITEMS + 65, ITEMS + 64]
    scores, _ = nested_runs.scores(*model, history)
    found = serving_runs.best(scores, 100, history)
    (answer,) = rec.recommend([rec.ids.raw(history)], 100)
    assert answer.ids == rec.ids.raw(found)
    np.testing.assert_allclose(answer.scores, scores[found], atol=1e-5)
    with pytest.raises(ValueError, match="1 items, but there is room for 0 more; load"):
        rec.add_items(["z"], {"image": image[:1], "text": text[:1]})


def test_the_portable_file_has_them_too(added, tmp_path):
    rec = added[0]
    rec.export(tmp_path / "file")
    read = jaxrec.load_portable(tmp_path / "file")
    assert (read.items, read.room) == (TOTAL, 0)
    histories = [raw(HISTORY), []]
    for one, other in zip(
        read.recommend(histories, TOTAL), rec.recommend(histories, TOTAL), strict=True
    ):
        assert (one.ids, one.titles) == (other.ids, other.titles)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    with pytest.raises(ValueError, match="add_items: a portable file takes in no new"):
        read.add_items(["z"], [np.zeros((1, dim)) for dim in FEATURES])
    with pytest.raises(ValueError, match="funnel: a portable file has no funnel"):
        read.recommend([["i1"]], funnel=(4, 20))


ONE = [np.zeros((1, dim)) for dim in FEATURES]


@pytest.mark.parametrize(
    ("ids", "features", "message"),
    [
        (["i3"], ONE, "ids: there is an item 'i3' already"),
        (["z", "z"], ONE, "ids: 'z' is given twice"),
        ([""], ONE, "ids: an item id is empty"),
        ("z", ONE, "ids: want a list of item ids, got 'z'"),
        (["z"], ONE[:1], r"one array \(n, dim\) for each of 2 modalities.*\(6, 5\)"),
        (["z"], 7, "features: want one array"),
        (
            ["z"],
            [ONE[0], np.zeros((1, 4))],
            r"\[1\]: want \(1, 5\), got \(1, 4",
        ),
        (["z", "y"], ONE, r"features\[0\]: want \(2, 6\), got \(1, 6\)"),
        (
            ["z"],
            [ONE[0] * np.nan, ONE[1]],
            r"features\[0\]: row 0 has a number",
        ),
        (["z"], [[["a"] * 6], ONE[1]], r"features\[0\]: want numbers \(1, 6\)"),
        (["z"], dict(zip("ab", ONE, strict=True)), "has no names of modalities; give"),
    ],
)
def test_what_is_no_new_item(added, ids, features, message):
    rec = added[0]
    with pytest.raises(ValueError, match=message):
        rec.add_items(ids, features)
    assert rec.items == TOTAL


def test_titles_that_do_not_fit(added):
    for titles in (["a", "b"], "a", [1]):
        with pytest.raises(ValueError, match="titles: want"):
            added[0].add_items(["z"], ONE, titles)


def test_a_modality_is_missing_or_unknown(whole):
    rec, _ = make(whole)
    named = jaxrec.Recommender(
        rec._engine.backbone, rec.ids, feature_names=("text", "image")
    )
    for features in ({"text": ONE[0]}, {"text": ONE[0], "img": ONE[1]}):
        with pytest.raises(ValueError, match=r"the modalities \['text', 'image'\]"):
            named.add_items(["z"], features)
    with pytest.raises(ValueError, match="feature_names: the model has features of 2"):
        jaxrec.Recommender(rec._engine.backbone, rec.ids, feature_names=("text",))


def test_models_that_take_in_no_items(whole, shared):
    cfg, tree, _ = parts(whole)
    with pytest.raises(ValueError, match="add_items: this model makes no item vectors"):
        shared.add_items(["z"], ONE)
    small = fmrlrec.truncate(tree, cfg, 8)[::-1]
    cfg, tree = fmrlrec.tabulate(*small)
    with pytest.raises(ValueError, match="room: this model makes no item vectors of"):
        from_model(fmrlrec, cfg, tree, serving=fmrlrec_serving, room=1)


def test_a_cut_model_with_its_features_takes_in_items(whole):
    cfg, tree, new = parts(whole)
    rec = nested_runs.recommender(*fmrlrec.truncate(tree, cfg, 8), room=ADDED)
    rec.add_items(NEW, new)
    cut = fmrlrec.truncate(whole[1], whole[0], 8)
    (answer,) = rec.recommend([raw(HISTORY)], 10)
    assert_answer(answer, best(cut, HISTORY, 10))


def test_a_run_is_loaded_with_room(whole, tmp_path):
    cfg, tree, new = parts(whole)
    section = {"name": "fmrlrec", "sizes": list(nested_runs.SIZES), "blocks": 1}
    given = {"text": FEATURES[0], "image": FEATURES[1]}
    serving_runs.save(tmp_path / "run", tree, ITEMS, section, features=given)
    rec = jaxrec.load(tmp_path / "run", lengths=(8,), room=ADDED)
    rec.add_items(NEW, new)
    (answer,) = rec.recommend([raw(HISTORY)], 10)
    assert_answer(answer, best(whole, HISTORY, 10))
    full = jaxrec.load(tmp_path / "run", lengths=(8,))
    with pytest.raises(ValueError, match=r"room for 0 more; load .*room=\.\.\.\)"):
        full.add_items(NEW, new)
    with pytest.raises(ValueError, match="room: want an integer of 0 or more, got -1"):
        jaxrec.load(tmp_path / "run", room=-1)
