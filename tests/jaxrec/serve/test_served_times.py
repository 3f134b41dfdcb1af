"""Serving a model that reads when events were."""

import json
import re

import jax
import numpy as np
import pytest
import serving_runs

from jaxrec import recommend
from jaxrec.core.checkpoint import Checkpoints
from jaxrec.core.time_bias import with_next
from jaxrec.models import config_of_run, hstu
from jaxrec.serve import portable
from jaxrec.serve.workdir import load

LENGTH, ITEMS = 6, serving_runs.ITEMS
MODEL = {"name": "hstu", "dim": 8, "blocks": 2, "dim_qk": 3, "dim_v": 4, "times": True}
RNG = np.random.default_rng(6)
HISTORY = RNG.integers(1, ITEMS + 1, 15).tolist()
# Across the border of int32, and seconds to months apart.
GAPS = np.exp(RNG.uniform(0, 16, 15)).astype(np.int64)
TIMES = (2**31 - 4_000_000 + np.cumsum(GAPS)).tolist()


def raw(numbers):
    return [f"i{n}" for n in numbers]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A working directory, and a function from items and times to scores."""
    workdir = tmp_path_factory.mktemp("times") / "run"
    config = {"model": MODEL, "batch": {"length": LENGTH}, "data": {}}
    cfg = config_of_run(config, ITEMS)
    leaves, structure = jax.tree.flatten(hstu.init(jax.random.key(3), cfg))
    rng = np.random.default_rng(1)
    params = structure.unflatten(
        [a + rng.normal(0, 0.5, a.shape).astype(np.float32) for a in leaves]
    )
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(config))
    np.savez(workdir / "ids.npz", item_ids=serving_runs.item_ids())
    checkpoints = Checkpoints(workdir)
    checkpoints.save_best(7, params, {})
    checkpoints.close()
    encode = jax.jit(hstu.encode, static_argnums=1)

    def scores(history, times):
        ids, when = np.zeros((2, 1, LENGTH), np.int64)
        n = min(len(history), LENGTH)
        if n:
            ids[0, -n:], when[0, -n:] = history[-n:], times[-n:]
            when[0] -= times[0]  # Only differences count.
        ids, when = ids.astype(np.int32), when.astype(np.int32)
        hidden = encode(params, cfg, ids, times=with_next(when))[:, -1]
        return np.asarray(hstu.score(params, cfg, hidden))[0]

    return workdir, scores


@pytest.fixture(scope="module")
def rec(made):
    return load(made[0], lengths=(4,))


def check(answer, scores, history, k=5):
    best = serving_runs.best(scores, k, history)
    assert answer.ids == tuple(raw(best))
    np.testing.assert_allclose(answer.scores, scores[best], rtol=1e-4, atol=1e-4)


def test_every_prefix_inside_and_beyond_the_window(rec, made):
    assert TIMES[0] < 2**31 < TIMES[-1] and rec.times
    state = rec.start()
    check(rec.top(state, k=5)[0], made[1]([], []), [])
    for n, (item, time) in enumerate(zip(HISTORY, TIMES, strict=True), 1):
        state, (answer,) = rec.observe_and_top(state, f"i{item}", k=5, times=time)
        wanted = made[1](HISTORY[:n], TIMES[:n])
        given = ([raw(HISTORY[:n])],)
        check(answer, wanted, HISTORY[:n])
        whole = rec.recommend(*given, k=5, times=[TIMES[:n]])
        check(whole[0], wanted, HISTORY[:n])
        filled = rec.top(rec.prefill(*given, times=[TIMES[:n]]), k=5)
        check(filled[0], wanted, HISTORY[:n])
    # At other times the answer is another.
    other = rec.recommend(*given, k=5, times=[[7] * n])[0]
    assert other.scores != pytest.approx(answer.scores, abs=0.01)


def test_unknown_items_go_with_their_times(rec, made):
    history = ["x", *raw(HISTORY[:2]), "y", *raw(HISTORY[2:4])]
    times = [0, *TIMES[:2], 5, *TIMES[2:4]]
    (answer,) = rec.recommend([iter(history)], k=5, times=[np.array(times)])
    check(answer, made[1](HISTORY[:4], TIMES[:4]), HISTORY[:4])
    assert answer.unknown == ("x", "y")


def test_many_users_in_a_pool(rec, made):
    lengths = (0, 2, 6, 11)
    histories, times = ([a[:n] for n in lengths] for a in (HISTORY, TIMES))
    pool = rec.prefill([raw(h) for h in histories], times=times)
    now = [t + 5 for t in range(TIMES[-1], TIMES[-1] + 4)]
    items, slots = ["i7", "x", "i8", "i9"], [3, 0, 1, 2]
    pool, answers = rec.observe_and_top(pool, items, k=5, slots=slots, times=now)
    for item, slot, time, answer in zip(items, slots, now, answers, strict=True):
        if item != "x":
            histories[slot], times[slot] = (
                [*histories[slot], int(item[1:])],
                [*times[slot], time],
            )
        check(answer, made[1](histories[slot], times[slot]), histories[slot])
    pool = rec.observe(pool, ["i3", "i4"], slots=[2, 1], times=[now[3] + 9, now[2]])
    for slot, item, time in ((2, 3, now[3] + 9), (1, 4, now[2])):
        history, when = [*histories[slot], item], [*times[slot], time]
        (answer,) = rec.top(rec.take(pool, [slot]), k=5)
        check(answer, made[1](history, when), history)


def test_what_is_warm_compiles_no_more(made):
    rec = load(made[0], lengths=(4,))
    assert rec.warm(k=5, users=(1,), pools=(2,)) > 0
    before = rec.compiled
    state = rec.observe(rec.start(), "i1", times=5)
    rec.observe_and_top(state, "i2", k=5, times=9)
    rec.recommend([raw(HISTORY)], k=5, times=[TIMES])
    rec.observe(rec.start(2), ["i1"], slots=[0], times=[4])
    assert rec.compiled == before


def test_the_portable_file(rec, made, tmp_path, capsys):
    rec.export(tmp_path / "file")
    read = portable.load(tmp_path / "file")
    for n in (0, 3, 15):
        (answer,) = read.recommend([raw(HISTORY[:n])], k=5, times=[TIMES[:n]])
        check(answer, made[1](HISTORY[:n], TIMES[:n]), HISTORY[:n])
    state = read.observe(
        read.prefill([raw(HISTORY[:2])], times=[TIMES[:2]]), raw(HISTORY[2:3]),
        times=TIMES[2:3],
    )  # fmt: skip
    check(read.top(state, k=5)[0], made[1](HISTORY[:3], TIMES[:3]), HISTORY[:3])
    with pytest.raises(ValueError, match="times: this model was trained with times"):
        read.recommend([["i1"]])
    # At a shell.
    text = [f"--history={' '.join(raw(HISTORY[:3]))}", "--k=1"]
    file = f"--portable={tmp_path / 'file'}"
    when = f"--times={' '.join(map(str, TIMES[:3]))}"
    assert recommend.main([file, *text, when]) == 0
    (best,) = serving_runs.best(made[1](HISTORY[:3], TIMES[:3]), 1, HISTORY[:3])
    assert re.search(rf"^ *1 +i{best} ", capsys.readouterr().out, re.MULTILINE)
    for wrong, message in (
        ([], "times: this model was trained with times"),
        (["--times=1 2 now"], r"times\[0\]: want 3 whole seconds"),
    ):
        assert recommend.main([file, *text, *wrong]) == 2
        assert re.search(message, capsys.readouterr().err)
    with pytest.raises(SystemExit):
        recommend.main([f"--workdir={made[0]}", "--user=1", when])
    assert "--times is for --history" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (None, "times: this model was trained with times and wants to know when"),
        (5, "times: want 2 lists of seconds, got 5"),
        ([[5]], r"times: want 2 lists of seconds, got \[\[5\]\]"),
        ([[5], 5], r"times\[1\]: want 2 whole seconds, one per item id, got 5"),
        ([[5], [5]], r"times\[1\]: want 2 whole seconds, one per item id, got \[5"),
        ([[5], [5, 6.5]], r"times\[1\]: want 2 whole seconds, .* got \[5, 6.5\]"),
        ([[5], [5, "6"]], r"times\[1\]: want 2 whole seconds, .* got \[5, '6'\]"),
        ([[5], [5, 2**31 + 5]], r"times\[1\]: more than 2147483647 seconds \(68 y"),
    ],
)
def test_times_that_do_not_fit_the_histories(rec, times, message):
    for method in (rec.recommend, rec.prefill):
        with pytest.raises(ValueError, match=message):
            method([["i1"], ["i1", "x"]], times=times)


def test_times_that_do_not_fit_the_events(rec):
    for method in (rec.observe, rec.observe_and_top):
        for times, message in (
            (None, "times: this model was trained with times"),
            ([5], r"times: want 2 whole seconds, one per item id, got \[5\]"),
            (5, "times: want 2 whole seconds, one per item id, got 5"),
        ):
            with pytest.raises(ValueError, match=message):
                method(rec.start(2), ["i1", "i2"], times=times)


def test_a_model_without_times(shared):
    state = shared.start()
    for call in (
        lambda: shared.recommend([["i1"]], times=[[1]]),
        lambda: shared.prefill([["i1"]], times=[[1]]),
        lambda: shared.observe(state, "i1", times=1),
        lambda: shared.observe_and_top(state, "i1", times=1),
    ):
        with pytest.raises(ValueError, match="this model reads no times; leave them"):
            call()
    assert not shared.times
