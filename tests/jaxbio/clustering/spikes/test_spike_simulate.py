import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.metrics import adjusted_rand
from jaxbio.clustering.spikes import noise, simulate, snippets
from jaxrec.core.config import dataclass_from

CONFIG = simulate.Config(min_spikes=60, max_spikes=120, max_points=120, max_clusters=6)


@pytest.fixture(scope="module")
def problems():
    draw = jax.jit(jax.vmap(lambda key: simulate.draw(key, CONFIG)))
    return jax.tree.map(np.asarray, draw(jax.random.split(jax.random.key(0), 12)))


def test_shapes_and_padding(problems):
    x, labels = problems["inputs"]["x"], problems["labels"]
    assert x.shape == (12, 120, snippets.LENGTH, snippets.CHANNELS)
    assert (x.dtype, labels.dtype) == (np.float32, np.int32)
    assert labels.min() == -1 and labels.max() < CONFIG.max_clusters
    # Padding is last, and zero.
    assert (np.diff((labels < 0).astype(int), axis=1) >= 0).all()
    assert not x[labels < 0].any() and np.isfinite(x).all()
    counts = (labels >= 0).sum(1)
    assert counts.max() <= 120 and len(set(counts)) > 6


def test_troughs_are_deep_and_at_their_place(problems):
    x = problems["inputs"]["x"][problems["labels"] >= 0]
    around = x[:, snippets.BEFORE - 4 : snippets.BEFORE + 5, 0]
    assert np.mean(around.argmin(1) == 4) > 0.6
    assert np.median(around.min(1)) < -6


def test_snippets_of_one_unit_are_alike(problems):
    ratios = []
    for x, labels in zip(problems["inputs"]["x"], problems["labels"], strict=True):
        flat = x.reshape(len(x), -1)
        for label in set(labels[labels >= 0]):
            inside, rest = (
                flat[labels == label],
                flat[(labels >= 0) & (labels != label)],
            )
            if len(inside) > 5 and len(rest) > 5:
                centre = inside.mean(0)
                near = np.median(((inside - centre) ** 2).sum(1))
                ratios.append(np.median(((rest - centre) ** 2).sum(1)) / near)
    assert len(ratios) > 10 and np.median(ratios) > 2


def test_noise_is_as_filtered_and_is_whitened():
    layouts, there = simulate._windows(CONFIG)
    space = noise.space_covariance(jnp.asarray(layouts[0]), jnp.asarray(there[0]), 0.4)
    band, rate = CONFIG.band, CONFIG.sample_rate
    drawn = noise.draw(jax.random.key(3), space, 2400, snippets.LENGTH, band, rate)
    drawn = np.asarray(drawn)
    autocovariance, covariance = snippets.noise_statistics(drawn)
    np.testing.assert_allclose(covariance, space, atol=0.04)
    wanted = noise.autocovariance(snippets.LENGTH, band, rate)
    np.testing.assert_allclose(autocovariance, wanted, atol=0.03)
    # The same as filtering white noise, away from the ends.
    rng = np.random.default_rng(0)
    filtered = rng.standard_normal((3000, 200)) @ noise.filter_matrix(200, band, rate)
    middle = filtered[:, 80:120]
    lagged = [np.mean(middle[:, :20] * middle[:, lag : 20 + lag]) for lag in range(9)]
    np.testing.assert_allclose(np.array(lagged) / lagged[0], wanted[:9], atol=0.03)
    white = drawn @ np.asarray(noise.symmetric_root(space))
    found = np.cov(white.reshape(-1, snippets.CHANNELS).T)
    np.testing.assert_allclose(found, np.eye(snippets.CHANNELS), atol=0.04)


