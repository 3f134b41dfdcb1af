"""Several runs of one shape trained as one program.

Members differ in their seed and in numbers that no shape depends on (`SCALARS`). Their
states are stacked, the step of one of them is mapped over the stack, and members are
split over the devices, which then have nothing to tell each other. One program is
compiled for all; each member has the batches, masks and parameters that a run of its
own would have, and ends as that run would, but for rounding.

An accelerator steps all members at once (`jax.vmap`): alone they are too small for it.
A CPU takes them one after the other (`jax.lax.map`), so that the activations of one
stay in its cache.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrec.core import parallel
from jaxrec.core.checkpoint import Checkpoints
from jaxrec.core.once import run_once
from jaxrec.core.optim import build_optimiser, check_optimiser
from jaxrec.core.progress import ProgressLine
from jaxrec.core.signals import Signals
from jaxrec.core.train import Stopped, prefetched
from jaxrec.tasks.ranking import RankingTask

# Keys of a run in which the members of a group may differ, beside the seed.
SCALARS = ("optim.lr", "optim.weight_decay", "model.dropout")

_NOTED = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")


def is_scalar(key: str) -> bool:
    """Whether members of a group may differ in a key; of "model.dropout" also those
    that only begin so."""
    return key in SCALARS or key.startswith("model.dropout")


class Best(NamedTuple):
    """Where a member was best on validation; -1 before the first evaluation."""

    step: int = -1
    value: float = float("-inf")


class Group:
    """Members in training, or trained.

    Args:
      tasks: one per member; their configs differ in the seed and in scalars only.
      workdir: gets the states; a group that stopped goes on from there.
      label: for log messages.
      begin: the group and the numbers of its members that these go on from, where
        `workdir` has nothing yet.

    Attributes:
      step: updates done.
      history: per member what was noted at each evaluation: step, mean training loss
        since the one before, validation metrics, seconds of training so far (its share
        of the group's, evaluations left out).
      best: per member.
      program: one step of all members, from `arguments` to their next state and their
        losses (members,).

    Raises:
      ValueError: an optimiser that is refused, more than one process, or settings of
        `parallel` that have no meaning here.
    """

    def __init__(
        self,
        tasks: Sequence[RankingTask],
        workdir: Path,
        label: str,
        begin: "tuple[Group, Sequence[int]] | None" = None,
    ):
        self.tasks, self._label = list(tasks), label
        self.lead = self.tasks[0]
        self.mesh = self.lead.mesh
        options = self.lead.config["parallel"]
        if jax.process_count() > 1 or options["model"] > 1 or options["mode"] != "jit":
            raise ValueError(
                "a study runs in one process, with parallel.model=1 and mode=jit: its "
                "members, not their rows or tables, are split over devices"
            )
        for task in self.tasks:
            check_optimiser(task.config["optim"])
        self._options = self.lead.config["train"]
        devices = self.mesh.shape["data"]
        self._padded = [*self.tasks, *[self.lead] * (-len(self.tasks) % devices)]
        self._checkpoints = Checkpoints(workdir)
        self._sharding = NamedSharding(self.mesh, P("data"))
        self._keys = self._stacked_keys(1)
        self.program = self._make_step()
        self._restore(begin)

    def close(self) -> None:
        self._checkpoints.close()

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The batches of all members, stacked."""
        batches = [task.batch(step) for task in self._padded]
        return {key: np.stack([b[key] for b in batches]) for key in batches[0]}

    def examples(self, batch: dict[str, np.ndarray]) -> int:
        return self.lead.examples(batch)

    def arguments(self, batch: dict[str, jax.Array]) -> tuple[Any, ...]:
        """What `program` is given with a placed batch: the state, which is donated,
        the batch, the keys of dropout and the scalars in which members differ."""
        return self._state, batch, self._keys, self._scalars

    def train(self, until: int) -> None:
        """Trains to step `until`, with an evaluation there and every so often before.

        Raises:
          Stopped: after SIGTERM or Ctrl-C, with the state saved.
        """
        if self.step >= until:
            return
        line = ProgressLine(self.step, until)
        try:
            with Signals() as stop:
                self._loop(until, line, stop)
        finally:
            line.close()

    def _loop(self, until, line, stop):
        began = time.monotonic()
        for batch, examples in prefetched(self, self.mesh, self.step, until):
            self._state, loss = self.program(*self.arguments(batch))
            self.step += 1
            self._pending.append(loss)
            line.update(self.step, examples, self._shown_loss)
            last, asked = self.step == until, stop.asked(self.step, 1)
            evaluates = last or self.step % self._options["eval_every"] == 0
            if not (evaluates or asked):
                continue
            self._losses += [loss.tolist() for loss in jax.device_get(self._pending)]
            self._pending = []
            self._seconds += time.monotonic() - began
            line.pause()
            if evaluates:
                self._evaluate()
            if last or asked or self.step % self._options["save_every"] == 0:
                self._save()
            if asked and not last:
                logging.warning(
                    "Stopped at step %d of %s, state saved; the same command goes on",
                    *(self.step, self._label),
                )
                raise Stopped(128 + stop.received)
            line.resume()
            began = time.monotonic()

    def best_params(self, member: int) -> Any:
        """The parameters of a member where it was best."""
        return jax.tree.map(lambda a: a[member], self._best_params)

    def value(self, member: int) -> float:
        """The best validation value of a member so far."""
        return self.best[member].value

    def _stacked_keys(self, number):
        keys = [jax.random.key(task.config["seed"]) for task in self._padded]
        stacked = jax.vmap(jax.random.fold_in, (0, None))(jnp.stack(keys), number)
        return jax.device_put(stacked, self._sharding)

    def _make_step(self):
        """The step of all members, and the scalars in which they differ."""
        lead, device = self.lead, self.mesh.devices.flat[0]
        alone = parallel.make_mesh(1, [device])
        micro = parallel.micro_batches(lead.config["parallel"]["micro"])
        optim = {
            name: [task.config["optim"][name] for task in self._padded]
            for name in ("lr", "weight_decay")
        }
        rates = {
            name: [getattr(task.cfg, name) for task in self._padded]
            for name in vars(lead.cfg)
            if name.startswith("dropout")
        }
        self._scalars = {
            section: {
                name: jax.device_put(np.asarray(values, np.float32), self._sharding)
                for name, values in some.items()
                if len(set(values)) > 1
            }
            for section, some in (("optim", optim), ("rates", rates))
        }

        def one(state, batch, key, scalars):
            optimiser = build_optimiser(
                {**lead.config["optim"], **scalars["optim"]},
                self._options["steps"],
                lead.decayed,
                lead.frozen,
            )
            loss = lead.with_rates(scalars["rates"]).loss
            step = parallel.make_step(loss, optimiser, alone, micro=micro)
            state, report = step(state, batch, key)
            return state, report["loss"]

        every = _one_by_one(one) if device.platform == "cpu" else jax.vmap(one)
        if self.mesh.size > 1:
            every = jax.shard_map(
                every,
                mesh=self.mesh,
                in_specs=P("data"),
                out_specs=P("data"),
                check_vma=False,
            )
        return jax.jit(every, donate_argnums=0)

    def _restore(self, begin):
        keys = self._stacked_keys(0)
        optimiser = build_optimiser(
            self.lead.config["optim"],
            self._options["steps"],
            self.lead.decayed,
            self.lead.frozen,
        )

        def init():
            def one(key):
                params = self.lead.init(key)
                opt = optimiser.init(params)
                return {"params": params, "opt": opt, "step": jnp.zeros((), jnp.int32)}

            return jax.vmap(one)(keys)

        shapes = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=self._sharding),
            jax.eval_shape(init),
        )
        restored = self._checkpoints.restore_last(
            {"state": shapes, "best": shapes["params"]}
        )
        members = range(len(self.tasks))
        self._pending, self._losses = [], []
        self.step, self._seconds = 0, 0.0
        self.history, self.best = [[] for _ in members], [Best() for _ in members]
        if restored is not None:
            self._state, self._best_params = (
                restored.tree["state"],
                restored.tree["best"],
            )
            self.step = restored.step
            noted = restored.progress
            self.history, self._losses = noted["history"], noted["losses"]
            self.best = [Best(*best) for best in noted["best"]]
            self._seconds = noted["seconds"]
            logging.info("%s: resuming at step %d", self._label, self.step)
        elif begin is not None:
            group, numbers = begin
            chosen = np.array([*numbers, *[numbers[0]] * len(self._padded)])
            chosen = chosen[: len(self._padded)]

            def of(tree):
                return jax.device_put(
                    jax.tree.map(lambda a: a[chosen], tree), self._sharding
                )

            self._state, self._best_params = of(group._state), of(group._best_params)
            self.step = group.step
            # What the others took of the time is theirs.
            self._seconds = group._seconds * len(numbers) / len(group.tasks)
            self.history = [list(group.history[i]) for i in numbers]
            self.best = [group.best[i] for i in numbers]
        else:
            platform = self.mesh.devices.flat[0].platform
            placed = jax.tree.map(lambda s: s.sharding, shapes)
            self._state = run_once(init, platform, placed)
            # The state is donated at each step.
            self._best_params = jax.tree.map(jnp.copy, self._state["params"])

    def _shown_loss(self):
        return float(np.mean(jax.device_get(self._pending[-2:][0])))

    def _evaluate(self):
        monitor = self._options["monitor"]
        losses = np.mean(self._losses, axis=0)
        self._losses = []
        better = np.zeros(len(self._padded), bool)
        for i in range(len(self.tasks)):
            params = jax.tree.map(lambda a, i=i: a[i], self._state["params"])
            metrics = self.lead.evaluate(params, "valid")
            row = {"step": self.step, "loss": float(losses[i])}
            row |= {key: metrics[key] for key in {*_NOTED, monitor}}
            row["seconds"] = self._seconds / len(self.tasks)
            self.history[i].append(row)
            # A diverged member has no value, and never one again.
            value = metrics[monitor] if np.isfinite(losses[i]) else float("-inf")
            if value > self.best[i].value:
                self.best[i], better[i] = Best(self.step, value), True
        self._best_params = _taken(better, self._state["params"], self._best_params)
        values = " ".join(f"{rows[-1][monitor]:.4f}" for rows in self.history)
        logging.info(
            "%s: step %d/%d  loss %.4f  valid %s %s",
            *(self._label, self.step, self._options["steps"], np.nanmean(losses)),
            *(monitor, values),
        )

    def _save(self):
        progress = {
            "history": self.history,
            "losses": self._losses,
            "best": [list(best) for best in self.best],
            "seconds": self._seconds,
        }
        tree = {"state": self._state, "best": self._best_params}
        self._checkpoints.save_last(self.step, tree, progress)


def _one_by_one(function):
    """`jax.vmap` of a function, with one member after the other in one program."""
    return lambda *arguments: jax.lax.map(lambda each: function(*each), arguments)


@jax.jit
def _taken(better, new, old):
    """Per member the new parameters where they are better, else the old ones."""

    def choose(a, b):
        return jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, new, old)
