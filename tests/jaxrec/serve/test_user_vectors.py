"""Serving a model with user vectors: each user is answered with its own."""

import json

import jax
import numpy as np
import pytest
import serving_runs

from jaxrec.core.checkpoint import Checkpoints
from jaxrec.models import config_of_run, sar
from jaxrec.serve import portable
from jaxrec.serve.ids import UserIds
from jaxrec.serve.recommender import Recommender
from jaxrec.serve.workdir import load

LENGTH, ITEMS = 6, serving_runs.ITEMS
HISTORY = np.random.default_rng(6).integers(1, ITEMS + 1, 15).tolist()
NUMBERS = {"ann": 1, "bob": 2, "7": 0}  # "7" had no target in training
MODEL = {"name": "sar", "dim": 8, "blocks": 1, "users": True}


def raw(numbers):
    return [f"i{n}" for n in numbers]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A working directory, and a function from history and number to scores."""
    workdir = tmp_path_factory.mktemp("users") / "run"
    config = {"model": MODEL, "batch": {"length": LENGTH}, "data": {}}
    cfg = config_of_run(config, ITEMS, len(NUMBERS))
    params = sar.init(jax.random.key(3), cfg)
    for name in ("table", "user"):
        leaf = params["embedding"][name]
        spread = jax.random.normal(jax.random.key(4), leaf.shape)
        params["embedding"][name] = spread
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(config))
    np.savez(
        workdir / "ids.npz",
        item_ids=serving_runs.item_ids(),
        user_ids=np.array(list(NUMBERS)),
        user_numbers=np.array(list(NUMBERS.values()), np.int32),
    )
    checkpoints = Checkpoints(workdir)
    checkpoints.save_best(7, params, {})
    checkpoints.close()
    encode = jax.jit(sar.encode, static_argnums=1)

    def scores(history, number):
        ids = np.zeros((1, LENGTH), np.int32)
        seen = history[-LENGTH:]
        ids[0, LENGTH - len(seen) :] = seen
        hidden = encode(params, cfg, ids, users=np.full_like(ids, number))[:, -1]
        return np.asarray(sar.score(params, cfg, hidden))[0]

    return workdir, scores


@pytest.fixture(scope="module")
def rec(made):
    return load(made[0], lengths=(4,))


def check(answer, scores, history):
    best = serving_runs.best(scores, 5, history)
    assert answer.ids == tuple(raw(best))
    np.testing.assert_allclose(answer.scores, scores[best], rtol=1e-4, atol=1e-4)


def test_whole_histories(rec, made):
    scores, before = made[1], rec.unknown
    users = ["bob", "ann", "zoe", 7, None, "ann"]
    lengths = (0, 3, 3, 3, 3, 15)
    answers = rec.recommend([raw(HISTORY[:n]) for n in lengths], k=5, users=users)
    for user, n, answer in zip(users, lengths, answers, strict=True):
        history = HISTORY[:n]
        check(answer, scores(history, NUMBERS.get(user, 0)), history)
        assert answer.unknown_user == {"zoe": "zoe", 7: "7"}.get(user, "")
    assert rec.unknown == before + 2
    assert len({answer.ids for answer in answers[1:3]}) == 2
    # Without users all are unknown.
    assert rec.recommend([raw(HISTORY[:3])], k=5)[0].ids == answers[4].ids


def test_one_event_at_a_time(rec, made):
    scores, users = made[1], ["ann", None, "bob"]
    numbers = (1, 0, 2)
    state = rec.start(users=users)
    for n in range(LENGTH + 3):
        whole = rec.prefill([raw(HISTORY[:n])] * 3, users=users)
        answers = (rec.top(state, k=5), rec.top(whole, k=5))
        for found in answers:
            for number, answer in zip(numbers, found, strict=True):
                check(answer, scores(HISTORY[:n], number), HISTORY[:n])
        state = rec.observe(state, raw(HISTORY[n : n + 1]) * 3)
    # A user who takes a place in a pool brings the vector along.
    pool = rec.put(rec.start(3), [1], rec.start(users=["bob"]))
    pool, (answer,) = rec.observe_and_top(pool, "i3", k=5, slots=[1])
    check(answer, scores([3], 2), [3])


def test_the_portable_file(rec, made, tmp_path):
    rec.export(tmp_path / "file")
    read = portable.load(tmp_path / "file")
    for n in (0, 3, 15):
        histories, users = [raw(HISTORY[:n])] * 2, ["ann", "no"]
        one, two = read.recommend(histories, k=5, users=users)
        check(one, made[1](HISTORY[:n], 1), HISTORY[:n])
        check(two, made[1](HISTORY[:n], 0), HISTORY[:n])
        assert two.unknown_user == "no"
    read.observe(read.start(users=["ann"]), "i3")


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ("ann", "users: want a list of user ids, got 'ann'"),
        (["ann"], "users: want 2 ids, got 1"),
        (["ann", 1.5], "a user id is a string or an integer, got 1.5 of type float"),
    ],
)
def test_users_that_do_not_fit_the_histories(rec, users, message):
    for method in (rec.recommend, rec.prefill):
        with pytest.raises(ValueError, match=message):
            method([["i1"], ["i2"]], users=users)
    with pytest.raises(ValueError, match="users: want one or more ids, got 0"):
        rec.start(users=[])
    with pytest.raises(ValueError, match="users: want 3 ids, got 1"):
        rec.start(3, users=["ann"])


def test_unknown_users_may_be_refused(rec):
    engine = rec._engine
    rec = Recommender(engine.backbone, rec.ids, rec.users, on_unknown="raise")
    with pytest.raises(ValueError, match="unknown user id 'zoe'"):
        rec.recommend([[]], users=["zoe"])


def test_a_model_without_user_vectors(shared):
    for call in (
        lambda: shared.recommend([["i1"]], users=["u1"]),
        lambda: shared.prefill([["i1"]], users=["u1"]),
        lambda: shared.start(users=["u1"]),
    ):
        with pytest.raises(ValueError, match="this model has no user vectors; leave"):
            call()
    users = UserIds(np.array(["u1"]), np.array([1], np.int32))
    with pytest.raises(ValueError, match="vectors of 0 users, but there are 1 user"):
        Recommender(shared._engine.backbone, shared.ids, users)


def test_a_run_without_the_numbers_of_its_users(made, tmp_path):
    for name in ("config.json", "checkpoints"):
        (tmp_path / name).symlink_to(made[0] / name)
    np.savez(tmp_path / "ids.npz", item_ids=serving_runs.item_ids())
    with pytest.raises(ValueError, match=r"ids\.npz: .*user_ids"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("ids", "numbers", "message"),
    [
        (["a", "a"], [1, 2], "user_ids has an id twice"),
        (["a", "b"], [1], r"the same shape \(users,\), got \(2,\) and \(1,\)"),
    ],
)
def test_maps_that_do_not_fit(ids, numbers, message):
    with pytest.raises(ValueError, match=message):
        UserIds(np.array(ids), np.array(numbers, np.int32))
