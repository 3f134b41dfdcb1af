"""Controls: the mask of the model, and nothing that it learnt."""

import numpy as np

from jaxrec.eval.attention_controls import random_weights, shuffled_weights

N = 6
MASKS = np.stack([np.tril(np.ones((N, N), bool)), np.ones((N, N), bool)])


def test_random_weights():
    rng = np.random.default_rng(0)
    weights = random_weights(rng, MASKS, 500)
    assert weights.shape == (500, 2, N, N)
    np.testing.assert_allclose(weights.sum(-1), 1)
    np.testing.assert_array_equal(weights != 0, np.broadcast_to(MASKS, weights.shape))
    # Keys are alike: each has its share.
    share = MASKS / MASKS.sum(-1, keepdims=True)
    np.testing.assert_allclose(weights.mean(0), share, atol=0.05)
    # The ratio of two weights of a row is that of two standard normal logits.
    ratio = np.log(weights[:, 1, :, 0] / weights[:, 1, :, 1])
    assert abs(ratio.std() - np.sqrt(2)) < 0.06


def test_random_pointwise_weights():
    weights = random_weights(np.random.default_rng(0), MASKS, 200, pointwise=True)
    np.testing.assert_array_equal(weights != 0, np.broadcast_to(MASKS, weights.shape))
    assert -0.279 < weights.min() < -0.27 and weights.max() > 2


def test_shuffled_weights():
    rng = np.random.default_rng(0)
    weights = random_weights(rng, MASKS, 1)[0] ** 2
    mixed = np.stack([shuffled_weights(rng, weights, MASKS) for _ in range(400)])
    np.testing.assert_array_equal(mixed != 0, np.broadcast_to(MASKS, mixed.shape))
    ordered = np.sort(mixed, -1)
    np.testing.assert_array_equal(
        ordered, np.broadcast_to(np.sort(weights, -1), ordered.shape)
    )
    # Every weight comes to every key of its row.
    share = MASKS * weights.sum(-1, keepdims=True) / MASKS.sum(-1, keepdims=True)
    np.testing.assert_allclose(mixed.mean(0), share, atol=0.02)
    both = np.stack([weights, weights])
    assert shuffled_weights(rng, both, MASKS).shape == both.shape
