import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.spikes import noise, snippets


def test_whitened_noise_is_white():
    rng = np.random.default_rng(0)
    lags = np.arange(snippets.LENGTH)
    autocovariance = 0.6**lags
    root = np.linalg.cholesky(autocovariance[np.abs(lags[:, None] - lags)])
    space = np.array([[1, 0.4, 0, 0], [0.4, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    both = np.linalg.cholesky(space)
    noise = np.einsum("st,ntc,dc->nsd", root, rng.standard_normal((3000, 32, 4)), both)
    estimated, covariance = snippets.noise_statistics(noise)
    np.testing.assert_allclose(estimated, autocovariance, atol=0.02)
    np.testing.assert_allclose(covariance, space, atol=0.05)
    # Of the slowest decaying spectrum nothing lies under the floor but the fastest.
    temporal = snippets.temporal_whitening(0.3**lags)
    np.testing.assert_allclose(
        temporal @ (0.3 ** np.abs(lags[:, None] - lags)) @ temporal,
        np.eye(32),
        atol=1e-4,
    )
    spatial = snippets.spatial_whitening(space, np.array([1, 0, -1]))
    np.testing.assert_allclose(
        spatial[:2, :2] @ space[[1, 0]][:, [1, 0]] @ spatial[:2, :2],
        np.eye(2),
        atol=1e-5,
    )
    assert spatial[2].tolist() == [0, 0, 1]


def test_time_basis_is_orthonormal():
    basis = snippets.time_basis()
    np.testing.assert_allclose(basis.T @ basis, np.eye(snippets.FUNCTIONS), atol=1e-5)


def prepared(count=60):
    return np.random.default_rng(2).standard_normal((count, 32, 7)).astype(np.float32)


def test_features_are_along_principal_axes_about_the_origin():
    x = prepared()
    valid = np.arange(60) < 50
    found = snippets.features(x, valid, 4)
    flat = np.einsum("ntc,tk->nkc", x[:50], snippets.time_basis()).reshape(50, -1)
    flat = flat.astype(np.float64)
    _, singular, axes = np.linalg.svd(flat, full_matrices=False)
    for k in range(4):
        axis = axes[k] * np.sign(axes[k][np.abs(axes[k]).argmax()])
        np.testing.assert_allclose(found[:50, k], flat @ axis, atol=1e-3)
    assert not found[50:].any()
    np.testing.assert_allclose((found**2).sum(0), singular[:4] ** 2, rtol=1e-4)


def test_features_are_the_same_in_jax_and_ignore_padding():
    x, valid = prepared(), np.arange(60) < 50
    other = np.where(valid[:, None, None], x, np.nan).astype(np.float32)
    found = snippets.features(jnp.asarray(x), jnp.asarray(valid), 6)
    np.testing.assert_allclose(found, snippets.features(x, valid, 6), atol=2e-3)
    np.testing.assert_array_equal(
        snippets.features(other, valid, 6), snippets.features(x, valid, 6)
    )


def test_preparing_is_the_same_in_jax():
    temporal = snippets.temporal_whitening(0.5 ** np.arange(32))
    spatial = np.eye(7, dtype=np.float32)
    found = snippets.prepare(jnp.asarray(prepared()), temporal, spatial)
    wanted = snippets.prepare(prepared(), temporal, spatial)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("count", [0, 36])
def test_too_many_features(count):
    with pytest.raises(ValueError, match=f"1 to 35 features, not {count}"):
        snippets.features(prepared(), np.ones(60, bool), count)


@pytest.mark.parametrize("rate", [15000.0, 24414.0625, 40000.0])
def test_snippets_of_other_rates_are_as_if_of_the_same(rate):
    """Of traces without frequencies above 6,000 Hz, as they are band-passed to."""
    random = np.random.default_rng(0)
    hertz, phase = random.uniform(300, 6000, (2, 20))

    def traces(seconds):
        return np.sin(2 * np.pi * hertz * seconds[:, None] + phase).sum(1)

    before, matrix = snippets.resampling(rate)
    found = matrix @ traces((np.arange(matrix.shape[1]) - before) / rate)
    wanted = traces((np.arange(32) - snippets.BEFORE) / snippets.RATE)
    np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())


def test_snippets_of_the_same_rate_are_not_touched():
    before, matrix = snippets.resampling(30000.0)
    assert before == snippets.BEFORE
    np.testing.assert_array_equal(matrix, np.eye(32))


# At 15 kHz the filter falls more steeply above 6,000 Hz, so it is not the same noise.
@pytest.mark.parametrize(("rate", "gap"), [(15000.0, 0.1), (24000.0, 0.04)])
def test_the_noise_of_other_rates_is_as_if_of_the_same(rate, gap):
    found = snippets.resampled_autocovariance(
        noise.autocovariance(32, (300, 6000), rate), rate
    )
    wanted = noise.autocovariance(32, (300, 6000), 30000)
    np.testing.assert_allclose(found, wanted, atol=gap)
    same = snippets.resampled_autocovariance(wanted, 30000.0)
    np.testing.assert_array_equal(same, wanted)