def test_of_two_at_once_the_deeper_gives_the_label():
    waveforms = np.zeros((12, 5, 160, 7), np.float32)
    waveforms[:, :, 64] = -np.arange(1, 13)[:, None, None]
    config = dataclasses.replace(CONFIG, collisions=1.0, jitter=0.0)
    labels = jnp.zeros(2000, jnp.int32)
    fired = simulate._fired(jax.random.key(1), labels, jnp.asarray(waveforms), config)
    label, unit, offset = (np.asarray(fired[k]) for k in ("label", "unit", "offset"))
    near = np.abs(offset[1]) <= 5
    # Unit 0 is the shallowest; those from 6 on only collide.
    taken = near & (np.maximum(unit[0], unit[1]) < 6)
    assert taken.any() and (label[taken] > 0).all() and not label[~taken].any()
    assert (unit[0] != unit[1]).all() and np.abs(offset[1]).max() == 32


def test_features_and_the_other_probe():
    config = dataclasses.replace(
        CONFIG, probe="hexagonal", prior="mfm", features=10, alpha=1.5
    )
    draw = jax.jit(lambda key: simulate.draw(key, config))
    one, again, other = (draw(jax.random.key(seed)) for seed in (1, 1, 2))
    assert one["inputs"]["x"].shape == (120, 10)
    np.testing.assert_array_equal(one["inputs"]["x"], again["inputs"]["x"])
    assert not np.array_equal(one["inputs"]["x"], other["inputs"]["x"])
    valid = np.asarray(one["labels"]) >= 0
    assert not np.asarray(one["inputs"]["x"])[~valid].any()
    squares = (np.asarray(one["inputs"]["x"])[valid] ** 2).mean(0)
    assert (np.diff(squares) <= 1e-3).all()


def test_clusters_can_be_found(problems):
    """The nearest true centre of the features is most often a snippet's own."""
    scores = []
    for x, labels in zip(problems["inputs"]["x"], problems["labels"], strict=True):
        valid = labels >= 0
        if len(set(labels[valid])) < 2:
            continue
        found = snippets.features(x, valid, 10)[valid]
        own = labels[valid]
        centres = np.stack([found[own == k].mean(0) for k in sorted(set(own))])
        nearest = ((found[:, None] - centres) ** 2).sum(-1).argmin(1)
        scores.append(adjusted_rand(own, nearest))
    assert len(scores) > 6 and np.mean(scores) > 0.7


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("min_spikes", 0, "min_spikes, max_spikes: want 1 <="),
        ("alpha", 0.0, "generator.alpha: want above 0, got 0.0"),
        ("depth", (9.0, 5.0), "generator.depth: want 0 < low <= high"),
        ("correlated", (0.0, 1.5), "generator.correlated: want shares"),
        ("band", (300.0, 20000.0), "is no pass band at 30000.0 samples"),
        ("collisions", 1.5, "generator.collisions: want a share"),
        ("features", 99, "generator.features: want 0 to 35, got 99"),
    ],
)
def test_bad_configurations(key, value, message):
    with pytest.raises(ValueError, match=message):
        dataclass_from(simulate.Config, {key: value})


def test_noise_is_normal():
    """As many far away as a normal distribution has, and no two the same."""
    one = np.ones((1, 1), np.float32)
    found = np.asarray(noise.draw(jax.random.key(0), one, 40000, 1, (300, 6000), 30000))
    for sds, share in ((1, 0.3173), (2, 0.0455), (3, 0.0027)):
        assert (np.abs(found) > sds).mean() == pytest.approx(share, rel=0.15)
    assert abs(found.mean()) < 0.02
    assert len(np.unique(found)) > 39900


def test_a_mixed_prior_is_one_of_both():
    """With an alpha near zero a CRP has one cluster, an MFM of rate 3 seldom."""
    cfg = dataclasses.replace(CONFIG, prior="mixed", alpha=1e-6, rate=3.0)
    draw = jax.jit(jax.vmap(lambda key: simulate._partition(key, 60, cfg)))
    labels = np.asarray(draw(jax.random.split(jax.random.key(0), 200)))
    assert (labels[:, 60:] == -1).all() and (labels[:, :60] >= 0).all()
    numbers = np.array([len(np.unique(row[:60])) for row in labels])
    assert np.mean(numbers == 1) == pytest.approx(0.53, abs=0.1)
    assert len(set(numbers)) >= 4
