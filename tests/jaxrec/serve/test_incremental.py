"""One event at a time: equal to whole histories, at constant cost, in plain arrays."""

import jax
import numpy as np
import pytest
import serving_runs

from jaxrec.serve.workdir import load

HISTORY = np.random.default_rng(5).integers(1, 41, 20).tolist()


def raw(numbers):
    return [f"i{n}" for n in numbers]


def same_answer(one, other):
    assert one.ids == other.ids
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-4)


def test_every_prefix_equals_the_whole_history(rec, expected):
    state = rec.start()
    for n, item in enumerate(HISTORY, 1):
        state = rec.observe(state, f"i{item}")
        scores = expected(HISTORY[:n])
        (answer,) = rec.top(state, k=40, exclude_seen=False)
        found = dict(answer)
        np.testing.assert_allclose(
            [found[i] for i in raw(range(1, 41))], scores[1:], rtol=1e-5, atol=1e-5
        )
        same_answer(rec.recommend([raw(HISTORY[:n])], k=10)[0], rec.top(state, 10)[0])


def test_a_new_user_gets_what_an_empty_history_gets(rec, expected):
    (answer,) = rec.top(rec.start(), k=5)
    assert answer.ids == tuple(raw(serving_runs.best(expected([]), 5)))
    same_answer(answer, rec.recommend([[]], k=5)[0])


def test_the_first_event_does_not_see_the_empty_history(rec, expected):
    (answer,) = rec.top(rec.observe(rec.start(), "i3"), k=5)
    assert answer.ids == tuple(raw(serving_runs.best(expected([3]), 5, [3])))


def test_prefill_equals_observing(rec):
    histories = [HISTORY[:n] for n in (0, 3, 20, 9)]
    state = rec.prefill([raw(h) for h in histories])
    for row, history in enumerate(histories):
        one = rec.start()
        for item in history:
            one = rec.observe(one, f"i{item}")
        taken = rec.take(state, [row])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            taken,
            dict(one),
        )
        same_answer(rec.top(state, k=5)[row], rec.top(one, k=5)[0])


def test_a_state_is_of_constant_size(rec):
    def shapes(state):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)

    short = rec.prefill([raw(HISTORY[:1])])
    long = rec.prefill([raw(HISTORY * 20)])
    assert shapes(short) == shapes(long) == shapes(rec.start())
    before = rec.compiled
    rec.observe(short, "i1")
    rec.observe(long, "i1")
    assert rec.compiled - before <= 1  # the same program for both


def test_what_is_seen_is_exact_after_any_number_of_events(rec):
    state = rec.prefill([raw([7] + [8, 9] * 200)])
    (answer,) = rec.top(state, k=40)
    assert set(answer.ids) == set(raw(range(1, 41))) - {"i7", "i8", "i9"}


def test_both_in_one_call(rec):
    state = rec.prefill([raw(HISTORY)])
    two_calls = rec.top(rec.observe(state, "i9"), k=7)[0]
    new, (answer,) = rec.observe_and_top(state, "i9", k=7)
    same_answer(answer, two_calls)
    same_answer(rec.top(new, k=7)[0], two_calls)
    kept = rec.observe_and_top(state, "i9", k=40, exclude_seen=False)[1][0]
    assert "i9" in kept.ids


def test_the_old_state_is_still_good(rec):
    state = rec.observe(rec.start(), "i1")
    before = rec.top(state, k=5)
    rec.observe(state, "i2")
    rec.observe_and_top(state, "i3")
    assert rec.top(state, k=5) == before


def test_an_unknown_item_leaves_the_state(rec):
    state = rec.observe(rec.start(), "i1")
    assert rec.observe(state, "x") is state
    new, (answer,) = rec.observe_and_top(state, "y", k=5)
    assert new is state
    assert answer.unknown == ("y",)
    same_answer(answer, rec.top(state, k=5)[0])
    assert rec.unknown == 2


