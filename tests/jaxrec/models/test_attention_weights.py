"""`attention` of the backbones: the weights that their encoders really use."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import models
from jaxrec.models import _hstu_network, _layers, lru
from tests.jaxrec.compiling import numpy_jit

ITEMS, LENGTH = 9, 9
SEQUENCES = ([3, 1, 4, 1, 5, 9], [2, 6, 5])
PACKED = np.concatenate(SEQUENCES)[None].astype(np.int32)
SEGMENTS = np.repeat([1, 2], [6, 3])[None].astype(np.int32)
WITH = [
    name for name in models.names() if hasattr(models.model_module(name), "attention")
]
VARIANTS = {name: (name, {}) for name in WITH} | {
    "local": ("sar", {"causal": False, "heads": 2, "windows": (0, 1)}),
}


def padded(side):
    ids = np.zeros((len(SEQUENCES), LENGTH), np.int32)
    for row, sequence in enumerate(SEQUENCES):
        begin = LENGTH - len(sequence) if side == "left" else 0
        ids[row, begin : begin + len(sequence)] = sequence
    return ids


def make(name, **fields):
    """A tiny model with enough spread that no attention is uniform."""
    return drawn(name, {"dim": 8, "length": LENGTH, "blocks": 2} | fields)


def drawn(name, fields):
    module = models.model_module(name)
    cfg = models.config_from(name, fields, ITEMS)
    abstract = jax.eval_shape(lambda: module.init(jax.random.key(0), cfg))
    rng = np.random.default_rng(0)
    draw = functools.partial(rng.normal, 0, 0.5)
    return cfg, jax.tree.map(lambda a: draw(size=a.shape).astype("f4"), abstract)


@functools.cache
def computed(variant):
    """Everything of a variant by one compilation: module, config and arrays."""
    name, fields = VARIANTS[variant]
    module, (cfg, params) = models.model_module(name), make(name, **fields)

    def encoded_with(params, ids, weights):
        queue = list(weights)

        def instead(q, k, v, *_, **__):
            return jnp.einsum("bhij,bjhe->bihe", queue.pop(0), v)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_layers, "attend", instead)
            patch.setattr(_hstu_network, "causal_pointwise", instead)
            outputs = module.encode(params, cfg, ids)
        assert not queue
        return outputs

    def run(params, ids, segments):
        weights = module.attention(params, cfg, ids, segments=segments)
        left, own = ids[:2], weights[:, :2]
        return {
            "left": own,
            "right": weights[:, 2:4],
            "packed": weights[:, 4:],
            "encoded": module.encode(params, cfg, left),
            "with": encoded_with(params, left, own),
            "uniform": encoded_with(params, left, jnp.full_like(own, 1 / LENGTH)),
        }

    ids = np.concatenate([padded("left"), padded("right"), PACKED])
    segments = np.concatenate([np.ones_like(ids[:4]), SEGMENTS])
    arrays = numpy_jit(run)(params, ids, segments)
    return module, cfg, arrays


def test_which_backbones_have_it():
    assert {"sar", "bert4rec", "hstu"} <= set(WITH)
    assert "lru" not in WITH


@pytest.mark.parametrize("variant", VARIANTS)
def test_they_are_what_the_encoder_multiplies_values_with(variant):
    _, cfg, arrays = computed(variant)
    shape = (cfg.blocks, len(SEQUENCES), cfg.heads, LENGTH, LENGTH)
    assert arrays["left"].shape == shape and arrays["left"].dtype == np.float32
    real = padded("left") != 0
    wanted = arrays["encoded"][real]
    np.testing.assert_allclose(arrays["with"][real], wanted, rtol=0, atol=1e-5)
    assert np.abs(arrays["uniform"][real] - wanted).max() > 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_zero_where_nothing_is_seen_and_only_there(variant):
    module, cfg, arrays = computed(variant)
    left, right, packed = (arrays[name] for name in ("left", "right", "packed"))
    if getattr(module, "POINTWISE", False):
        assert left.min() < 0
    else:
        np.testing.assert_allclose(left.sum(-1), 1, atol=1e-6)
    causal = models.mask_token_of(module, cfg) is None
    slots, begin = np.arange(LENGTH), 0
    for row, sequence in enumerate(SEQUENCES):
        n = len(sequence)
        block = left[:, row, :, -n:, -n:]
        np.testing.assert_allclose(block, right[:, row, :, :n, :n], atol=1e-6)
        seen = np.ones((cfg.heads, n, n), bool)
        if causal:
            seen &= slots[:n, None] >= slots[:n]
        for head, window in enumerate(getattr(cfg, "windows", ())):
            if window:
                seen[head] &= np.abs(slots[:n, None] - slots[:n]) <= window
        np.testing.assert_array_equal(block != 0, np.broadcast_to(seen, block.shape))
        assert (left[:, row, :, -n:, :-n] == 0).all()
        own, begin = slice(begin, begin + n), begin + n
        np.testing.assert_allclose(packed[:, 0, :, own, own], block, atol=1e-6)
    assert (packed[..., 6:, :6] == 0).all() and (packed[..., :6, 6:] == 0).all()


@pytest.mark.parametrize("name", WITH)
def test_rows_longer_than_the_positions(name):
    module, (cfg, params) = models.model_module(name), make(name, length=4)
    with pytest.raises(ValueError, match="rows of 9 slots, but the model has 4"):
        module.attention(params, cfg, PACKED)


def test_impulse_of_lru_is_the_jacobian_of_the_recurrence():
    cfg, params = drawn("lru", {"dim": 4, "blocks": 2})

    def run(params):
        jacobians = []
        for i in range(cfg.blocks):
            block = params[f"block_{i}"]

            def last(x, block=block):
                keep, zero = jnp.ones((5, 1), bool), lru.start(cfg, 1)[0]
                h, _ = lru._recurrence(block, cfg, x, keep, zero, jnp.float32)
                return (h @ block["out"]["kernel"])[-1, 0]

            jacobians.append(jax.jacobian(last)(jnp.zeros((5, 1, 4)))[:, ::-1, 0])
        return lru.impulse(params, cfg, 5), jnp.stack(jacobians)

    norms, jacobians = numpy_jit(run)(params)
    assert norms.shape == (2, 5) and norms.dtype == np.float32
    wanted = np.sqrt((jacobians**2).sum((1, 3)))  # (blocks, D, 5, D)
    np.testing.assert_allclose(norms, wanted, rtol=1e-5)
    assert (norms[:, 0] > norms[:, -1]).all() and norms.min() > 0
