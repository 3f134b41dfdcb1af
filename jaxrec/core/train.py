"""The one training loop: `fit(task, config, workdir)`.

A task says what is trained: initial parameters, a loss as sums and weights, the batch
of a step, an evaluation. The loop does the rest, in this order at every step: update,
log, evaluate and keep the best, save, and stop if asked to. Everything that decides
later steps is in the checkpoint, so a run that was killed and started again ends with
the same bits as one that was not (on a CPU; accelerators add up in their own order).
"""

import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxrec.core import parallel
from jaxrec.core.allocator import release_unused_memory
from jaxrec.core.checkpoint import Checkpoints, CheckpointSaveError
from jaxrec.core.config import did_you_mean
from jaxrec.core.metrics import MetricWriter
from jaxrec.core.once import run_once
from jaxrec.core.optim import make_optimiser
from jaxrec.core.plots import plot_learning_curve
from jaxrec.core.progress import ProgressLine, parameter_table
from jaxrec.core.signals import Signals

_PLOT_SECONDS = 30  # between two drawings of the learning curve, half a second each


class Task(Protocol):
    """What `fit` trains."""

    rules: parallel.Rules
    loss_label: str  # of the learning curve: what the loss is and its unit

    def init(self, key: jax.Array) -> Any:
        """Initial parameters; traced, so that they are born where they belong."""

    def furnish(self, params: Any) -> Any:
        """Initial parameters with what is given and not drawn in its place; arrays
        that a trace would have to carry as constants."""

    def loss(self, params: Any, batch: Any, key: jax.Array) -> parallel.Sums:
        """Sums and weights over the rows of `batch`; "loss" is what is minimised."""

    def batch(self, step: int) -> Mapping[str, np.ndarray]:
        """The global batch of a 0-based step, a pure function of the step."""

    def examples(self, batch: Mapping[str, np.ndarray]) -> int:
        """What the rate counts in a batch, such as its targets."""

    def decayed(self, path: tuple[str, ...]) -> bool:
        """Whether weight decay applies to the parameter at `path`."""

    def frozen(self, path: tuple[str, ...]) -> bool:
        """Whether training leaves the parameter at `path` as it is."""

    def evaluate(self, params: Any, part: str) -> dict[str, float]:
        """Metrics of a part of the data, "valid" or "test"."""


class Fitted(NamedTuple):
    """What training leaves: the best parameters by validation, and where they were."""

    params: Any
    best_step: int
    best_value: float
    steps: int


class NonFiniteLossError(ArithmeticError):
    """The loss was NaN or infinite at a step."""


class Stopped(SystemExit):
    """The run was asked to stop and saved its state; the same command goes on."""


def fit(
    task: Task, config: Mapping[str, Any], mesh: jax.sharding.Mesh, workdir: Path
) -> Fitted:
    """Trains, or goes on with, the run in `workdir`.

    Args:
      task: what to train.
      config: the whole configuration; reads seed, optim, train and parallel.
      mesh: from `parallel.make_mesh`.
      workdir: gets checkpoints/, metrics.jsonl, TensorBoard events, learning_curve.png.

    Raises:
      NonFiniteLossError: naming the step; nothing of that step is saved.
      Stopped: after SIGTERM (exit status 143) or Ctrl-C (130), with the state saved; a
        second Ctrl-C interrupts at once.
      CheckpointSaveError: the last state of the run could not be saved.
      ValueError: the workdir holds a run of another architecture.
    """
    run = _Run(task, config, mesh, workdir)
    try:
        return run.fit()
    finally:
        run.close()


