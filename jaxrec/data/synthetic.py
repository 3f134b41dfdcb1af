"""A synthetic world of users whose best possible prediction is known.

Every user follows a hidden interest: one of `clusters` groups of items, on a ring.
Before each event but the first the interest stays with probability `stickiness`;
otherwise it moves, with probability `drift` to the next cluster in the user's own
direction (half of the users go round the ring one way, half the other way, each for
good) and else to a cluster drawn uniformly. With z the cluster, the event is item x
with probability proportional to

    w_z(x) = (1 - successor) E_z(x) + successor 1[x follows the previous item]

over the items the user has not had yet: nobody gets an item twice. E_z mixes the
members of the cluster, with Zipf popularity, and a uniform background over all items
(`noise`). An item is a member of `memberships` clusters, so one event does not tell the
interest, several do; and the direction of a user shows only over longer histories.

The hidden state (direction, cluster) moves independently of the items, and each
emission probability depends on the state and on *observed* events only (the items seen
are in the history), so the plain forward algorithm, run with the true parameters, gives
the exact distribution of the next item given the whole history. `ceiling` ranks by it.

Why no recommender does better: given the history, the target is a draw from that
distribution p, whatever else a recommender knows (the training data of other users and
its own random numbers are independent of the draw, because users are independent given
the parameters). A list of k items is right with the probability p(list), largest for
the k most probable items; and the expected NDCG and MRR are sums of p(item at rank r)
times a weight that falls with r, largest when p falls with r too (rearrangement
inequality). Means over finitely many test cases can pass the ceiling by luck; hence the
standard errors, and the expected values beside the realised ones.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import Cases, Split, leave_one_out
from jaxrec.data.world import World, WorldConfig

_BLOCK = 1024  # Cases per block of the filter: bounds its memory, changes no result.


def generate(config: Mapping[str, Any]) -> Sequences:
    """Draws the users' events.

    Args:
        config: Mapping with any of the fields of `WorldConfig`; other keys are not
            read.

    Returns:
        The sequences, with titles such as "clusters 3+11, item 7" (home cluster first,
        popularity place in it) and without times. Same config, same bytes.
    """
    world = World.make(WorldConfig.from_mapping(config))
    config = world.config
    rng = np.random.default_rng([config.seed, 1])
    lengths = rng.integers(config.events_min, config.events_max + 1, config.num_users)
    way = np.where(rng.random(config.num_users) < 0.5, 1, -1)
    cluster = rng.integers(0, config.clusters, config.num_users)
    # Row z of `cumulative` runs from z to z + 1, so one sorted search serves all rows.
    cumulative = np.cumsum(world.emission, 0)
    cumulative = (cumulative / cumulative[-1]).T + np.arange(config.clusters)[:, None]
    cumulative = cumulative.ravel()
    seen = np.zeros((config.num_users, config.num_items + 1), bool)
    events = np.zeros((config.num_users, config.events_max), np.int32)
    for t in range(config.events_max):
        if t:
            cluster = _moved(world.config, rng, cluster, way)
        wanting = np.arange(config.num_users)
        # Drawing again until the item is new is the renormalisation over unseen items.
        while len(wanting):
            level = cluster[wanting] + rng.random(len(wanting))
            found = np.searchsorted(cumulative, level, side="right")
            item = (
                np.minimum(
                    found - cluster[wanting] * config.num_items, config.num_items - 1
                )
                + 1
            )
            if t:
                follows = rng.random(len(wanting)) < config.successor
                item = np.where(follows, world.follower[events[wanting, t - 1]], item)
            new = ~seen[wanting, item]
            events[wanting[new], t] = item[new]
            seen[wanting[new], item[new]] = True
            wanting = wanting[~new]
    return Sequences(
        values=events[np.arange(config.events_max) < lengths[:, None]],
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        user_ids=np.array([f"u{user}" for user in range(1, config.num_users + 1)]),
        item_ids=np.array(
            [""] + [f"i{item}" for item in range(1, config.num_items + 1)]
        ),
        titles=np.array([""] + _titles(world)),
        name="synthetic",
    )


def load(config: Mapping[str, Any]) -> Split:
    """The world's sequences, split leave-one-out; see `generate`."""
    return leave_one_out(generate(config))


