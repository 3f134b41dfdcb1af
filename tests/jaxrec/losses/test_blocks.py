"""How positions are cut into blocks."""

import numpy as np
import pytest

from jaxrec.losses.blocks import block_shape, split_positions


@pytest.mark.parametrize(
    ("n", "most", "wanted"),
    [
        pytest.param(129, 128, (2, 65), id="one-too-many"),
        pytest.param(1920, 128, (15, 128), id="divides"),
        pytest.param(5, 128, (1, 5), id="fewer-than-a-block"),
        pytest.param(7, 1, (7, 1), id="single-positions"),
    ],
)
def test_blocks_are_few_and_equal(n, most, wanted):
    assert block_shape(n, most) == wanted


def test_positions_keep_their_order_and_zeros_fill_the_end():
    x = np.arange(1.0, 15).reshape(7, 2)
    labels = np.arange(1, 8)
    blocks, cut = split_positions((x, labels), 3)
    assert blocks.shape == (3, 3, 2)
    assert cut.dtype == np.int32
    np.testing.assert_array_equal(cut.reshape(-1), [*range(1, 8), 0, 0])
    np.testing.assert_array_equal(blocks.reshape(9, 2)[:7], x)
    np.testing.assert_array_equal(blocks[2, 1:], 0)
