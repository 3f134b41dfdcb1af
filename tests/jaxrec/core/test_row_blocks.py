"""Rows in blocks give what they give together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.row_blocks import blocks_for, map_blocks


@pytest.mark.parametrize(
    ("rows", "size", "most", "blocks"),
    [(8, 10, 80, 1), (8, 10, 79, 2), (8, 10, 20, 4), (8, 10, 1, 8), (5, 10, 1, 8)],
)
def test_number_of_blocks(rows, size, most, blocks):
    assert blocks_for(rows, size, most) == blocks


@pytest.mark.parametrize("blocks", [1, 2, 4, 8])
def test_blocks_change_nothing_but_the_order(blocks):
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.normal(size=(7, 3)), jnp.float32)
    b = {"x": jnp.arange(7), "y": jnp.asarray(rng.normal(size=(7, 2, 2)))}
    sizes = []

    def function(a, b):
        sizes.append(len(a))
        return {"sum": a.sum(1) + b["x"], "y": b["y"] * 2}

    got = jax.jit(lambda a, b: map_blocks(function, blocks, a, b))(a, b)
    assert set(sizes) == {-(-7 // blocks)}
    wanted = function(a, b)
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-6), got, wanted)


def test_sharded_rows_keep_all_devices_busy():
    devices = jax.devices()[:4]
    mesh = jax.sharding.Mesh(np.asarray(devices), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    rows = jax.device_put(jnp.arange(64.0).reshape(16, 4), sharding)
    program = jax.jit(lambda a: map_blocks(lambda part: part * part, 4, a))
    np.testing.assert_array_equal(program(rows), rows**2)
    text = program.lower(rows).compile().as_text()
    assert "all-gather" not in text and "all-to-all" not in text
