import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from jaxrec.core import parallel
from jaxrec.core.dropout import row_keys
from jaxrec.core.optim import Optimiser
from jaxrec.losses.softmax import linear_softmax_ce
from jaxrec.models import lru

RULES = (("embedding/table", P("model", None)), ("item_bias", P("model")))


def setup(devices, *, model=1, mode="jit", micro=1, rate=0.3):
    """A training step of a small LRURec and its first state and batch."""
    cfg = lru.LRUConfig(
        items=30, dim=8, blocks=1, dropout=rate, dropout_lru=rate, table_multiple=4
    )
    mesh = parallel.make_mesh(model, jax.devices()[:devices])
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 31, (16, 12)).astype(np.int32)
    labels = rng.integers(1, 31, (16, 12)).astype(np.int32)
    lengths = rng.integers(0, 13, 16)
    labels[np.arange(12) < lengths[:, None]] = 0
    batch = {
        "tokens": np.where(labels > 0, tokens, 0),
        "labels": labels,
        "segments": np.ones_like(labels),
        "row": np.arange(16, dtype=np.int32),
    }

    def loss(params, batch, key):
        hidden = lru.encode(
            params,
            cfg,
            batch["tokens"],
            segments=batch["segments"],
            keys=row_keys(key, batch["row"]) if rate else None,
        )
        table, bias = lru.head(params, cfg)
        labels = batch["labels"].reshape(-1)
        weights = (labels > 0).astype(jnp.float32)
        hidden = hidden.reshape(-1, cfg.dim)
        total = linear_softmax_ce(hidden, table, bias, labels, weights, 16)
        return {"loss": (total, weights.sum())}

    optimiser = Optimiser(optax.adamw(1e-2), small=100)

    def init():
        params = lru.init(jax.random.key(0), cfg)
        opt = optimiser.init(params)
        return {"params": params, "opt": opt, "step": jnp.zeros((), jnp.int32)}

    placed = parallel.shardings(mesh, jax.eval_shape(init), RULES)
    state = jax.jit(init, out_shardings=placed)()
    step = parallel.make_step(loss, optimiser, mesh, mode=mode, micro=micro)
    return step, state, parallel.put_batch(batch, mesh)


@functools.cache
def train(*args, steps=3, **kwargs):
    step, state, batch = setup(*args, **kwargs)
    reports = []
    for _ in range(steps):
        state, report = step(state, batch, jax.random.key(7))
        reports.append(float(report["loss"]))
    return reports, jax.device_get(state["params"])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"devices": 2}, marks=pytest.mark.slow),
        {"devices": 8},
        {"devices": 1, "micro": 4},
        pytest.param({"devices": 2, "micro": 2}, marks=pytest.mark.slow),
        {"devices": 8, "model": 4},
        {"devices": 4, "model": 2, "micro": 2},
        {"devices": 8, "mode": "pmap"},
        {"devices": 2, "mode": "pmap", "micro": 2},
    ],
    ids=str,
)
def test_the_same_batch_gives_the_same_training_everywhere(other):
    """With dropout: masks belong to rows, not to devices."""
    losses, params = train(1)
    other_losses, other_params = train(**other)
    np.testing.assert_allclose(other_losses, losses, rtol=2e-6)
    # Adam divides by the root of the second moment, so where a gradient is all
    # rounding its update is too; the bound is a share of a step of 1e-2.
    for a, b in zip(
        jax.tree.leaves(params), jax.tree.leaves(other_params), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_gradients_are_means_over_targets_and_not_over_devices():
    """Rows with few targets on one device weigh as much per target as elsewhere."""
    one, _ = train(1, steps=1, rate=0.0)
    eight, _ = train(8, steps=1, rate=0.0)
    np.testing.assert_allclose(one, eight, rtol=1e-6)


def test_the_table_is_split_over_the_model_axis():
    _, state, _ = setup(8, model=4)
    table = state["params"]["embedding"]["table"]
    assert table.shape == (32, 8)
    assert table.addressable_shards[0].data.shape == (8, 8)
    moment = state["opt"][0].mu.large["embedding"]["table"]
    assert moment.sharding == table.sharding
    assert state["params"]["block_0"]["in"]["kernel"].sharding.is_fully_replicated


def test_impossible_layouts_are_refused():
    with pytest.raises(ValueError, match="model=3 does not divide the 8 devices"):
        parallel.make_mesh(3)
    mesh = parallel.make_mesh(8)
    shape = {"embedding": {"table": jax.ShapeDtypeStruct((31, 8), jnp.float32)}}
    with pytest.raises(ValueError, match=r"embedding/table of shape \(31, 8\)"):
        parallel.shardings(mesh, shape, RULES)
    with pytest.raises(ValueError, match="want 'jit' or 'pmap', got 'pmop'"):
        setup(1, mode="pmop")
    with pytest.raises(ValueError, match="pmap replicates"):
        setup(8, model=2, mode="pmap")


def test_micro_batches_are_chosen_by_backend(monkeypatch):
    mesh = parallel.make_mesh(1, jax.devices()[:2])
    assert parallel.micro_batches(0) == 8
    assert parallel.micro_batches(3) == 3
    assert parallel.row_multiple(mesh, 3) == 6
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert parallel.micro_batches(0) == 1
    assert parallel.row_multiple(mesh, 0) == 16  # Batches are those of a CPU.
