"""Data and model parallelism: one per-device function, run by jit or by pmap.

The mesh has two axes. Batches are split over `data`; parameters are replicated, except
those that a rule sends to `model` (the item table, which grows with the catalogue). A
loss returns sums and weights; gradients of the **sum** are added over micro-batches and
devices and divided once by the total weight. So one device and eight give the same
number, and padding rows (weight 0) change nothing.

`jit` mode: the sums are made under `shard_map` over `data` (the `model` axis is left to
the partitioner), the update runs on the sharded state. `pmap` mode, for those who must:
the same function under `jax.pmap`, with a replicated state.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrec.core.optim import Optimiser, path_names

Sums = dict[str, tuple[jax.Array, jax.Array]]
Rules = Sequence[tuple[str, P]]

_CPU_PARTS = 8


def make_mesh(model: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A (data, model) mesh over all devices of all processes.

    Raises:
      ValueError: the number of devices is not a multiple of `model`.
    """
    devices = list(jax.devices() if devices is None else devices)
    if model < 1 or len(devices) % model:
        raise ValueError(
            f"parallel.model={model} does not divide the {len(devices)} devices"
        )
    grid = np.asarray(devices).reshape(-1, model)
    return Mesh(grid, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))


def shardings(mesh: Mesh, tree: Any, rules: Rules) -> Any:
    """A sharding per leaf: the first rule whose name ends its path, else replicated.

    Applies to parameters and to anything shaped like them (moments of the optimiser).

    Raises:
      ValueError: an axis of a leaf is not a multiple of the mesh axis it is split over.
    """

    def place(path, leaf):
        name = "/".join(path_names(path))
        for suffix, spec in rules:
            if name.endswith(suffix) and len(leaf.shape) == len(spec):
                for size, axis in zip(leaf.shape, spec, strict=True):
                    if axis and size % mesh.shape[axis]:
                        raise ValueError(
                            f"parameter {name} of shape {leaf.shape} cannot be split "
                            f"over {mesh.shape[axis]} devices of axis {axis!r}"
                        )
                return NamedSharding(mesh, spec)
        return NamedSharding(mesh, P())

    return jax.tree_util.tree_map_with_path(place, tree)


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Places a global batch, split over `data`; each process keeps its own rows."""
    sharding = NamedSharding(mesh, P("data"))
    return {
        k: jax.make_array_from_callback(v.shape, sharding, lambda i, v=v: v[i])
        if jax.process_count() > 1
        else jax.device_put(v, sharding)
        for k, v in batch.items()
    }


def sums_and_gradients(
    loss: Callable[..., Sums],
    params: Any,
    batch: Any,
    key: jax.Array,
    micro: int,
    pool: Callable[[Any], Any],
) -> tuple[Sums, Any]:
    """Sums of `loss` over a device's rows and the gradient of its summed "loss".

    With `micro` > 1 the rows are taken in that many parts, one after the other, which
    keeps a part's activations in the cache and divides scratch memory. Results agree
    with `micro` = 1 to rounding.

    Args:
      loss: as for `make_step`.
      params: the parameters.
      batch: rows of one device.
      key: of the step.
      micro: number of parts.
      pool: puts small leaves of a gradient together; few large sums compile faster
        than many small ones, and need fewer launches per part.
    """

    def summed(params, part, key):
        sums = loss(params, part, key)
        return sums["loss"][0], sums

    @jax.jit  # Traced once: for the shapes, and for the loop.
    def gradient(params, part, key):
        grads, sums = jax.grad(summed, has_aux=True)(params, part, key)
        return sums, pool(grads)

    if micro == 1:
        return gradient(params, batch, key)
    parts = jax.tree.map(lambda a: a.reshape(micro, -1, *a.shape[1:]), batch)

    def body(total, part):
        return jax.tree.map(jnp.add, total, gradient(params, part, key)), None

    first = jax.tree.map(lambda a: a[0], parts)
    shapes = jax.eval_shape(gradient, params, first, key)
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(body, zero, parts)[0]


def make_step(
    loss: Callable[..., Sums],
    optimiser: Optimiser,
    mesh: Mesh,
    *,
    mode: str = "jit",
    micro: int = 1,
) -> Callable[..., tuple[Any, dict[str, jax.Array]]]:
    """The training step `(state, batch, key) -> (state, report)`.

    Args:
      loss: `(params, batch, key) -> {"loss": (sum, weight), ...}` over the rows given.
      optimiser: from `jaxrec.core.optim`.
      mesh: from `make_mesh`.
      mode: "jit" or "pmap".
      micro: micro-batches per device.

    Returns:
      A function of the state {"params", "opt", "step"} (donated) and a global batch,
      giving the next state and a report: means of all sums, `grad_norm`, `param_norm`,
      `update_norm`, all float32 scalars.

    Raises:
      ValueError: unknown mode, or pmap with a model axis or several processes.
    """

    def update(state, sums, grads):
        weight = jnp.maximum(sums["loss"][1], 1)
        params, opt, norms = optimiser.update(
            grads, state["opt"], state["params"], weight
        )
        report = {k: s / jnp.maximum(w, 1) for k, (s, w) in sums.items()} | norms
        return {"params": params, "opt": opt, "step": state["step"] + 1}, report

    def reduced(params, batch, key):
        sums, grads = sums_and_gradients(
            loss, params, batch, key, micro, optimiser.pool
        )
        return jax.lax.psum((sums, grads), "data")

    if mode == "jit":
        spread = jax.shard_map(
            reduced,
            mesh=mesh,
            in_specs=(P(), P("data"), P()),
            out_specs=P(),
            axis_names={"data"},
            check_vma=False,
        )
        if mesh.size == 1:  # No collectives: spare the partitioner the work.

            def spread(params, batch, key):
                return sums_and_gradients(
                    loss, params, batch, key, micro, optimiser.pool
                )

        def step(state, batch, key):
            key = jax.random.fold_in(key, state["step"])
            return update(state, *spread(state["params"], batch, key))

        return jax.jit(step, donate_argnums=0)
    if mode != "pmap":
        raise ValueError(f"parallel.mode: want 'jit' or 'pmap', got {mode!r}")
    if mesh.shape["model"] > 1 or jax.process_count() > 1:
        raise ValueError(
            "parallel.mode=pmap replicates the state on the devices of one process: "
            "use jit for parallel.model > 1 or several processes"
        )
    return _pmapped(reduced, update, mesh)


def _pmapped(reduced, update, mesh):
    devices = list(mesh.devices.flat)
    split = NamedSharding(mesh, P("data"))

    def per_device(state, batch, key):
        key = jax.random.fold_in(key, state["step"])
        return update(state, *reduced(state["params"], batch, key))

    mapped = jax.pmap(
        per_device,
        axis_name="data",
        in_axes=(None, 0, None),
        out_axes=(None, None),
        devices=devices,
    )

    def step(state, batch, key):
        batch = jax.tree.map(
            lambda a: jax.device_put(a.reshape(len(devices), -1, *a.shape[1:]), split),
            batch,
        )
        return mapped(state, batch, key)

    return step


def micro_batches(micro: int) -> int:
    """Micro-batches per device for a setting, of which 0 chooses.

    On a CPU a batch's activations should stay in the cache: there, eight parts. An
    accelerator wants large arrays: one part.
    """
    return micro or (_CPU_PARTS if jax.default_backend() == "cpu" else 1)


def row_multiple(mesh: Mesh, micro: int) -> int:
    """What the rows of a global batch must be a multiple of, for a setting of `micro`.

    The same on a CPU as elsewhere where `micro` is 0, so that batches are.
    """
    return mesh.shape["data"] * (micro or _CPU_PARTS)
