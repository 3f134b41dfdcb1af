"""Members trained together end as runs of their own."""

import os
import signal

import jax
import numpy as np
import pytest
from tiny_study import tasks_of, tiny_study

from jaxrec.core.train import Stopped, fit
from jaxrec.study.group import Group

OTHERS = ({}, {"optim.lr": 0.02, "model.dropout": 0.4})


def members(config, **options):
    return tasks_of(config, OTHERS, (1, 2), **options)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize(("mode", "devices"), [("ae", 1), ("ar", 2)])
def test_members_equal_runs_of_their_own(tmp_path, mode, devices):
    config = tiny_study()
    config.run.optim.name = "sgd"  # Adam blows up what rounding does to tiny gradients
    tasks = members(config, mode=mode, devices=devices)[:3]
    group = Group(tasks, tmp_path / "group", "cell")
    group.train(4)
    assert [len(rows) for rows in group.history] == [2] * 3
    for i in (1, 2):
        task = tasks[i]
        train = {"log_every": 1, "eval_first": False, "patience": 0}
        config = {**task.config, "train": {**task.config["train"], **train}}
        alone = fit(task, config, task.mesh, tmp_path / f"alone-{i}")
        assert alone.best_step == group.best[i].step
        assert alone.best_value == pytest.approx(group.value(i), abs=1e-6)
        for one, other in zip(
            leaves(alone.params), leaves(group.best_params(i)), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=2e-6)
    group.close()


def test_resuming_and_being_stopped_are_exact(tmp_path):
    tasks = members(tiny_study())[1:]
    whole = Group(tasks, tmp_path / "whole", "cell")
    whole.train(4)
    make = tasks[0].batch

    def stopping(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return make(step)

    tasks[0].batch = stopping
    with pytest.raises(Stopped):
        stopped = Group(tasks, tmp_path / "stopped", "cell")
        stopped.train(4)
    stopped.close()
    tasks[0].batch = make
    again = Group(tasks, tmp_path / "stopped", "cell")
    assert 0 < again.step < 4
    again.train(4)
    for i in range(3):
        assert again.best[i] == whole.best[i]
        for one, other in zip(whole.history[i], again.history[i], strict=True):
            assert {**one, "seconds": 0} == {**other, "seconds": 0}
        for one, other in zip(
            leaves(whole.best_params(i)), leaves(again.best_params(i)), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    whole.close()
    again.close()


def test_a_part_of_a_group_goes_on_as_the_whole_did(tmp_path):
    tasks = members(tiny_study())
    whole = Group(tasks, tmp_path / "whole", "cell")
    whole.train(2)
    part = Group([tasks[1], tasks[3]], tmp_path / "part", "cell", (whole, [1, 3]))
    whole.train(4)
    part.train(4)
    assert [row["step"] for row in part.history[0]] == [2, 4]
    for i, j in enumerate((1, 3)):
        assert part.value(i) == pytest.approx(whole.value(j), abs=1e-6)
    whole.close()
    part.close()


def test_a_member_that_diverges_has_no_value(tmp_path):
    tasks = tasks_of(tiny_study(), ({}, {"optim.lr": 1e30}), (1,))
    group = Group(tasks, tmp_path, "cell")
    group.train(4)
    assert group.value(0) > 0
    assert group.best[1].step in (-1, 2)
    group.close()


def test_what_a_group_cannot_do_is_refused(tmp_path):
    (task,) = tasks_of(tiny_study(), ({},), (1,))
    task.config["parallel"]["mode"] = "pmap"
    with pytest.raises(ValueError, match="parallel.model=1 and mode=jit"):
        Group([task], tmp_path, "cell")
    task.config["parallel"]["mode"] = "jit"
    task.config["optim"]["lr"] = 0.0
    with pytest.raises(ValueError, match="optim.lr: want above 0"):
        Group([task], tmp_path, "cell")
