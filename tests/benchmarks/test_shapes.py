"""The generated data have the size, the padding and the popularity of the real ones."""

import numpy as np
import pytest

from benchmarks.shapes import (
    SHAPES,
    Histories,
    histories,
    padded,
    right_padded,
    training_batch,
)


@pytest.mark.parametrize(
    "name, users, valid",
    [("ml1m", 128, 0.54), ("beauty", 5000, 0.11), ("games", 5000, 0.14)],
)
def test_shapes_are_padded_like_the_real_data(name, users, valid):
    shape = SHAPES[name]
    rows = padded(histories(shape, users, seed=1), shape.length)
    assert rows.labels.shape == (users, shape.length)
    assert rows.targets / rows.labels.size == pytest.approx(valid, abs=0.01)
    assert 1 <= rows.labels[rows.labels > 0].min()
    assert rows.labels.max() <= shape.items


def test_movielens_lengths_and_popularity():
    data = histories(SHAPES["ml1m"], 6040)
    lengths = np.diff(data.offsets) + 2  # with validation and test
    assert lengths.min() == 18
    assert np.median(lengths) == pytest.approx(96, abs=2)
    assert 2000 < lengths.max() <= 2277
    counts = np.sort(np.bincount(data.values, minlength=3417))[::-1]
    assert counts[:34].sum() / counts.sum() == pytest.approx(0.082, abs=0.005)
    again = histories(SHAPES["ml1m"], 6040)
    np.testing.assert_array_equal(data.values, again.values)
    other = training_batch(SHAPES["ml1m-s"], seed=1)
    assert (other.labels != training_batch(SHAPES["ml1m-s"]).labels).any()


def test_padded_rows_predict_the_first_item_from_padding():
    data = Histories(np.array([4, 5, 1, 2, 3], np.int32), np.array([0, 2, 5]))
    rows = padded(data, 3)
    assert rows.tokens.tolist() == [[0, 0, 4], [0, 1, 2]]
    assert rows.labels.tolist() == [[0, 4, 5], [1, 2, 3]]
    short = padded(data, 2)
    assert short.tokens.tolist() == [[0, 4], [1, 2]]
    assert short.labels.tolist() == [[4, 5], [2, 3]]


def test_right_padded_rows_have_an_item_before_each_target():
    data = Histories(np.array([9, 4, 5, 1, 2, 3, 6], np.int32), np.array([0, 1, 3, 7]))
    rows = right_padded(padded(data, 3))
    assert rows.tokens.tolist() == [[4, 0, 0], [1, 2, 3]]
    assert rows.labels.tolist() == [[5, 0, 0], [2, 3, 6]]
    longer = right_padded(padded(data, 5))
    assert longer.tokens.tolist() == [[4, 0, 0, 0, 0], [1, 2, 3, 0, 0]]
    assert longer.labels.tolist() == [[5, 0, 0, 0, 0], [2, 3, 6, 0, 0]]