def ceiling(
    config: Mapping[str, Any],
    split: Split,
    part: str = "test",
    *,
    ks: tuple[int, ...] = (1, 5, 10, 20, 50),
    memory: int | None = None,
) -> dict[str, float]:
    """What the best possible recommender reaches on the cases of a part.

    Args:
        config: The mapping that `load` or `generate` was given.
        split: Its split.
        part: "test" or "valid".
        ks: List lengths.
        memory: Lets the filter see only the last `memory` events of each history (all
            seen items stay excluded). It is then nearly, not exactly, the best
            predictor of that memory; shows how much a longer memory is worth.

    Returns:
        For each k "recall@k", "ndcg@k" and "mrr@k": means over the cases when the items
        are ranked by their true probability. "expected_recall@k" and so on: the
        expectation of the same over the targets given the histories (for recall the
        total probability of the top k), which has less noise. Each with its standard
        error over the cases under the key + "_se".

    Raises:
        ValueError: The split was not made from this config, or `part` is unknown.
    """
    if part not in ("test", "valid"):
        raise ValueError(f"part must be 'test' or 'valid', got {part!r}")
    world = World.make(WorldConfig.from_mapping(config))
    sequences, cases = split.sequences, getattr(split, part)
    if sequences.items != world.config.num_items or sequences.name != "synthetic":
        raise ValueError(
            f"the split holds {sequences.items} items of {sequences.name!r}, the world "
            f"of this config {world.config.num_items} items of 'synthetic'"
        )
    if not len(cases):
        raise ValueError(f"the {part} part has no cases")
    depth = min(max(ks), world.config.num_items)
    ranks, tops = [], []
    targets = sequences.values[cases.position]
    for rows, probability in predict(world, sequences, cases, memory=memory):
        own = probability[np.arange(len(probability)), targets[rows] - 1][:, None]
        # Equal probabilities are at their expected rank; they hardly ever occur.
        tied = (probability == own).sum(1) - 1
        ranks.append((probability > own).sum(1) + tied / 2)
        top = -np.partition(-probability, depth - 1, axis=1)[:, :depth]
        tops.append(-np.sort(-top, axis=1))
    rank, top = np.concatenate(ranks), np.concatenate(tops)
    result = {}
    place = np.arange(depth)
    for k in ks:
        for name, gain in (
            ("recall", np.ones_like),
            ("ndcg", lambda r: 1 / np.log2(r + 2)),
            ("mrr", lambda r: 1 / (r + 1)),
        ):
            realised = np.where(rank < k, gain(rank), 0.0)
            expected = top @ np.where(place < k, gain(place.astype(float)), 0.0)
            for key, values in (("", realised), ("expected_", expected)):
                result[f"{key}{name}@{k}"] = float(values.mean())
                result[f"{key}{name}@{k}_se"] = float(
                    values.std(ddof=1) / np.sqrt(len(values))
                )
    return result


def predict(
    world: World, sequences: Sequences, cases: Cases, *, memory: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """The exact distribution of the target of each case given its history.

    Args:
        world: The true parameters.
        sequences: Events drawn from them.
        cases: The targets.
        memory: See `ceiling`.

    Yields:
        (rows, probability): a slice of the cases and (len, items) float64 by item - 1;
        rows sum to 1 and items of the history have 0.
    """
    for begin in range(0, len(cases), _BLOCK):
        rows = slice(begin, min(begin + _BLOCK, len(cases)))
        first = sequences.offsets[cases.user[rows]]
        lengths = cases.position[rows] - first
        steps = np.arange(lengths.max(initial=0))
        index = np.where(steps < lengths[:, None], first[:, None] + steps, 0)
        history = np.where(steps < lengths[:, None], sequences.values[index], 0)
        yield rows, _filter(world, history, lengths, memory)


def _filter(world, history, lengths, memory):
    """(n, items) prediction after histories (n, h), left aligned, 0 behind the end."""
    config, emission = world.config, world.emission
    n, h = history.shape
    row = np.arange(n)
    begin = np.zeros(n, int) if memory is None else np.maximum(lengths - memory, 0)
    belief = np.full((n, 2, config.clusters), 0.5 / config.clusters)
    seen = np.zeros((n, config.num_items + 1), bool)
    unseen_mass = np.ones((n, config.clusters))  # Of each E_z, outside the history.

    def weights(before):
        """The item that follows, its weight, and the total weight (n, clusters)."""
        follows = world.follower[before]
        possible = (before > 0) & ~seen[row, follows]
        bonus = config.successor * possible
        return follows, bonus, (1 - config.successor) * unseen_mass + bonus[:, None]

    before = np.zeros(n, np.int32)
    for t in range(h):
        item, going = history[:, t], t < lengths
        follows, bonus, total = weights(before)
        weight = (1 - config.successor) * emission[item - 1]
        weight += (bonus * (item == follows))[:, None]
        posterior = belief * (weight / total)[:, None]
        posterior = world.move(posterior / posterior.sum((1, 2), keepdims=True))
        belief = np.where((going & (t >= begin))[:, None, None], posterior, belief)
        unseen_mass -= emission[item - 1] * going[:, None]
        seen[row[going], item[going]] = True
        before = np.where(going, item, before)
    follows, bonus, total = weights(before)
    share = belief.sum(1) / total
    probability = (1 - config.successor) * (share @ emission.T)
    probability[row, follows - 1] += bonus * share.sum(1)
    probability[seen[:, 1:]] = 0
    return probability


def _moved(config, rng, cluster, way):
    draws = rng.random((2, len(cluster)))
    anywhere = rng.integers(0, config.clusters, len(cluster))
    next_door = (cluster + way) % config.clusters
    moved = np.where(draws[1] < config.drift, next_door, anywhere)
    return np.where(draws[0] < config.stickiness, cluster, moved)


def _titles(world):
    return [
        f"cluster{'s' * (len(members) > 1)} "
        f"{'+'.join(str(cluster + 1) for cluster in members)}, item {place + 1}"
        for members, place in zip(world.members, world.place, strict=True)
    ]
