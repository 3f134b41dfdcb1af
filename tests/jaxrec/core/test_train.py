import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from toy_task import CONFIG, ToyTask, train

from jaxrec.core import parallel
from jaxrec.core.checkpoint import Checkpoints
from jaxrec.core.metrics import read_metrics
from jaxrec.core.optim import make_optimiser
from jaxrec.core.train import NonFiniteLossError, Stopped
from tests.xla_flags import flags


def record(workdir):
    """Everything a run writes that does not depend on the clock."""
    return [
        {k: v for k, v in row.items() if not k.startswith("time/")}
        for row in read_metrics(workdir)
    ]


def state(workdir):
    """All arrays of the last checkpoint, as bytes by path."""
    task = ToyTask()
    optimiser = make_optimiser(CONFIG["optim"], 40, task.decayed)

    def init():
        params = task.init(jax.random.key(0))
        return {
            "params": params,
            "opt": optimiser.init(params),
            "step": jax.numpy.zeros((), jax.numpy.int32),
        }

    shapes = jax.eval_shape(init)
    placed = parallel.shardings(
        parallel.make_mesh(devices=jax.devices()[:1]), shapes, ()
    )
    abstract = jax.tree.map(
        lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), shapes, placed
    )
    restored = Checkpoints(workdir).restore_last(abstract)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(restored.tree)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped."""
    workdir = tmp_path_factory.mktemp("whole")
    train(workdir)
    return workdir


def test_a_step_is_compiled_once_whatever_init_returns(tmp_path):
    """A Python number makes a weakly typed leaf, which no step returns."""

    class Weak(ToyTask):
        traced = 0

        def init(self, key):
            return super().init(key) | {"bias": jax.numpy.array(0.25)}

        def loss(self, params, batch, key):
            assert not params["bias"].aval.weak_type
            Weak.traced += 1
            return super().loss(params, batch, key)

    assert jax.eval_shape(Weak().init, jax.random.key(0))["bias"].weak_type
    train(tmp_path, Weak(), steps=3)
    assert Weak.traced == 1


class Crash(Exception):
    pass


@pytest.mark.parametrize("at", [1, 13, 24])
def test_a_crashed_run_goes_on_as_if_never_stopped(tmp_path, whole, at):
    def crash(step):
        if step == at:
            raise Crash

    with pytest.raises(Crash):
        train(tmp_path, ToyTask(crash))
    fitted = train(tmp_path)
    assert fitted.steps == 40
    assert record(tmp_path) == record(whole)
    assert state(tmp_path) == state(whole)


@pytest.mark.parametrize(
    ("at", "number"),
    [(3, signal.SIGTERM), (16, signal.SIGTERM), (16, signal.SIGINT)],
)
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, whole, at, number):
    def stop(step):
        if step == at:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        train(tmp_path, ToyTask(stop))
    assert stopped.value.code == 128 + number
    assert signal.getsignal(number) == before
    saved = Checkpoints(tmp_path).last_steps()[-1]
    assert at - 2 <= saved <= at + 1  # Batches are made two steps ahead.
    train(tmp_path)
    assert record(tmp_path) == record(whole)
    assert state(tmp_path) == state(whole)


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal: a program that a shell runs with & ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_interrupt_does_not_wait(tmp_path, monkeypatch):
    """Sent while the first one's save is waited for, it ends the run at once."""
    before = signal.getsignal(signal.SIGINT)
    save = Checkpoints.save_last

    def interrupted(self, step, *rest):
        if signal.getsignal(signal.SIGINT) == before:  # The first has been noted.
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        save(self, step, *rest)

    def interrupt(step):
        if step == 9:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Checkpoints, "save_last", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, ToyTask(interrupt))
    assert signal.getsignal(signal.SIGINT) == before
    assert max(int(p.name) for p in (tmp_path / "checkpoints/last").iterdir()) == 5


def test_kill_at_any_moment(tmp_path, whole):
    """SIGKILL again and again, saves at every step: the end is the same."""
    program = pathlib.Path(__file__).parent / "toy_task.py"
    moments = random.Random(0)
    kills = 0
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, str(program), str(tmp_path)],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "XLA_FLAGS": flags(devices=1), "JAX_PLATFORMS": "cpu"},
        )
        deadline = time.monotonic() + 120
        begun = len(list(tmp_path.glob("checkpoints/last/*")))
        while process.poll() is None and time.monotonic() < deadline:
            steps = [
                int(p.name)
                for p in tmp_path.glob("checkpoints/last/[0-9]*")
                if p.name.isdigit()
            ]
            if max(steps, default=0) > 12 * (kills + 1) or not steps and begun:
                time.sleep(moments.random() * 0.05)
                process.kill()
                break
            time.sleep(0.005)
        if process.wait() == 0:
            break
        kills += 1
    assert kills >= 2
    assert record(tmp_path) == record(whole)
    assert state(tmp_path) == state(whole)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = train(tmp_path)

    def never(step):
        raise AssertionError(f"batch {step} was asked for")

    again = train(tmp_path, ToyTask(never))
    assert again.best_step == first.best_step
    assert again.params["weights"].tobytes() == first.params["weights"].tobytes()


def test_more_steps_go_on_from_the_end(tmp_path):
    train(tmp_path, steps=16)
    fitted = train(tmp_path, steps=40)
    assert fitted.steps == 40


def test_non_finite_loss_stops_and_names_the_step(tmp_path):
    class Explodes(ToyTask):
        def batch(self, step):
            batch = super().batch(step)
            if step == 12:  # the batch of update 13
                batch["x"][0, 0] = np.nan
            return batch

    with pytest.raises(
        NonFiniteLossError, match="loss is nan at step 13 .* step 10 in"
    ):
        train(tmp_path, Explodes())
    assert Checkpoints(tmp_path).last_steps()[-1] == 10


def test_best_is_kept_apart_from_last(tmp_path):
    class Worsens(ToyTask):
        def evaluate(self, params, part):
            super().evaluate(params, part)
            return {"score": [1.0, 3.0, 2.0, 2.5, 3.0][len(self.evaluated) - 1]}

    fitted = train(tmp_path, Worsens())
    assert (fitted.best_step, fitted.best_value) == (16, 3.0)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.best_steps()[-1] == 16
    assert checkpoints.last_steps()[-1] == 40


def test_patience_ends_a_run_early_and_for_good(tmp_path):
    class Flat(ToyTask):
        def evaluate(self, params, part):
            return {"score": 1.0}

    assert train(tmp_path, Flat(), patience=2).steps == 24
    assert train(tmp_path, Flat(), patience=2).steps == 24


def test_unknown_monitor_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="'scor' is no metric .* did you mean 'score'"):
        train(tmp_path, monitor="scor")


def test_training_learns(tmp_path):
    task = ToyTask()
    train(tmp_path, task, steps=240, eval_every=40)
    assert task.evaluated[-1] < task.evaluated[0] / 5


def test_rates_count_every_step(whole):
    for row in read_metrics(whole):
        if row["kind"] == "train":
            ratio = row["time/examples_per_second"] / row["time/steps_per_second"]
            assert ratio == pytest.approx(8)  # examples in every batch
