"""Small clustering processes for tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbio.clustering import model as process
from jaxbio.clustering.model import Config, Model
from jaxbio.clustering.points import encoder

KINDS = [
    ("acp", "mixture"),
    ("acp", "gaussian"),
    ("acp_s", "gaussian"),
    ("ccp", "gaussian"),
    ("ccp", "none"),
]
# What is of an ACP and what is of a Gaussian latent, others have too.
_REST = ("acp", "gaussian")
of_each_kind = pytest.mark.parametrize(
    ("variant", "latent"),
    [pytest.param(*k, marks=[pytest.mark.slow] if k == _REST else []) for k in KINDS],
)


def made(variant="acp", latent="mixture", key=0, **options):
    """A model with parameters that are not as drawn: every bias counts."""
    cfg = Config(
        variant=variant,
        latent=latent,
        **{"dim": 8, "hidden": 8, "heads": 2, "seeds": 3, "components": 3}
        | {"latent_dim": 2, "norm": variant == "acp_s"}
        | options,
    )
    model = Model(cfg, encoder, encoder.Config(dim=8, hidden=8, scale=2.0))
    params = process.init(jax.random.key(key), model)
    rng = np.random.default_rng(key)
    params = jax.tree.map(
        lambda a: jnp.asarray(a + 0.2 * rng.normal(size=a.shape), np.float32),
        jax.device_get(params),
    )
    for net in {"prior", "posterior"} & set(params):  # laws not far from each other
        params[net] = jax.tree.map(lambda a: np.float32(0.3) * a, params[net])
    return model, params


def points(sets=2, size=5, padded=None, key=0):
    """Inputs and valid of some sets, with rubbish in the padding."""
    padded = padded or size
    x = np.random.default_rng(key).normal(size=(sets, padded, 2)) * 3
    x[:, size:] = 1e3
    valid = np.arange(padded) < size
    return {"x": jnp.asarray(x, jnp.float32)}, jnp.asarray(np.tile(valid, (sets, 1)))
