"""A recommender of a nested model with a funnel: the answers of two steps by hand."""

import nested_runs
import numpy as np
import pytest
import serving_runs
from nested_runs import ITEMS, SIZES

import jaxrec
from jaxrec.models import fmrlrec

HISTORY = [3, 9, 14, 25, 9]


@pytest.fixture(scope="module")
def model():
    cfg = nested_runs.config()
    return cfg, nested_runs.params(cfg)


@pytest.fixture(scope="module")
def rec(model):
    return nested_runs.recommender(*model)


def raw(numbers):
    return [f"i{n}" for n in numbers]


def funnelled(model, history, k, dims, shortlist, excluded):
    """Numbers and scores of the answer."""
    scores, hidden = nested_runs.scores(*model, history)
    table = np.asarray(fmrlrec.head(model[1], model[0])[0], np.float64)
    first = table[:, :dims] @ hidden[:dims]
    listed = serving_runs.best(first, shortlist, excluded)
    others = set(range(1, ITEMS + 1)) - set(listed)
    found = serving_runs.best(scores, k, others)
    return raw(found), scores[found]


def assert_answer(answer, expected):
    assert list(answer.ids) == expected[0]
    np.testing.assert_allclose(answer.scores, expected[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("k", "funnel", "exclude"),
    [(5, (4, 12), True), (12, (8, 15), False)],
)
def test_all_calls_answer_by_the_funnel(rec, model, k, funnel, exclude):
    options = {"k": k, "exclude_seen": exclude, "funnel": funnel}
    expected = funnelled(model, HISTORY, k, *funnel, HISTORY if exclude else ())
    (whole,) = rec.recommend([raw(HISTORY)], **options)
    assert_answer(whole, expected)
    state = rec.prefill([raw(HISTORY[:-1]), []])
    (pooled,) = rec.top(rec.prefill([[], raw(HISTORY)]), slots=[1], **options)
    assert_answer(pooled, expected)
    _, answers = rec.observe_and_top(state, [raw(HISTORY)[-1], "x"], **options)
    assert_answer(answers[0], expected)
    _, (answer,) = rec.observe_and_top(state, raw(HISTORY)[-1:], slots=[0], **options)
    assert_answer(answer, expected)


def test_the_shortlist_decides(rec, model):
    """Or the funnel of the tests above is the search itself."""
    (exact,) = rec.recommend([raw(HISTORY)], 5)
    (found,) = rec.recommend([raw(HISTORY)], 5, funnel=(4, 5))
    assert exact.ids != found.ids
    scores, _ = nested_runs.scores(*model, HISTORY)
    assert list(exact.ids) == raw(serving_runs.best(scores, 5, HISTORY))


@pytest.mark.parametrize("funnel", [(4, ITEMS), (SIZES[-1], 10), [16, 40]])
def test_a_funnel_that_narrows_nothing_is_the_search(rec, funnel):
    asked = rec.recommend([raw(HISTORY)], 5)
    before = rec.compiled
    assert rec.recommend([raw(HISTORY)], 5, funnel=funnel) == asked
    assert rec.compiled == before


def test_no_request_with_a_funnel_compiles_after_warm(model):
    rec = nested_runs.recommender(*model)
    before = rec.warm(k=5, pools=[8], funnel=(4, 20))
    assert before == rec.compiled
    for history in ([], ["i1"], raw(range(1, 20))):
        rec.recommend([history], 5, funnel=(4, 20))
    rec.observe_and_top(rec.start(), "i3", 5, funnel=(4, 20))
    rec.top(rec.start(8), 5, slots=[1, 2], funnel=(4, 20))
    assert rec.compiled == before


@pytest.mark.parametrize(
    ("funnel", "message"),
    [
        ((5, 20), r"funnel: dims must be one of \(4, 8, 16\), got 5"),
        ((4, 9), r"funnel: shortlist must be in 10\.\.40 \(k to the.*got 9"),
        ((4, 41), r"funnel: shortlist must be in 10\.\.40 .*got 41"),
        (4, r"funnel: want \(dims, shortlist\), got 4"),
        ((4,), r"funnel: want \(dims, shortlist\), got \(4,\)"),
        ((4, 20.0), r"funnel: want \(dims, shortlist\), got \(4, 20.0\)"),
        ("48", r"funnel: want \(dims, shortlist\), got '48'"),
    ],
)
def test_impossible_funnels(rec, funnel, message):
    for call in (
        lambda: rec.recommend([["i1"]], funnel=funnel),
        lambda: rec.top(rec.start(), funnel=funnel),
        lambda: rec.observe_and_top(rec.start(), "i1", funnel=funnel),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_model_that_is_not_nested(shared):
    with pytest.raises(ValueError, match="funnel: this model is not nested"):
        shared.recommend([["i1"]], funnel=(4, 20))


def test_a_run_of_a_nested_model(model, tmp_path):
    cfg, params = model
    section = {"name": "fmrlrec", "sizes": list(SIZES), "blocks": 1}
    serving_runs.save(tmp_path / "run", params, ITEMS, section)
    rec = jaxrec.load(tmp_path / "run", lengths=(8,))
    (answer,) = rec.recommend([raw(HISTORY)], 5, funnel=(4, 12))
    assert_answer(answer, funnelled(model, HISTORY, 5, 4, 12, HISTORY))
