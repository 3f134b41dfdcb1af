"""The parameters of the synthetic world (see `jaxrec.data.synthetic`)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class WorldConfig:
    """Parameters of the world; the keys of `config.data` with the same names.

    Attributes:
        num_users: Number of users.
        num_items: Catalogue size.
        clusters: Number of interests, on a ring.
        memberships: Clusters an item belongs to, 1..clusters.
        zipf: Exponent of the popularity within a cluster; 0 is uniform.
        stickiness: Probability that the interest stays, in [0, 1].
        drift: Probability that a moving interest goes to the neighbour, in [0, 1].
        successor: Weight of the item that follows the previous one, in [0, 1).
        noise: Share of the uniform background in the events, in [0.001, 1]: every item
            stays possible.
        events_min: Fewest events of a user, at least 3.
        events_max: Most events of a user, below `num_items`; lengths are uniform
            between the two.
        seed: Seed of everything.

    Raises:
        ValueError: A value is out of range.
    """

    num_users: int = 5000
    num_items: int = 500
    clusters: int = 32
    memberships: int = 3
    zipf: float = 1.0
    stickiness: float = 0.9
    drift: float = 0.8
    successor: float = 0.02
    noise: float = 0.1
    events_min: int = 20
    events_max: int = 50
    seed: int = 0

    def __post_init__(self):
        accepted = {
            "num_users": self.num_users >= 1,
            "num_items": self.num_items >= 2,
            "clusters": 1 <= self.clusters <= self.num_items,
            "memberships": 1 <= self.memberships <= self.clusters,
            "zipf": self.zipf >= 0,
            "stickiness": 0 <= self.stickiness <= 1,
            "drift": 0 <= self.drift <= 1,
            "successor": 0 <= self.successor < 1,
            "noise": 0.001 <= self.noise <= 1,
            "events_min": 3 <= self.events_min <= self.events_max,
            "events_max": self.events_max < self.num_items,
            "seed": self.seed >= 0,
        }
        for field, good in accepted.items():
            if not good:
                raise ValueError(
                    f"data.{field}={getattr(self, field)} is out of range; see "
                    f"WorldConfig.{field} (num_users={self.num_users}, "
                    f"num_items={self.num_items}, "
                    f"clusters={self.clusters}, events {self.events_min} to "
                    f"{self.events_max})"
                )

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> "WorldConfig":
        """The fields that `config` names; defaults where it says None or nothing."""
        fields = {field.name for field in dataclasses.fields(cls)}
        named = {key: config[key] for key in config if key in fields}
        return cls(**{key: x for key, x in named.items() if x is not None})


@dataclasses.dataclass(frozen=True)
class World:
    """The true parameters.

    Attributes:
        config: What the world was made from.
        emission: (items, clusters) float64, columns sum to 1: E_z(x) by item - 1.
        follower: (items + 1,) int32, the item that follows each item; entry 0 unused.
        members: (items, memberships) int64 clusters of each item, the home first.
        place: (items,) int64 place in the popularity order of the home cluster.
    """

    config: WorldConfig
    emission: np.ndarray
    follower: np.ndarray
    members: np.ndarray
    place: np.ndarray

    @classmethod
    def make(cls, config: WorldConfig) -> "World":
        """Draws the parameters; the same config gives the same world."""
        rng = np.random.default_rng([config.seed, 0])
        order = rng.permutation(config.num_items)
        home, place = order % config.clusters, order // config.clusters
        # The other clusters: a random choice per item among those that are not home.
        others = rng.random((config.num_items, config.clusters - 1)).argsort(
            1, "stable"
        )
        others = (home[:, None] + 1 + others) % config.clusters
        members = np.concatenate([home[:, None], others], 1)[:, : config.memberships]
        weight = np.zeros((config.num_items, config.clusters))
        popularity = (place + 1.0) ** -config.zipf
        weight[np.arange(config.num_items)[:, None], members] = popularity[:, None]
        emission = (1 - config.noise) * weight / weight.sum(0)
        emission += config.noise / config.num_items
        follower = np.zeros(config.num_items + 1, np.int32)
        for cluster in range(config.clusters):
            # One random cycle through the items at home in the cluster.
            cycle = 1 + rng.permutation(np.flatnonzero(home == cluster))
            follower[cycle] = np.roll(cycle, -1)
        return cls(config, emission, follower, members, place)

    def move(self, belief: np.ndarray) -> np.ndarray:
        """One step of the hidden state.

        Args:
            belief: (..., 2, clusters) distribution over direction and cluster.
        """
        stay, drift = self.config.stickiness, self.config.drift
        next_door = np.stack(
            [np.roll(belief[..., 0, :], 1, -1), np.roll(belief[..., 1, :], -1, -1)], -2
        )
        anywhere = belief.mean(-1, keepdims=True)
        return stay * belief + (1 - stay) * (drift * next_door + (1 - drift) * anywhere)
