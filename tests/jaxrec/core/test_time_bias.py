"""Buckets of time at their borders, and the bias made of them."""

import numpy as np

from jaxrec.core.time_bias import time_bias, time_buckets, with_next
from tests.jaxrec.compiling import numpy_jit


def restated(passed):
    log = np.log(np.maximum(np.abs(np.float64(passed)), 1))
    return np.clip(np.floor(log / 0.301), 0, 128)


def test_buckets_are_exact_up_to_the_longest_time():
    borders = np.exp(0.301 * np.arange(72)).astype(np.int64)
    passed = (borders[:, None] + np.arange(-300, 301)).ravel()
    passed = np.concatenate([passed, np.arange(2**31 - 100, 2**31), np.arange(5000)])
    passed = passed[(passed >= 0) & (passed < 2**31)].astype(np.int32)
    wanted = restated(passed)
    # The logarithm alone is not.
    rough = np.floor(np.log(np.float32(passed).clip(1)) / np.float32(0.301))
    assert (rough != wanted).sum() > 100
    buckets = numpy_jit(time_buckets)
    for sign in (1, -1):
        np.testing.assert_array_equal(buckets(sign * passed), wanted)
    assert wanted.max() == 71


def test_the_bias_is_by_the_time_to_the_next_event():
    # Modulo 2^32, which these pass.
    times = np.array([[2**31 - 1, 4 - 2**31, 99 - 2**31]], np.int32)
    pairs = np.asarray(with_next(times))
    np.testing.assert_array_equal(pairs[0, :, 1], times[0, [1, 2, 2]])
    bias = time_bias(np.arange(129.0), pairs[..., 1], pairs[..., 0])
    passed = [[5, 0, 95], [100, 95, 0], [100, 95, 0]]
    np.testing.assert_array_equal(bias[0, 0], restated(passed))
