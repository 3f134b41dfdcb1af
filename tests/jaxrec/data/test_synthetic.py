import dataclasses
import itertools

import numpy as np
import pytest

from jaxrec.data import synthetic
from jaxrec.data.splits import Cases
from jaxrec.data.world import World, WorldConfig

SMALL = dict(
    num_users=1500,
    num_items=120,
    clusters=12,
    memberships=3,
    events_min=8,
    events_max=24,
    successor=0.15,
    noise=0.1,
    stickiness=0.85,
    seed=3,
)


@pytest.fixture(scope="module")
def small():
    return synthetic.load(SMALL)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(small):
    again = synthetic.load(SMALL).sequences
    other = synthetic.load(SMALL | {"seed": 4}).sequences
    for field in ("values", "offsets", "user_ids", "item_ids", "titles"):
        one, two = getattr(small.sequences, field), getattr(again, field)
        assert one.dtype == two.dtype and one.tobytes() == two.tobytes()
    assert other.values.tobytes() != again.values.tobytes()


def test_users_have_the_lengths_asked_for_and_get_no_item_twice(small):
    sequences = small.sequences
    assert sequences.users == 1500 and sequences.items == 120
    assert sequences.values.dtype == np.int32
    assert sequences.values.min() >= 1 and sequences.values.max() <= 120
    assert set(sequences.lengths) == set(range(8, 24 + 1))
    for user in range(sequences.users):
        history = sequences.history(user)
        assert len(set(history.tolist())) == len(history)


def test_the_split_is_leave_one_out_and_titles_name_clusters(small):
    ends = small.sequences.offsets[1:]
    np.testing.assert_array_equal(small.test.position, ends - 1)
    np.testing.assert_array_equal(small.valid.position, ends - 2)
    np.testing.assert_array_equal(small.train_end, ends - 2)
    titles = small.sequences.titles
    assert titles[0] == "" and len(set(titles[1:].tolist())) > 100
    assert titles[1].startswith("clusters ") and ", item " in titles[1]


def test_keys_of_other_data_sets_and_unset_keys_are_not_read():
    config = {"name": "synthetic", "path": "", "core": None, "num_users": None}
    config |= {"num_items": 40, "events_max": 20, "clusters": 4}
    sequences = synthetic.generate(config)
    assert sequences.items == 40 and sequences.users == WorldConfig().num_users


def by_enumeration(world, history):
    """The prediction as a sum over all hidden paths, from the definition."""
    config, v = world.config, world.config.num_items
    clusters = range(config.clusters)

    def emit(cluster, before, item):
        """Probability of `item` after the items `before`, over the unseen ones."""
        weights = (1 - config.successor) * world.emission[:, cluster]
        if before:
            weights[world.follower[before[-1]] - 1] += config.successor
        weights[[x - 1 for x in before]] = 0
        return weights[item - 1] / weights.sum()

    def move(way, old, new):
        stay = config.stickiness * (old == new)
        neighbour = config.drift * (new == (old + way) % config.clusters)
        anywhere = (1 - config.drift) / config.clusters
        return stay + (1 - config.stickiness) * (neighbour + anywhere)

    joint = np.zeros(v)
    for way in (1, -1):
        for path in itertools.product(clusters, repeat=len(history) + 1):
            p = 0.5 / config.clusters
            for t, cluster in enumerate(path):
                p *= move(way, path[t - 1], cluster) if t else 1
                if t < len(history):
                    p *= emit(cluster, history[:t], history[t])
            for item in range(1, v + 1):
                joint[item - 1] += p * emit(path[-1], history, item)
    return joint / joint.sum()


def test_the_filter_equals_the_sum_over_all_hidden_paths():
    config = WorldConfig(
        num_users=3, num_items=7, clusters=3, memberships=2, events_min=5, events_max=5,
        successor=0.2, noise=0.1, stickiness=0.6, drift=0.7,
    )  # fmt: skip
    world = World.make(config)
    sequences = synthetic.generate(dataclasses.asdict(config))
    for length in range(5):
        cases = Cases(np.arange(3), sequences.offsets[:-1] + length)
        ((rows, probability),) = synthetic.predict(world, sequences, cases)
        assert rows == slice(0, 3)
        for user in range(3):
            history = sequences.history(user)[:length].tolist()
            expected = by_enumeration(world, history)
            np.testing.assert_allclose(probability[user], expected, atol=1e-13)


