"""Figures of the attention of many users, each beside the same of its controls."""

from typing import Any

import numpy as np

from jaxrec.eval import inductive_bias, low_rank
from jaxrec.eval.attention_controls import random_weights, shuffled_weights
from jaxrec.eval.metrics import standard_error

KINDS = ("model", "random", "shuffled")


class Tally:
    """What `jaxrec.eval.low_rank` and `.inductive_bias` measure, users one by one.

    Args:
        seed: Of the controls.
        draws: How many random matrices beside each user.
        pointwise: Whether weights are SiLU of scores and no distributions.
    """

    def __init__(self, seed: int, draws: int, pointwise: bool = False):
        self._rng = np.random.default_rng(seed)
        self._draws, self._pointwise = draws, pointwise
        self._means = {kind: _Means() for kind in KINDS}
        self._fit = inductive_bias.PlaceFit()
        self._blocks = 0

    def add(self, weights: np.ndarray, history: int) -> None:
        """Takes in a user.

        Args:
            weights: (blocks, h, n, n), 0 where a key is not seen and only there.
            history: How many of the n positions are events, see
                `inductive_bias.figures`.
        """
        self._blocks = len(weights)
        allowed = weights[0] != 0
        kinds = {
            "model": weights,
            "random": random_weights(self._rng, allowed, self._draws, self._pointwise),
            "shuffled": shuffled_weights(self._rng, weights, allowed),
        }
        for kind, some in kinds.items():
            self._means[kind].add(some, allowed, history)
        every = np.concatenate(list(kinds.values()))
        if not self._pointwise:
            every = np.log(np.where(allowed, every, 1))
        self._fit.add(every, allowed)

    def summary(self) -> dict[str, dict[str, Any]]:
        """For "model", "random" and "shuffled" what was found, as plain numbers.

        Each has "figures", by name {"mean": one number per block, over users and heads;
        "se": its standard error over users, if there are several; "heads": one list
        per block, over users};
        "mass_by_distance" and "singular_values", one list per block, over users and
        heads, the latter over the users who have so many. "random" knows no blocks and
        has one, the mean over its draws. The `PlaceFit` of all users has no error.
        """
        ends = np.cumsum([self._blocks, self._draws])
        fits = {
            name: dict(zip(KINDS, np.split(r2, ends), strict=True))
            for name, r2 in self._fit.r2().items()
        }
        found = {}
        for kind, means in self._means.items():
            of_blocks = means.summary(merge=kind == "random")
            for name, by_kind in fits.items():
                r2 = by_kind[kind]
                r2 = r2.mean(0, keepdims=True) if kind == "random" else r2
                of_blocks["figures"][name] = {
                    "mean": r2.mean(1).tolist(),
                    "heads": r2.tolist(),
                }
            found[kind] = of_blocks
        return found


class _Means:
    """Means over users of what can be said of each of them alone."""

    def __init__(self):
        self._figures: list[dict[str, np.ndarray]] = []  # of users, (m, h)
        self._mass: list[np.ndarray] = []  # of users, (m, n)
        self._sigma: list[np.ndarray] = []  # of users, (m, n)

    def add(self, weights, allowed, history):
        p = inductive_bias.as_distributions(weights)
        sigma = low_rank.singular_values(weights)
        self._figures.append(
            inductive_bias.figures(p, allowed, history) | low_rank.figures(sigma)
        )
        self._mass.append(inductive_bias.mass_by_distance(p).mean(1))
        self._sigma.append(sigma.mean(1))

    def summary(self, merge: bool) -> dict[str, Any]:
        """`merge`: the first axis is that of draws, and not of blocks."""
        figures = {}
        for name in self._figures[0]:
            values = np.stack([one[name] for one in self._figures])  # (users, m, h)
            values = values.mean(1, keepdims=True) if merge else values
            by_block = values.mean(2)
            figures[name] = {
                "mean": by_block.mean(0).tolist(),
                "heads": values.mean(0).tolist(),
            }
            if len(values) > 1:
                errors = [standard_error(column) for column in by_block.T]
                figures[name]["se"] = errors
        mass, _ = _padded_sum(self._mass)
        sigma, users = _padded_sum(self._sigma)
        curves = mass / len(self._mass), sigma / users
        names = ("mass_by_distance", "singular_values")
        return {"figures": figures} | {
            name: (curve.mean(0, keepdims=True) if merge else curve).tolist()
            for name, curve in zip(names, curves, strict=True)
        }


def _padded_sum(curves: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Sum (m, most) of curves (m, n) of different n, and how many reach each place."""
    most = max(curve.shape[1] for curve in curves)
    total, count = np.zeros((len(curves[0]), most)), np.zeros(most)
    for curve in curves:
        total[:, : curve.shape[1]] += curve
        count[: curve.shape[1]] += 1
    return total, count
