"""Mixtures of points: what is drawn, and that data are prepared like it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.points import encoder
from jaxbio.clustering.points.mixtures import Config, draw, inputs_of, size_of


def drawn(cfg, count=200, seed=0):
    keys = jax.random.split(jax.random.key(seed), count)
    sets = jax.jit(jax.vmap(lambda key: draw(key, cfg)))(keys)
    return np.asarray(sets["inputs"]["x"]), np.asarray(sets["labels"])


def test_sizes_centres_and_padding():
    x, labels = drawn(Config(min_points=3, max_points=9))
    sizes = (labels >= 0).sum(1)
    assert set(sizes) == set(range(3, 10))
    for points, size in zip(x, sizes, strict=True):
        assert (points[size:] == 0).all()
        np.testing.assert_allclose(np.median(points[:size], 0), 0, atol=1e-5)


def test_the_spread_and_the_noise_are_as_asked():
    cfg = Config(min_points=40, max_points=40, spread=5.0, noise=0.5, centre=False)
    x, labels = drawn(cfg, 400)
    means, inner = [], []
    for points, row in zip(x, labels, strict=True):
        for k in range(row.max() + 1):
            mine = points[row == k]
            means.append(mine.mean(0))
            inner.append(mine - mine.mean(0))
            inner[-1] *= (len(mine) / max(len(mine) - 1, 1)) ** 0.5
    assert np.std(means) == pytest.approx(5, rel=0.06)
    assert np.std(np.concatenate(inner)) == pytest.approx(0.5, rel=0.05)


def test_shapes():
    """Heavier tails, and clusters that are longer one way than the other."""

    def cloud(shape):
        cfg = Config(
            min_points=300, max_points=300, alpha=1e-3, shape=shape, centre=False
        )
        x, _ = drawn(cfg, 60)
        return x - x.mean(1, keepdims=True)

    def kurtosis(x):
        x = x / x.std((1, 2), keepdims=True)
        return (x**4).mean()

    def ratio(x):
        values = np.linalg.eigvalsh(np.einsum("sni,snj->sij", x, x))
        return np.median(values[:, 1] / values[:, 0])

    plain, student, long = (cloud(s) for s in ("gaussian", "student", "anisotropic"))
    assert kurtosis(student) > kurtosis(plain) + 1
    assert ratio(plain) < 1.5 < 2 < ratio(long)


def test_fewer_coordinates_are_padded_with_zeros():
    cfg = Config(dims=5, min_dims=2, min_points=6, max_points=6, standardise=True)
    x, _ = drawn(cfg)
    used = (x != 0).any(1).sum(1)
    assert set(used) == {2, 3, 4, 5}
    for points, dims in zip(x, used, strict=True):
        scale = np.sqrt((points**2).mean(0))
        np.testing.assert_allclose(scale, np.arange(5) < dims, rtol=1e-4)


def test_clusters_are_as_far_apart_in_many_dimensions():
    cfg = Config(min_points=30, max_points=30, noise=1e-3, centre=False)
    length = {}
    for dims in (2, 32):
        for equal in (False, True):
            asked = dataclasses.replace(cfg, dims=dims, equal_distance=equal)
            x, _ = drawn(asked, 300)
            length[dims, equal] = np.linalg.norm(x[:, 0], axis=1).mean()
    assert length[32, False] > 4 * length[2, False]
    assert length[2, True] == pytest.approx(length[2, False])
    assert length[32, True] == pytest.approx(length[2, True], rel=0.2)


def test_units_order_and_origin_of_columns_do_not_matter():
    cfg = Config(dims=4, min_dims=2, standardise=True, principal=True)
    points = np.random.default_rng(0).normal(size=(40, 3)) @ [
        [3, 1, 0],
        [0, 2, 0.5],
        [0, 0, 1],
    ]
    x = np.asarray(inputs_of([points], 64, cfg)["x"][0])
    other = points[:, [2, 0, 1]] * [10, 0.01, 3] + [5, 0, -1]
    np.testing.assert_allclose(inputs_of([other], 64, cfg)["x"][0], x, atol=1e-4)
    variances = x[:40].var(0)
    assert (np.diff(variances) <= 0).all() and variances[3] == 0
    away = x[:40] - x[:40].mean(0)
    covariance = away.T @ away / 40
    np.testing.assert_allclose(covariance, np.diag(variances), atol=1e-5)


def test_data_are_prepared_like_what_was_drawn():
    cfg = Config(min_points=6, max_points=8, standardise=True)
    raw = dataclasses.replace(cfg, centre=False, standardise=False)
    x, labels = drawn(raw, 5)
    expected, _ = drawn(cfg, 5)
    for points, row, wanted in zip(x, labels, expected, strict=True):
        size = (row >= 0).sum()
        moved = 3.0 * points[:size].astype(float) + 1e6
        found = inputs_of([moved], 8, cfg)["x"][0]
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_points_that_are_all_equal_are_zero():
    cfg = Config(min_points=4, max_points=4, standardise=True)
    found = inputs_of([np.full((3, 2), 7.5)], 8, cfg)["x"][0]
    assert (np.asarray(found) == 0).all()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[0.0, np.nan]], "the value in row 0, column 1 is nan"),
        (np.zeros((3, 2, 1)), "want a table of one row or more, got shape \\(3, 2, 1"),
        (np.zeros((0, 2)), "want a table of one row or more, got shape \\(0, 2\\)"),
        ([["a", "b"]], "want a table of numbers"),
    ],
)
def test_bad_points_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        size_of(points)


def test_a_wrong_number_of_coordinates_is_refused():
    with pytest.raises(ValueError, match="the model takes 2 coordinates, got 3"):
        inputs_of([np.zeros((4, 3))], 8, Config())
    with pytest.raises(ValueError, match="takes 2 to 5 coordinates, got 6"):
        inputs_of([np.zeros((4, 6))], 8, Config(dims=5, min_dims=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_points": 0}, "want 1 <= min_points <= max_points, got 0 and 199"),
        ({"min_points": 300}, "got 300 and 199"),
        ({"alpha": 0.0}, "generator.alpha: want above 0, got 0.0"),
        ({"noise_ratio": 0.5}, "generator.noise_ratio: want 1 or more, got 0.5"),
        ({"min_dims": 3}, "generator.min_dims: want 0 to 2, got 3"),
        ({"dims": 0}, "generator.dims: want 1 or more, got 0"),
    ],
)
def test_impossible_generators_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_relations_to_an_anchor():
    cfg = encoder.Config(dim=4, hidden=4, scale=2.0)
    inputs = {"x": jnp.asarray([[[0.0, 2.0], [4.0, 6.0]]])}
    found = encoder.relate(cfg, inputs, jnp.asarray([[1, 0]]))
    assert found.shape == (1, 2, 2, encoder.related_dim(cfg))
    np.testing.assert_allclose(found[0, 0, 0, :2], [-2, -2])
    np.testing.assert_allclose(found[0, 0, 1], 0)
    np.testing.assert_allclose(found[0, 1, 1, 2:], np.tanh(20 / 3), rtol=1e-6)


def test_the_distance_to_an_anchor_is_a_relation():
    x = jnp.array([[[0.0, 0.0], [3.0, 4.0], [0.3, 0.4]]])
    plain, more = (encoder.Config(scale=1.0, distance=d) for d in (False, True))
    near = [encoder.relate(c, {"x": x}, jnp.array([[0]])) for c in (plain, more)]
    assert near[1].shape[-1] == encoder.related_dim(more)
    np.testing.assert_array_equal(near[1][..., :-1], near[0])
    squares = (10 / 3) ** 2 * np.array([0, 25, 0.25])
    np.testing.assert_allclose(near[1][0, 0, :, -1], np.log1p(squares), rtol=1e-5)
