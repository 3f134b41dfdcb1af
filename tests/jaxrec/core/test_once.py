"""Programs that run once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core import once


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_the_result_is_that_of_the_function(platform):
    def draw():
        return {"key": jax.random.key(3), "odd": jnp.arange(5) * 2 + 1}

    got = once.run_once(draw, platform)
    assert jax.random.key_data(got["key"]).tolist() == [0, 3]
    np.testing.assert_array_equal(got["odd"], [1, 3, 5, 7, 9])


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    unknown = ({"xla_cpu_no_such_option": True}, {"xla_backend_optimization_level": 0})
    for options in (unknown, unknown[:1]):
        monkeypatch.setattr(once, "_OPTIONS", options)
        assert once.run_once(lambda: jnp.float32(2) + 1, "cpu") == 3


def test_other_errors_pass(monkeypatch):
    def refused(function, shardings, options):
        def run():
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

        return run

    monkeypatch.setattr(once, "_jitted", refused)
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"):
        once.run_once(lambda: jnp.ones(2), "cpu")
