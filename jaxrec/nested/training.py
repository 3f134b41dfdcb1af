"""What training every size at once costs, against training them one by one.

Timed are steps of the run's own configuration on its own batches: of the nested model,
and of one model per size whose only size that is (its maps are dense then). Memory is
what XLA plans for a step: parameters, moments and batch, and the scratch beside them.
"""

import copy
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxrec.data
from jaxrec.core import parallel, timing
from jaxrec.core.optim import make_optimiser
from jaxrec.nested.run import NestedRun
from jaxrec.tasks.next_item import NextItem

NESTED = "all sizes"
Row = dict[str, Any]


class _Trainer:
    """A step of one configuration, with the state that it goes on from."""

    def __init__(self, config, split, mesh):
        task = NextItem(config, split, mesh)
        optimiser = make_optimiser(
            config["optim"], config["train"]["steps"], task.decayed, task.frozen
        )
        step = parallel.make_step(
            task.loss,
            optimiser,
            mesh,
            mode="jit",
            micro=parallel.micro_batches(config["parallel"]["micro"]),
        )
        self._key = jax.random.key(config["seed"])
        self._batch = parallel.put_batch(task.batch(0), mesh)

        def init(key):
            params = task.init(key)
            opt = optimiser.init(params)
            return {"params": params, "opt": opt, "step": jnp.zeros((), jnp.int32)}

        self._state = jax.jit(init)(self._key)
        arguments = (self._state, self._batch, self._key)
        self._program, self.compile_s = timing.compile_timed(step, *arguments)
        self.memory = timing.memory_plan(self._program)

    def __call__(self):
        self._state, report = self._program(self._state, self._batch, self._key)
        return report["loss"]


class Cost(NamedTuple):
    """What `measure_training` found.

    Attributes:
        rows: "model" (`NESTED` or a size), "step_s", "compile_s", "bytes" (planned
            for a step) per model.
        against_largest: Step of the nested model over that of the largest alone,
            median and 10th and 90th percentile over rounds.
        against_all: The same over the sum of all models' steps.
    """

    rows: list[Row]
    against_largest: timing.Spread
    against_all: timing.Spread


def measure_training(run: NestedRun, rounds: int = 15) -> Cost:
    """Times steps of the nested model and of a model per size, round by round.

    Args:
        run: As from `jaxrec.nested.run.read_run`; its data are loaded.
        rounds: How often each is timed.

    Raises:
        FileNotFoundError: The data are not there.
    """
    split = jaxrec.data.load(run.config["data"])
    mesh = parallel.make_mesh(1, jax.devices()[:1])
    trainers = {NESTED: _Trainer(_alone(run, run.sizes), split, mesh)}
    for size in run.sizes:
        trainers[str(size)] = _Trainer(_alone(run, (size,)), split, mesh)
    largest = str(run.sizes[-1])
    found = timing.compare(trainers, rounds, 2, baseline=largest, twin=NESTED)
    nested = found.wall[NESTED]
    each = sum(found.wall[str(size)] for size in run.sizes)
    rows = [
        {
            "model": name,
            "step_s": found.seconds(name),
            "compile_s": trainer.compile_s,
            "bytes": trainer.memory["argument_bytes"] + trainer.memory["temp_bytes"],
        }
        for name, trainer in trainers.items()
    ]
    return Cost(
        rows,
        timing.spread(nested / found.wall[largest]),
        timing.spread(nested / each),
    )


def _alone(run: NestedRun, sizes: tuple[int, ...]) -> dict[str, Any]:
    """The run's configuration with these sizes only, on one device."""
    config = copy.deepcopy(run.config)
    config["model"]["sizes"] = sizes
    config["model"]["size_weights"] = ()
    config["parallel"] |= {"model": 1, "mode": "jit"}
    return config
