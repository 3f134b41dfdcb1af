import numpy as np
import pytest
from ranking_worlds import random_lists, split_of

from jaxrec.eval import batching
from jaxrec.eval.batching import case_batches

LISTS = random_lists(users=50, items=20, longest=45, seed=2)
SPLIT = split_of(LISTS, 20)


def batches(**options):
    options = {"window": 10, "masked": None, "batch": 8, "bucket": True} | options
    return list(case_batches(SPLIT.sequences, SPLIT.test, **options))


def left_padded(items, length):
    items = list(items)[max(len(items) - length, 0) :]
    return [0] * (length - len(items)) + items


@pytest.mark.parametrize("bucket", [True, False])
def test_every_case_comes_once_with_its_items(bucket):
    seen = []
    for some in batches(bucket=bucket):
        assert some.ids.shape[0] == 8 and some.ids.dtype == np.int32
        np.testing.assert_array_equal(some.number[: len(some.cases)], some.cases)
        assert (some.number[len(some.cases) :] == some.cases[-1]).all()
        for row, case in enumerate(some.number):
            items = LISTS[SPLIT.test.user[case]]
            assert some.targets[row] == items[-1]
            t = some.ids.shape[1]
            assert t == 10 or (t >= len(items) - 1 and t == 8)
            assert some.ids[row].tolist() == left_padded(items[:-1], t)
            history = some.history[row]
            assert sorted(history[history > 0]) == sorted(items[:-1])
        seen += some.cases.tolist()
    assert sorted(seen) == list(range(len(SPLIT.test)))


def test_the_masked_items_can_be_fewer_or_none():
    for some in batches(masked=3):
        for row, case in enumerate(some.number):
            items = LISTS[SPLIT.test.user[case]][:-1]
            assert some.history[row].tolist() == left_padded(items, 3)
    assert {some.history.shape for some in batches(masked=0)} == {(8, 0)}


def test_the_model_window_is_masked_without_a_second_array():
    assert all(some.history is some.ids for some in batches(masked=10))


def test_whole_histories_get_one_width_while_they_are_small(monkeypatch):
    assert {some.history.shape for some in batches()} == {(8, 64)}
    monkeypatch.setattr(batching, "_ONE_WIDTH", len(SPLIT.test) * 64 - 1)
    widths = [some.history.shape[1] for some in batches()]
    assert widths == sorted(widths) and min(widths) < max(widths) == 64
    test_every_case_comes_once_with_its_items(True)


def test_without_buckets_all_batches_have_one_shape():
    shapes = {(some.ids.shape, some.history.shape) for some in batches(bucket=False)}
    assert shapes == {((8, 10), (8, 64))}