class _Run:
    def __init__(self, task, config, mesh, workdir):
        for name in ("steps", "log_every", "eval_every", "save_every"):
            if config["train"][name] < 1:
                raise ValueError(
                    f"train.{name}: want 1 or more, got {config['train'][name]}"
                )
        self.task, self.config, self.mesh = task, config, mesh
        self.workdir, self.options = Path(workdir), config["train"]
        self.optimiser = make_optimiser(
            config["optim"], self.options["steps"], task.decayed, task.frozen
        )
        self.checkpoints = Checkpoints(workdir)
        self.writer = MetricWriter(workdir)
        self.best = {"step": -1, "value": float("-inf"), "bad": 0}
        self.pending: list[tuple[int, Any]] = []  # (step, report) not logged yet
        self.line: ProgressLine | None = None
        self.evaluated = False
        self.plotted = time.monotonic()

    def fit(self) -> Fitted:
        state, step, finished = self._restore()
        if not finished:
            self.line = ProgressLine(step, self.options["steps"])
            with Signals() as stop:
                state, step = self._loop(state, step, stop)
        self._plot()
        restored = self.checkpoints.restore_best(self._abstract(state["params"]))
        return Fitted(restored.tree, restored.step, self.best["value"], step)

    def close(self) -> None:
        if self.line is not None:
            self.line.close()
        self.writer.close()
        self.checkpoints.close()

    def _restore(self):

        def key(number):
            return jax.random.fold_in(jax.random.key(self.config["seed"]), number)

        def init():
            # No weak types: a step's results have none, and it would compile twice.
            params = jax.tree.map(
                lambda a: jax.lax.convert_element_type(a, a.dtype),
                self.task.init(key(0)),
            )
            opt = self.optimiser.init(params)
            return {"params": params, "opt": opt, "step": jnp.zeros((), jnp.int32)}

        shapes = jax.eval_shape(init)
        placed = parallel.shardings(self.mesh, shapes, self.task.rules)
        abstract = jax.tree.map(
            lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p),
            shapes,
            placed,
        )
        restored = self.checkpoints.restore_last(abstract)
        platform = self.mesh.devices.flat[0].platform
        self.key = run_once(lambda: key(1), platform)
        if restored is None:
            logging.info("Parameters:\n%s", parameter_table(shapes["params"]))
            self.checkpoints.rewind(0)  # A best without a last: killed before its save.
            self.writer.resume(-1)
            state = run_once(init, platform, placed)
            state["params"] = self.task.furnish(state["params"])
            release_unused_memory()  # of the compiler
            return state, 0, False
        self.best = restored.progress["best"]
        self.pending = [(s, r) for s, r in restored.progress["pending"]]
        self.checkpoints.rewind(restored.step)
        self.writer.resume(restored.step)
        finished = restored.progress["early"] or restored.step >= self.options["steps"]
        logging.info(
            "Already trained to step %d" if finished else "Resuming at step %d",
            restored.step,
        )
        return restored.tree, restored.step, finished

    def _abstract(self, params):
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding),
            params,
        )

    def _loop(self, state, start, stop):
        options = self.options
        step_fn = parallel.make_step(
            self.task.loss,
            self.optimiser,
            self.mesh,
            mode=self.config["parallel"]["mode"],
            micro=parallel.micro_batches(self.config["parallel"]["micro"]),
        )
        line = self.line
        if start == 0 and options["eval_first"]:
            self._evaluate(state["params"], 0)
        step = start
        for batch, examples in prefetched(
            self.task, self.mesh, start, options["steps"]
        ):
            state, report = step_fn(state, batch, self.key)
            step += 1
            if step == start + 1:
                release_unused_memory()  # of the compiler
            self.pending.append((step, report))
            last = step == options["steps"]
            # Of the step before, if not logged yet: asking does not wait for this one.
            line.update(step, examples, lambda: float(self.pending[-2:][0][1]["loss"]))
            if step % options["log_every"] == 0 or last:
                self._log(step)
            early = False
            if step % options["eval_every"] == 0 or last:
                self._check()
                line.pause()
                early = self._evaluate(state["params"], step)
                line.resume()
            asked = stop.asked(step, options["log_every"])
            if step % options["save_every"] == 0 or last or early or asked:
                self._save(state, step, early, must=last or early or asked)
            if asked and not (last or early):
                logging.warning(
                    "Stopped at step %d, state saved; the same command goes on", step
                )
                raise Stopped(128 + (stop.received or signal.SIGTERM))
            if early:
                break
        return state, step

    def _fetch(self):
        """Brings reports that are still on the device to the host, as plain floats."""
        self.pending = [
            (int(s), {k: float(v) for k, v in r.items()})
            for s, r in jax.device_get(self.pending)
        ]

    def _check(self):
        self._fetch()
        for step, report in self.pending:
            if not np.isfinite(report["loss"]):
                raise NonFiniteLossError(
                    f"loss is {report['loss']} at step {step} (gradient norm "
                    f"{report['grad_norm']}); the newest sound state is step "
                    f"{(self.checkpoints.last_steps() or [0])[-1]} in {self.workdir}. "
                    "Lower optim.lr or set optim.clip_norm."
                )

    def _log(self, step):
        self._check()
        reports = [report for _, report in self.pending]
        means = {k: float(np.mean([r[k] for r in reports])) for k in reports[-1]}
        self._write(step, "train", {**means, **self.line.rates()})
        self.pending = []

    def _evaluate(self, params, step) -> bool:
        """Evaluates, keeps the best; whether patience has run out."""
        monitor, patience = self.options["monitor"], self.options["patience"]
        metrics = self.task.evaluate(params, "valid")
        if not self.evaluated:
            self.evaluated = True
            release_unused_memory()  # of the compiler
        self._write(step, "valid", metrics)
        if monitor not in metrics:
            raise ValueError(
                f"train.monitor: {monitor!r} is no metric of this task"
                f"{did_you_mean(monitor, metrics)}"
            )
        value = metrics[monitor]
        better = value > self.best["value"]
        logging.info(
            "step %d  valid %s %.5f%s",
            step,
            monitor,
            value,
            "  (best)" if better else "",
        )
        if better:
            self.best = {"step": step, "value": value, "bad": 0}
            try:
                self.checkpoints.save_best(step, params, {"metrics": metrics})
            except CheckpointSaveError as error:
                logging.warning("Best parameters of step %d not kept: %s", step, error)
        else:
            self.best = {**self.best, "bad": self.best["bad"] + 1}
        if time.monotonic() - self.plotted > _PLOT_SECONDS:
            self._plot()
        return bool(patience) and self.best["bad"] >= patience

    def _write(self, step, kind, values):
        # Seconds of all cores since the process began, start-up and evaluations too.
        spent = {"time/cpu_seconds": time.process_time()}
        self.writer.write(step, kind, {**values, **spent})

    def _save(self, state, step, early, must):
        self._check()
        progress = {"best": self.best, "early": early, "pending": self.pending}
        try:
            self.checkpoints.save_last(step, state, progress)
        except CheckpointSaveError as error:
            if must:
                raise
            logging.warning("State of step %d not saved, going on: %s", step, error)

    def _plot(self):
        if jax.process_index() == 0:
            # The metric that decides comes first: its best step is marked.
            shown = dict.fromkeys((self.options["monitor"], "ndcg@10"))
            plot_learning_curve(self.workdir, tuple(shown), self.task.loss_label)
        self.plotted = time.monotonic()


def prefetched(
    task: Task, mesh: jax.sharding.Mesh, start: int, stop: int
) -> Iterator[tuple[Any, int]]:
    """Batches of steps [start, stop) on the device, and how many examples each has.

    They are made in a thread of their own, two ahead of what has been taken.
    """

    def make(step):
        batch = task.batch(step)
        return parallel.put_batch(batch, mesh), task.examples(batch)

    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make, s) for s in range(start, min(start + 2, stop))]
        for step in range(start, stop):
            batch = ahead.pop(0).result()
            if step + 2 < stop:
                ahead.append(pool.submit(make, step + 2))
            yield batch