def test_several_users_at_once(rec):
    state = rec.prefill([raw(HISTORY[:n]) for n in (2, 0, 5)])
    new, answers = rec.observe_and_top(state, ["i1", "x", 3], k=4)
    assert [a.unknown for a in answers] == [(), ("x",), ("3",)]
    alone = rec.top(rec.observe(rec.prefill([raw(HISTORY[:2])]), "i1"), k=4)
    same_answer(answers[0], alone[0])
    same_answer(answers[1], rec.top(rec.start(), k=4)[0])
    same_answer(answers[2], rec.top(state, k=4)[2])
    for one, other in zip(rec.top(new, k=4), answers, strict=True):
        same_answer(one, other)


def test_states_are_plain_arrays(rec, run, tmp_path):
    state = rec.prefill([raw(HISTORY), raw(HISTORY[:3])])
    arrays = rec.to_arrays(state)
    assert {type(a) for a in arrays.values()} == {np.ndarray}
    np.savez(tmp_path / "state.npz", **arrays)
    another = load(run[0], lengths=(4,))
    with np.load(tmp_path / "state.npz") as stored:
        back = another.from_arrays(stored)
    for one, other in zip(another.top(back, k=5), rec.top(state, k=5), strict=True):
        same_answer(one, other)


def test_take_and_put(rec):
    state = rec.prefill([raw(HISTORY[:n]) for n in (1, 2, 3, 4)])
    before = rec.top(state, k=5)
    taken = rec.take(state, [3, 1])
    assert [a.ids for a in rec.top(taken, k=5)] == [before[3].ids, before[1].ids]
    swapped = rec.put(state, [1, 3], taken)
    assert [a.ids for a in rec.top(swapped, k=5)] == [
        before[i].ids for i in (0, 3, 2, 1)
    ]


def other_width(state):
    return state | {"hidden": np.zeros((1, 8), np.float32)}


def other_batch(state):
    return state | {"hidden": np.repeat(state["hidden"], 2, 0)}


def other_names(state):
    return {"hidden": state["hidden"]}


def other_type(state):
    return state | {"seen": state["seen"].astype(np.int32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_width, r"state\['hidden'\]: .*\['users', 16\], got float32\[1, 8\]"),
        (other_batch, r"state\['model'\]: .* got float32\[1, 1, 2, 32\]"),
        (other_names, r"arrays \['hidden', 'model', 'seen'\], got \['hidden'\]"),
        (other_type, r"state\['seen'\]: .* uint32\['users', 2\], got int32\[1, 2\]"),
        (lambda state: 5, "got int"),
        (lambda state: None, "got NoneType"),
    ],
)
def test_the_state_of_another_model(rec, change, message):
    state = change(rec.start())
    for call in (
        lambda: rec.observe(state, ["i1"] * 2 if change is other_batch else "i1"),
        lambda: rec.observe_and_top(state, ["i1"] * 2 if change is other_batch else 1),
        lambda: rec.take(state, [0]),
        lambda: rec.put(rec.start(), [0], state),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["i1"], "items: want one per user, got 1 for 2 users"),
        ("i1", "items: want one per user, got 1 for 2 users"),
        (["i1", "i2", "i3"], "items: want one per user, got 3 for 2 users"),
        (["i1", 2.5], "an item id is a string or an integer, got 2.5"),
        (2.5, "items: want one item id per user, got 2.5"),
        (b"i1", "items: want one item id per user, got b'i1'"),
    ],
)
def test_items_that_do_not_fit_the_state(rec, items, message):
    with pytest.raises(ValueError, match=message):
        rec.observe(rec.start(2), items)


@pytest.mark.parametrize("batch", [0, -1, 2.0, "2", True])
def test_impossible_batch(rec, batch):
    with pytest.raises(ValueError, match="batch: want an integer of 1 or more, got"):
        rec.start(batch)


def test_stored_arrays_of_another_model(rec):
    arrays = rec.to_arrays(rec.start(2))
    with pytest.raises(ValueError, match=r"missing: \['seen'\]"):
        rec.from_arrays({name: arrays[name] for name in ("hidden", "model")})
    with pytest.raises(ValueError, match=r"state\['hidden'\]: this model has"):
        rec.from_arrays(arrays | {"hidden": np.zeros((2, 3), np.float32)})
