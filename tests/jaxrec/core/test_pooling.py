"""Trees to pools and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.core.pooling import pool, unpool

TREE = {
    "b": jnp.arange(6.0).reshape(2, 3),
    "a": [jnp.float32(7), jnp.arange(40, dtype=jnp.float32)],
    "c": (jnp.arange(3, dtype=jnp.int32), jnp.full((2, 2), 9.0)),
}


def first_letter(path):
    return str(path[0].key)


def test_small_leaves_go_together_by_group_and_dtype():
    pools = pool(TREE, lambda path: "", small=6)
    assert pools.large["b"] is None
    np.testing.assert_array_equal(pools.large["a"][1], TREE["a"][1])
    np.testing.assert_array_equal(
        pools.small[""]["float32"], [7, 0, 1, 2, 3, 4, 5, 9, 9, 9, 9]
    )
    np.testing.assert_array_equal(pools.small[""]["int32"], [0, 1, 2])
    grouped = pool(TREE, first_letter, small=6).small
    assert {group: set(by) for group, by in grouped.items()} == {
        "a": {"float32"},
        "b": {"float32"},
        "c": {"int32", "float32"},
    }


def test_leaves_of_no_group_are_left_out_and_come_from_the_likeness():
    def group(path):
        return None if first_letter(path) == "a" else ""

    for small in (0, 100):
        pools = pool(TREE, group, small)
        assert len(jax.tree.leaves(pools)) == {0: 3, 100: 2}[small]
        halves = jax.tree.map(lambda leaf: leaf / 2, pools)
        back = unpool(halves, TREE, group, small)
        for name, factor in {"a": 1, "b": 0.5, "c": 0.5}.items():
            wanted = jax.tree.map(lambda leaf, f=factor: f * leaf, TREE[name])
            jax.tree.map(np.testing.assert_array_equal, back[name], wanted)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_unpool_gives_the_tree_back(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    for group in (lambda path: "", first_letter):
        for small in (0, 6, 100):
            back = unpool(pool(TREE, group, small), TREE, group, small)
            assert jax.tree.structure(back) == jax.tree.structure(TREE)
            for leaf, wanted in zip(
                jax.tree.leaves(back), jax.tree.leaves(TREE), strict=True
            ):
                assert leaf.dtype == wanted.dtype
                assert leaf.shape == wanted.shape
                np.testing.assert_array_equal(leaf, wanted)
