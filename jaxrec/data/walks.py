"""Random walks over a catalogue of any size: data for tests of scale, not of quality.

The defaults have the shape of XLong (69,691 users, 2,122,932 items, 66.8 million
events; Ren et al., SIGIR 2019, as used by Yue et al., WSDM 2024), which cannot be
distributed. A user wanders in steps of at most `reach` along the numbered catalogue and
jumps now and then to an item drawn by a Zipf law. Made in blocks of users and kept as
memory-mapped arrays, so that memory does not grow with the number of events.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrec.core.cache_directory import cache_directory
from jaxrec.core.config import unknown
from jaxrec.data.cache import content_hash, locked, written_whole
from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import Split, leave_one_out

_BLOCK = 1024
_VERSION = "1"


@dataclasses.dataclass(frozen=True)
class WalkConfig:
    """Parameters of the walks.

    Attributes:
        num_users: Number of users.
        num_items: Catalogue size; every item gets a number, not every item an event.
        num_events: Events of every user, at least 3.
        reach: Longest step, in item numbers.
        jump: Probability of a jump instead of a step, in [0, 1].
        seed: Seed of everything.
        cache: Directory for the arrays, "" for the environment's or the default.

    Raises:
        ValueError: A value is out of range.
    """

    num_users: int = 69_691
    num_items: int = 2_122_932
    num_events: int = 959
    reach: int = 20
    jump: float = 0.1
    seed: int = 0
    cache: str = ""

    def __post_init__(self):
        sound = (
            self.num_users >= 1
            and self.num_items >= 2
            and self.num_events >= 3
            and 1 <= self.reach < self.num_items
            and 0 <= self.jump <= 1
        )
        if not sound:
            raise ValueError(f"data: out of range: {self}")


def load(config: Mapping[str, Any]) -> Split:
    """Makes the walks, or maps those that were made before, and splits leave-one-out.

    Args:
        config: the fields of `WalkConfig`; "name" is ignored.

    Raises:
        ValueError: Unknown key, or a value out of range.
    """
    fields = [field.name for field in dataclasses.fields(WalkConfig)]
    given = {key: config[key] for key in config if key != "name"}
    for key in given:
        if key not in fields:
            raise ValueError(unknown("data key", key, fields))
    settled = WalkConfig(**given)
    identity = dataclasses.replace(settled, cache="")
    directory = cache_directory(settled.cache) / (
        f"walks-{content_hash(_VERSION, repr(identity))[:16]}"
    )
    with locked(directory.with_suffix(".lock")):
        if not directory.exists():
            with written_whole(directory) as partial:
                _make(settled).save(partial)
    return leave_one_out(Sequences.load(directory))


def _make(config: WalkConfig) -> Sequences:
    values = np.empty(config.num_users * config.num_events, np.int32)
    for block, begin in enumerate(range(0, config.num_users, _BLOCK)):
        users = min(_BLOCK, config.num_users - begin)
        rng = np.random.default_rng((config.seed, block))
        walks = _walks(rng, users, config)
        values[begin * config.num_events : (begin + users) * config.num_events] = (
            walks.ravel()
        )
    return Sequences(
        values=values,
        offsets=np.arange(config.num_users + 1, dtype=np.int64) * config.num_events,
        user_ids=np.arange(1, config.num_users + 1).astype(str),
        item_ids=np.concatenate([[""], np.arange(1, config.num_items + 1).astype(str)]),
        name="walks",
    )


def _walks(rng: np.random.Generator, users: int, config: WalkConfig) -> np.ndarray:
    """(users, events) int32 items 1..items."""
    shape = (users, config.num_events)
    step = rng.integers(1, config.reach + 1, shape, dtype=np.int64)
    step *= rng.choice(np.array([-1, 1]), shape)
    jumps = rng.random(shape) < config.jump
    jumps[:, 0] = True
    # Inverse of the Zipf distribution function with exponent 1: items^u.
    target = np.exp(rng.random(shape) * np.log(config.num_items)).astype(np.int64)
    path = np.cumsum(np.where(jumps, 0, step), axis=1)
    last = np.maximum.accumulate(
        np.where(jumps, np.arange(config.num_events), 0), axis=1
    )
    origin = np.take_along_axis(target - path, last, axis=1)
    return ((origin + path) % config.num_items + 1).astype(np.int32)
