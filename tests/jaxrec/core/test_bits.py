"""The hash of 32-bit words."""

import numpy as np

from jaxrec.core.bits import mix


def test_words_stay_distinct_and_every_bit_spreads():
    words = np.random.default_rng(0).permutation(1 << 16).astype(np.uint32)
    hashed = np.asarray(mix(words))
    assert hashed.dtype == np.uint32 and np.unique(hashed).size == words.size
    for bit in range(32):
        changed = np.asarray(mix(words ^ np.uint32(1 << bit))) ^ hashed
        assert abs(np.bitwise_count(changed).mean() - 16) < 0.1
