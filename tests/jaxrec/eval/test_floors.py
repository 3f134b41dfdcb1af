import dataclasses
import os
import pathlib

import numpy as np
import pytest
from ranking_worlds import plain_rank, random_lists, split_of

from jaxrec.data import load
from jaxrec.eval import floors

LISTS = random_lists(users=60, items=15, longest=25, seed=4)
SPLIT = split_of(LISTS, 15)


def counts():
    """Popularity (v,) and transitions (v, v) of the training part, by hand."""
    popularity, follows = np.zeros(16), np.zeros((16, 16))
    for items in LISTS:
        training = items[:-2] if len(items) >= 3 else items
        for item in training:
            popularity[item] += 1
        for first, second in zip(training[:-1], training[1:], strict=True):
            follows[first, second] += 1
    return popularity, follows


def expected_ranks(score, part, mask, window, ties, repeat_targets):
    ranks = []
    for items in LISTS:
        if len(items) < 3:
            continue
        place = len(items) - (1 if part == "test" else 2)
        history = items[:place]
        masked = {"all": history, "window": history[-(window or 0) :], "none": []}[mask]
        ranks.append(
            plain_rank(
                score(history[-1]), items[place], list(masked), ties, repeat_targets
            )
        )
    return ranks


PROTOCOLS = [
    ("test", "all", "expected", "keep"),
    ("test", "all", "optimistic", "keep"),
    ("test", "all", "pessimistic", "keep"),
    ("test", "all", "expected", "miss"),
    ("test", "window", "expected", "keep"),
    ("test", "none", "expected", "keep"),
    ("valid", "all", "expected", "keep"),
]


@pytest.mark.parametrize(("part", "mask", "ties", "repeat_targets"), PROTOCOLS)
def test_popularity_ranks_are_those_of_a_sort(part, mask, ties, repeat_targets):
    popularity, _ = counts()
    window = 4 if mask == "window" else None
    got = floors.popularity_ranks(
        SPLIT, part, mask=mask, window=window, ties=ties, repeat_targets=repeat_targets
    )
    expected = expected_ranks(
        lambda context: popularity, part, mask, window, ties, repeat_targets
    )
    np.testing.assert_array_equal(got.rank, expected)
    np.testing.assert_array_equal(got.user, getattr(SPLIT, part).user)


@pytest.mark.parametrize(("part", "mask", "ties", "repeat_targets"), PROTOCOLS)
@pytest.mark.parametrize("equal_counts", ["tied", "popularity"])
@pytest.mark.parametrize("block", [1, 100, 2_000_000])
def test_transition_ranks_are_those_of_a_sort(
    part, mask, ties, repeat_targets, equal_counts, block, monkeypatch
):
    monkeypatch.setattr(floors, "_BLOCK", block)
    popularity, follows = counts()
    behind = popularity / (popularity.max() + 1)

    def score(context):
        row = follows[context]
        return row + (behind if equal_counts == "popularity" else behind * (row == 0))

    window = 4 if mask == "window" else None
    got = floors.transition_ranks(
        SPLIT,
        part,
        mask=mask,
        window=window,
        ties=ties,
        repeat_targets=repeat_targets,
        equal_counts=equal_counts,
    )
    expected = expected_ranks(score, part, mask, window, ties, repeat_targets)
    np.testing.assert_array_equal(got.rank, expected)


def test_counts_are_of_the_training_part_only():
    #                        train         valid test
    split = split_of([np.array([1, 2, 1, 2, 3, 4]), np.array([2, 1])], items=5)
    np.testing.assert_array_equal(
        floors.popularity_counts(split), [0, 2 + 1, 2 + 1, 0, 0, 0]
    )
    starts, items, times = floors.transition_counts(split)
    # 1 -> 2 twice, 2 -> 1 once in each list; nothing leads from one list to the next.
    np.testing.assert_array_equal(starts, [0, 0, 1, 2, 2, 2, 2])
    np.testing.assert_array_equal(items, [2, 1])
    np.testing.assert_array_equal(times, [2, 1 + 1])


def test_no_training_event_at_all_ties_everything():
    split = split_of([np.array([1, 2, 3])], items=5)
    split = dataclasses.replace(split, train_end=split.sequences.offsets[:-1])
    # Items 1 and 2 are seen; 3 is level with 4 and 5.
    assert floors.popularity_ranks(split).rank == [0 + 2 / 2]
    assert floors.transition_ranks(split).rank == [0 + 2 / 2]


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="equal_counts must be one of .* 'half'"):
        floors.transition_ranks(SPLIT, equal_counts="half")
    with pytest.raises(ValueError, match="mask='window' needs a window"):
        floors.popularity_ranks(SPLIT, mask="window")
    with pytest.raises(ValueError, match="ties must be one of"):
        floors.popularity_ranks(SPLIT, ties="random")


# Recall@10 and NDCG@10 on the test part of real data, counted by an independent
# program: users with 3 events or more, all items, the user's earlier ones removed.
MEASURED = {
    "ml100k": (0.0859, 0.0442, 0.1357, 0.0696),
    "beauty": (0.0120, 0.0056, 0.0633, 0.0412),
}


@pytest.mark.parametrize("name", list(MEASURED))
def test_floors_of_real_data_have_the_measured_values(name, tmp_path):
    directory = os.environ.get("JAXREC_DATA_DIR", "")
    if not directory or not pathlib.Path(directory).is_dir():
        pytest.skip("JAXREC_DATA_DIR names no directory with the data sets")
    try:
        split = load({"name": name, "path": directory, "cache": str(tmp_path)})
    except FileNotFoundError as error:
        pytest.skip(f"{name} is not in JAXREC_DATA_DIR: {error}")
    popularity = floors.popularity_ranks(split).summary((10,))
    transitions = floors.transition_ranks(split).summary((10,))
    got = [
        round(row[key], 4)
        for row in (popularity, transitions)
        for key in ("recall@10", "ndcg@10")
    ]
    np.testing.assert_allclose(got, MEASURED[name], atol=1e-9)
