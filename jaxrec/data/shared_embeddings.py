"""Stochastic shared embeddings: in training an item or a user is at times another.

Wu et al., "Stochastic Shared Embeddings", NeurIPS 2019, and "SSE-PT", RecSys 2020: with
a small probability the index of an embedding is replaced by a uniform one, so that all
embeddings of a table share what they learn. A regulariser; nothing is replaced in
evaluation and serving.

Items. In a share `sse_windows` of the windows every place is replaced with probability
`sse_item`: its input and its target become two independent uniform items. What is no
item stays, id 0 that begins a sequence and the mask token, and so do which places are
masked and how many targets there are. With sse_windows = 1 that is the probability of
the papers. The released code of the AE / AR study draws a window with its probability p
and then each of its places with 1 - p: sse_windows = p, sse_item = 1 - p. It also
counts replaced places of masked-item training as masked, which ours does not.

Users, of models with user vectors. A user is unknown (number 0) with probability
`unknown_user`, and else another, uniform user with probability `sse_user`. The former
is ours: published models know every user, but one who comes later is served the vector
of user 0, which only this trains.

Everything is a function of the seed, the epoch, and the event, the window's first event
or the user, in whatever batch they stand.
"""

import dataclasses

import numpy as np

from jaxrec.data.draws import event_draws

# Salts of the draws, which others have from 0 on.
_PLACE, _WINDOW, _INPUT, _TARGET, _UNKNOWN, _USER, _OTHER = range(101, 108)


@dataclasses.dataclass(frozen=True)
class SharedEmbeddings:
    """Probabilities, by the names of the section "batch" of a config.

    Attributes:
      sse_item: of a place, in [0, 1).
      sse_windows: of a window to have places replaced, in (0, 1].
      sse_user: of a user, in [0, 1).
      unknown_user: of a user to be the unknown one, in [0, 1).

    Raises:
      ValueError: a probability that is out of range or has no effect.
    """

    sse_item: float = 0.0
    sse_windows: float = 1.0
    sse_user: float = 0.0
    unknown_user: float = 0.0

    def __post_init__(self):
        for name in ("sse_item", "sse_user", "unknown_user"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"batch.{name}: want 0 or more, below 1, got {value}")
        if not 0 < self.sse_windows <= 1:
            raise ValueError(
                f"batch.sse_windows: want above 0, at most 1, got {self.sse_windows}"
            )
        if self.sse_windows < 1 and not self.sse_item:
            raise ValueError(
                f"batch.sse_windows={self.sse_windows} has no effect with "
                "batch.sse_item=0"
            )

    def replace_items(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        *,
        seed: int,
        epoch: int,
        items: int,
        events: np.ndarray,
        windows: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (n,) of places after replacement; an input of 0 stays.

        Args:
          inputs: (n,) int32.
          targets: (n,) int32.
          seed: of the run.
          epoch: 0 or more.
          items: catalogue size.
          events: (n,) the event of each place, a position in the values.
          windows: (n,) the first event of its window.
        """
        if not self.sse_item:
            return inputs, targets

        def draws(salt, of=events):
            return event_draws(seed, epoch, of, salt)

        some = _below(draws(_PLACE), self.sse_item)
        if self.sse_windows < 1:
            some &= _below(draws(_WINDOW, windows), self.sse_windows)
        others = _integers(draws(_INPUT), items)
        inputs = np.where(some & (inputs != 0), others, inputs)
        return inputs, np.where(some, _integers(draws(_TARGET), items), targets)

    def replace_users(
        self, users: np.ndarray, *, seed: int, epoch: int, count: int
    ) -> np.ndarray:
        """Numbers (n,) int32 in 0..count that users (n,) in 0..count - 1 are given."""

        def draws(salt):
            return event_draws(seed, epoch, users, salt)

        numbers = (users + 1).astype(np.int32)
        if self.sse_user:
            other = _below(draws(_USER), self.sse_user)
            numbers = np.where(other, _integers(draws(_OTHER), count), numbers)
        if self.unknown_user:
            numbers = np.where(_below(draws(_UNKNOWN), self.unknown_user), 0, numbers)
        return numbers


def _below(draws: np.ndarray, probability: float) -> np.ndarray:
    """Uniform 64-bit numbers as events of a probability."""
    return (draws >> np.uint64(11)) * 2.0**-53 < probability


def _integers(draws: np.ndarray, count: int) -> np.ndarray:
    """Uniform 64-bit numbers as uniform int32 in 1..count."""
    high = (draws >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
    return high.astype(np.int32) + 1
