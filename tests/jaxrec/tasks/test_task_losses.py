"""The losses by name: what they are given, where, and what is refused."""

import functools

import jax
import numpy as np
import optax
import pytest
from tiny_runs import WORLD, tiny

from jaxrec.core import parallel
from jaxrec.core.optim import Optimiser
from jaxrec.data import load
from jaxrec.tasks.losses import check_loss, samples_of
from jaxrec.tasks.masked_item import MaskedItem
from jaxrec.tasks.next_item import NextItem
from tests.jaxrec.compiling import quick_jit
from tests.jaxrec.losses.test_negatives import plain_negatives

OPTIONS = tiny().loss.to_dict()


class Bigrams(NextItem):
    """Next items from the last item alone: an encoder that compiles at once."""

    def outputs(self, params, batch, keys):
        return params["embedding"]["table"][batch["tokens"]]


def task_of(name, kind=Bigrams, devices=1, model=1, config="lrurec", **batch):
    config = tiny(config=config, **WORLD)
    config.loss.update({"name": name, "samples": 5})
    config.batch.update(batch)
    mesh = parallel.make_mesh(model, jax.devices()[:devices])
    return kind(config, load(config.data), mesh)


def make_params():
    """A table with rows past the catalogue, which four devices can split."""
    rng = np.random.default_rng(0)
    table, bias = rng.normal(size=(44, 8)), rng.normal(size=44)
    return {"embedding": {"table": np.float32(table)}, "item_bias": np.float32(bias)}


@functools.cache
def trained(devices=1, model=1, micro=1):
    """The first losses of a training on the sum of two losses."""
    names = ("uniform_negatives", "bpr")
    tasks = [task_of(name, Bigrams, devices, model, size=28) for name in names]
    task, optimiser = tasks[0], Optimiser(optax.sgd(3.0), small=100)

    def loss(params, batch, key):
        (one, count), (other, _) = (t.loss(params, batch, key)["loss"] for t in tasks)
        sums = {"loss": (one + other, count)}
        return sums | {names[0]: (one, count), names[1]: (other, count)}

    params = make_params()
    opt = jax.tree.map(np.asarray, optimiser.init(params))
    state = {"params": params, "opt": opt, "step": np.int32(0)}
    state = jax.device_put(state, parallel.shardings(task.mesh, state, task.rules))
    step = parallel.make_step(loss, optimiser, task.mesh, micro=micro)
    # The same batch for all, of rows for eight devices.
    batch = task_of("bpr", Bigrams, devices=8, size=28).batch(0)
    batch = parallel.put_batch(batch, task.mesh)
    reports = []
    for _ in range(3):
        state, report = step(state, batch, jax.random.key(7))
        reports.append([float(report[name]) for name in names])
    return np.array(reports)


@pytest.mark.parametrize(
    "layout",
    [{"devices": 2, "micro": 2}, {"devices": 8}, {"devices": 8, "model": 4}],
    ids=str,
)
def test_negatives_are_the_same_on_every_device_and_in_every_part(layout):
    alone = trained()
    assert (np.abs(np.diff(alone, axis=0)) > 1e-3).all()  # it does train
    np.testing.assert_allclose(trained(**layout), alone, rtol=1e-5)


def plain_bce(hidden, params, labels, drawn):
    """Sum over targets, in numpy."""
    table, bias = params["embedding"]["table"], params["item_bias"]
    scores = hidden @ table.T + bias
    target = np.take_along_axis(scores, labels[..., None], -1)[..., 0]
    each = np.log1p(np.exp(-target))
    each += np.log1p(np.exp(np.take_along_axis(scores, drawn, -1))).mean(-1)
    return each[labels > 0].sum()


def test_targets_of_the_window_are_no_negatives_of_next_items_in_either_layout():
    params, means = make_params(), []
    for layout in ("packed", "padded"):
        task = task_of("bce", layout=layout, size=60)
        assert task.batches.steps_per_epoch == 1  # of the whole data
        batch = task.batch(0)
        labels = batch["labels"]
        drawn = plain_negatives(batch["draws"], labels, batch["segments"], 40, 5)
        hidden = params["embedding"]["table"][batch["tokens"]]
        wanted = plain_bce(hidden, params, labels, drawn)
        got, count = quick_jit(task.loss)(params, batch, jax.random.key(0))["loss"]
        assert float(got) == pytest.approx(float(wanted), rel=1e-5)
        means.append(float(got / count))
    assert means[0] == pytest.approx(means[1], rel=1e-5)


def test_the_target_alone_is_no_negative_of_masked_items():
    task = task_of("bce", MaskedItem, config="bert4rec")
    batch, params = task.batch(0), make_params()
    labels = batch["labels"]
    drawn = plain_negatives(batch["draws"], labels, None, 40, 5)
    hidden = np.ones((*labels.shape, 8), np.float32)
    wanted = plain_bce(hidden, params, labels, drawn)
    loss = quick_jit(functools.partial(task._loss, key=None))
    head = params["embedding"]["table"], params["item_bias"]
    flat = labels.reshape(-1)
    inputs = (hidden.reshape(-1, 8), *head, flat, np.float32(flat > 0))
    assert float(loss(inputs, batch)) == pytest.approx(float(wanted), rel=1e-5)


def test_losses_have_their_own_numbers_of_negatives():
    found = {name: samples_of(OPTIONS | {"name": name}) for name in ("bpr", "gbce")}
    assert found == {"bpr": 1, "gbce": 256}
    assert samples_of(OPTIONS | {"name": "bpr", "samples": 7}) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "bprr"}, "loss.name 'bprr' is unknown; did you mean 'bpr'"),
        ({"negatives": "none"}, "negatives: want popularity or uniform, got 'none'"),
        (
            {"calibration": 0.5},
            "calibration is for gbce, not for softmax .*leave it",
        ),
        ({"name": "bpr", "calibration": 0.5}, "loss.calibration is for gbce, not for"),
        ({"name": "gbce", "mask_hits": True}, "loss.mask_hits is for uniform_negati"),
        (
            {"name": "bpr", "negatives": "uniform"},
            "negatives is for sampled_softmax,",
        ),
        ({"name": "bce", "catalogue_chunk": 9}, "catalogue_chunk is for softmax, not"),
        ({"samples": 9}, "samples is for sampled_softmax, .*, gbce, not for softmax"),
        (
            {"name": "bpr", "samples": -1},
            "loss.samples: want 1 or more, or 0 .* -1",
        ),
        (
            {"name": "gbce"},
            "loss.samples: gbce wants 1 to 39 negatives .* got 256",
        ),
        (
            {"name": "gbce", "samples": 4, "calibration": 1.1},
            "loss.calibration: want 0 to 1, got 1.1",
        ),
    ],
)
def test_what_no_loss_reads_and_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        check_loss(OPTIONS | options, 40)
