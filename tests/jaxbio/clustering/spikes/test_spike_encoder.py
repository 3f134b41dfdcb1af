import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering.spikes import encoder, snippets
from jaxrec.core.config import dataclass_from

CONFIG = encoder.Config(dim=8, widths=(4, 6))


encode = jax.jit(encoder.encode, static_argnums=1)
init = jax.jit(encoder.init, static_argnums=1)


@pytest.fixture(scope="module")
def drawn():
    params = init(jax.random.key(0), CONFIG)
    x = jax.random.normal(jax.random.key(1), (2, 5, 32, 7)) * 5
    return params, x, jnp.arange(5) < jnp.array([[5], [3]])


def test_shape_and_parameters(drawn):
    params, x, valid = drawn
    found = encode(params, CONFIG, {"x": x}, valid)
    assert found.shape == (2, 5, 8) and found.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    again = init(jax.random.key(0), CONFIG)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, params, again))


def test_padding_influences_nothing(drawn):
    params, x, valid = drawn
    plain = encode(params, CONFIG, {"x": x}, valid)
    spoilt = jnp.where(valid[..., None, None], x, jnp.nan)
    found = encode(params, CONFIG, {"x": spoilt}, valid)
    np.testing.assert_array_equal(found, plain)
    assert not found[1, 3:].any() and found[1, :3].all()


def test_a_snippet_is_encoded_by_itself(drawn):
    params, x, valid = drawn
    together = encode(params, CONFIG, {"x": x}, valid)
    other = encode(params, CONFIG, {"x": x[:, ::-1]}, valid[:1].repeat(2, 0))
    np.testing.assert_allclose(other[0, ::-1], together[0], rtol=1e-4, atol=1e-5)


def test_every_parameter_has_a_gradient(drawn):
    params, x, valid = drawn

    def loss(params):
        return jnp.square(encode(params, CONFIG, {"x": x}, valid)).sum()

    grads = jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(params))
    assert all(np.isfinite(grad).all() and grad.any() for _, grad in grads)


def test_relation_to_an_anchor(drawn):
    _, x, _ = drawn
    anchor = jnp.array([[0, 4, 4], [2, 1, 0]])
    found = encoder.relate(CONFIG, {"x": x}, anchor)
    assert found.shape == (2, 3, 5, encoder.related_dim(CONFIG))
    flat = np.einsum("bntc,tk->bnkc", x, snippets.time_basis()).reshape(2, 5, -1)
    difference = flat[1] - flat[1, 2]
    wanted = np.concatenate([difference / CONFIG.scale, np.tanh(difference / 4)], -1)
    np.testing.assert_allclose(found[1, 0], wanted, atol=1e-4)
    assert not found[0, 1, 4].any()


def test_config_from_a_mapping():
    cfg = dataclass_from(encoder.Config, {"dim": 16, "widths": [8, 8]})
    assert cfg.widths == (8, 8)
    with pytest.raises(ValueError, match="kernel must be odd, got 4"):
        encoder.Config(kernel=4)
    with pytest.raises(ValueError, match="sizes must be positive"):
        encoder.Config(widths=())


def test_another_number_of_channels(drawn):
    params, x, valid = drawn
    with pytest.raises(ValueError, match=r"\(B, N, time, 7\), got \(2, 5, 32, 4\)"):
        encode(params, CONFIG, {"x": x[..., :4]}, valid)