def test_predictions_are_distributions_over_unseen_items(small):
    world = World.make(WorldConfig.from_mapping(SMALL))
    n = 0
    for rows, probability in synthetic.predict(world, small.sequences, small.test):
        np.testing.assert_allclose(probability.sum(1), 1, atol=1e-10)
        for case in range(rows.start, rows.stop):
            user = small.test.user[case]
            seen = small.sequences.history(user)[:-1]
            assert (probability[case - rows.start, seen - 1] == 0).all()
        n += len(probability)
    assert n == 1500


def log_likelihood(config, split, **changed):
    world = World.make(WorldConfig.from_mapping(config))
    other = dataclasses.replace(world.config, **changed)
    world = dataclasses.replace(world, config=other)
    targets = split.sequences.values[split.test.position]
    own = [
        probability[np.arange(len(probability)), targets[rows] - 1]
        for rows, probability in synthetic.predict(world, split.sequences, split.test)
    ]
    return np.log(np.concatenate(own))


@pytest.mark.parametrize(
    "changed", [{"stickiness": 0.5}, {"successor": 0.02}, {"successor": 0.4}]
)
def test_the_generator_obeys_the_true_parameters_better_than_others(small, changed):
    gain = log_likelihood(SMALL, small) - log_likelihood(SMALL, small, **changed)
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


def test_the_direction_of_a_user_is_in_the_generator():
    config = SMALL | {"stickiness": 0.3, "drift": 1.0, "noise": 0.02}
    split = synthetic.load(config)
    gain = log_likelihood(config, split) - log_likelihood(config, split, drift=0.0)
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


def test_the_realised_ceiling_is_its_expectation_up_to_noise(small):
    for part in ("test", "valid"):
        result = synthetic.ceiling(SMALL, small, part)
        for name in ("recall@1", "recall@10", "ndcg@10", "mrr@20"):
            gap = result[name] - result[f"expected_{name}"]
            assert abs(gap) < 4 * result[f"{name}_se"]
            assert result[f"expected_{name}_se"] < result[f"{name}_se"]


def test_the_ceiling_rewards_a_longer_memory(small):
    reached = [
        synthetic.ceiling(SMALL, small, memory=memory)["expected_recall@10"]
        for memory in (1, 2, 4, None)
    ]
    # The expectation under the own, partial belief; less is known, less is expected.
    assert reached == sorted(reached)
    assert reached[0] < 0.85 * reached[-1]


def test_the_ceiling_of_one_cluster_without_structure_is_known():
    # One cluster, no popularity: 30 items, all alike. After t events the target is
    # uniform over the 30 - t others: recall@10 = 10 / (30 - t), t = 6 - 1.
    config = dict(
        num_users=400, num_items=30, clusters=1, memberships=1, zipf=0.0, successor=0.0,
        events_min=6, events_max=6,
    )  # fmt: skip
    result = synthetic.ceiling(config, synthetic.load(config))
    assert result["expected_recall@10"] == pytest.approx(10 / 25)
    assert result["expected_recall@50"] == pytest.approx(1)
    assert result["expected_mrr@5"] == pytest.approx(
        (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 25
    )
    # Every item ties with 24 others: expected rank 12, no hit among 10, one among 20.
    assert result["recall@10"] == 0 and result["recall@20"] == 1
    assert result["ndcg@20"] == pytest.approx(1 / np.log2(12 + 2))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"num_users": 0}, "num_users=0"),
        ({"stickiness": 1.5}, "stickiness=1.5"),
        ({"noise": 0.0}, "noise=0.0"),
        ({"memberships": 33, "clusters": 32}, "memberships=33"),
        ({"events_min": 2}, "events_min=2"),
        ({"events_min": 30, "events_max": 20}, "events_min=30"),
        ({"events_max": 1000, "num_items": 1000}, "events_max=1000"),
        ({"successor": 1.0}, "successor=1.0"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(wrong, field):
    with pytest.raises(ValueError, match=rf"data\.{field} is out of range"):
        synthetic.generate(wrong)


def test_a_split_of_another_world_or_an_unknown_part_is_refused(small):
    with pytest.raises(ValueError, match="120 items of 'synthetic'.* 99 items"):
        synthetic.ceiling(SMALL | {"num_items": 99}, small)
    with pytest.raises(ValueError, match="'train'"):
        synthetic.ceiling(SMALL, small, "train")
