"""Tests between two sets of runs over the same users.

Two things make a figure vary: which users were tested, and the seed of the training. A
difference of means over the same users has both,

    d_u       = mean over seeds of b for user u - the same of a
    se_users  = sd(d_u) / sqrt(users)                          users taken in pairs
    se_seeds  = sqrt(var(means of b) / S_b + var(means of a) / S_a)
    se        = sqrt(se_users^2 + se_seeds^2)

The chance of a training is in d_u too, so `se` counts a part of it twice: intervals are
rather too wide than too narrow. They are normal ones, with 1.96 se to each side.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxrec.eval.metrics import standard_error

_WIDTH = 1.959963984540054  # of a 95 % interval, in standard errors


class Figure(NamedTuple):
    """A mean over seeds and users.

    Attributes:
      mean: over both.
      se_seeds: standard error that comes from the seeds; NaN for one seed.
      se_users: that comes from the users, whose values are averaged over seeds.
      seeds: how many.
    """

    mean: float
    se_seeds: float
    se_users: float
    seeds: int

    @property
    def se(self) -> float:
        """Of both sources."""
        return math.hypot(self.se_users, np.nan_to_num(self.se_seeds))


class Difference(NamedTuple):
    """The mean of b - a over the same users, and how sure it is.

    Attributes:
      mean: the difference.
      se_users: its standard error over users.
      se_seeds: and over seeds, 0 where both have one seed.
      p: two-sided, of no difference.
    """

    mean: float
    se_users: float
    se_seeds: float
    p: float

    @property
    def se(self) -> float:
        return math.hypot(self.se_users, self.se_seeds)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        return self.mean - _WIDTH * self.se, self.mean + _WIDTH * self.se


def figure(values: np.ndarray) -> Figure:
    """The mean of values (seeds, users) with its errors."""
    return Figure(
        float(values.mean()),
        standard_error(values.mean(1)),
        standard_error(values.mean(0)),
        len(values),
    )


def difference(a: np.ndarray, b: np.ndarray) -> Difference:
    """What b is better by, for values (seeds, users) over the same users.

    Raises:
      ValueError: the users are not as many.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"want the same users, got {a.shape[1]} and {b.shape[1]}")
    each = b.mean(0) - a.mean(0)
    se_users = standard_error(each)
    seeds = [standard_error(x.mean(1)) for x in (a, b) if len(x) > 1]
    se_seeds = math.hypot(*seeds)
    mean, se = float(each.mean()), math.hypot(se_users, se_seeds)
    p = math.erfc(abs(mean) / se / math.sqrt(2)) if se > 0 else float(mean == 0)
    return Difference(mean, se_users, se_seeds, p)


def holm(p: Sequence[float]) -> list[float]:
    """The p values of a family of tests, adjusted for their number (Holm, 1979)."""
    order = np.argsort(p)
    adjusted, worst = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = worst
    return adjusted
