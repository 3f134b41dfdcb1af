"""What a user has seen, in a space that does not grow with the history.

Two forms, each a plain array with one row per user:

* `BitSet`: one bit per item of the catalogue. Exact however long the history is;
  takes items / 8 bytes per user (428 bytes for 3,416 items, 125 kB for a million).
* `Ring`: the ids of the last `capacity` events, 4 bytes each. What a user saw before
  those may be recommended again.

Adding an event and excluding what is seen cost the same after any number of events.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class BitSet:
    """Exact: bit i of word w stands for item 32 w + i."""

    items: int

    @property
    def words(self) -> int:
        """Words per user."""
        return self.items // 32 + 1

    def of(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """(b, words) uint32 for histories of item numbers."""
        words = np.zeros((len(histories), self.words), np.uint32)
        lengths = [len(history) for history in histories]
        if sum(lengths):
            users = np.repeat(np.arange(len(histories)), lengths)
            items = np.concatenate(histories)
            bits = np.uint32(1) << (items & 31).astype(np.uint32)
            np.bitwise_or.at(words, (users, items >> 5), bits)
        return words

    def add(self, seen: jax.Array, ids: jax.Array) -> jax.Array:
        """Adds one item number per user, ids (b,); 0 adds nothing that counts."""
        users = jnp.arange(ids.shape[0])
        bits = jnp.uint32(1) << (ids & 31).astype(jnp.uint32)
        return seen.at[users, ids >> 5].set(seen[users, ids >> 5] | bits)

    def excluded(self, seen: jax.Array) -> dict[str, Any]:
        """Arguments for `jaxrec.retrieval.topk.search`."""
        return {"seen": seen}


@dataclasses.dataclass(frozen=True)
class Ring:
    """The last `capacity` events; the last column is where the next one goes."""

    capacity: int

    def of(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """(b, capacity + 1) int32 for histories of item numbers."""
        rows = np.zeros((len(histories), self.capacity + 1), np.int32)
        for row, history in zip(rows, histories, strict=True):
            last = history[-self.capacity :]
            places = np.arange(len(history) - len(last), len(history)) % self.capacity
            row[places] = last
            row[-1] = len(history) % self.capacity
        return rows

    def add(self, seen: jax.Array, ids: jax.Array) -> jax.Array:
        """Adds one item number per user, ids (b,); 0 adds nothing."""
        users = jnp.arange(ids.shape[0])
        place = seen[:, -1]
        added = seen.at[users, place].set(ids)
        added = added.at[:, -1].set((place + 1) % self.capacity)
        return jnp.where(ids[:, None] != 0, added, seen)

    def excluded(self, seen: jax.Array) -> dict[str, Any]:
        """Arguments for `jaxrec.retrieval.topk.search`."""
        return {"exclude": seen[:, :-1]}
