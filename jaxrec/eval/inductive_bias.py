"""The inductive-bias view: how far attention looks, and whether place decides. NumPy.

Yue et al., "Your Causal Self-Attentive Recommender Hosts a Lonely Neighborhood", WSDM
2025, find the attention of AR near its diagonal. The measures are ours. P is the n x n
matrix of a sequence, a row per query, whose rows are distributions over keys:

    locality_w     mean over rows of the mass at distances |i - j| <= w
    mean_distance  mean over rows of sum_j P_ij |i - j|
    recency_k      mass that the last row, the one that answers, has on the k newest
                   events of the history (a mask token is none)
    sparsity       mean over rows of 1 - entropy / log(keys), rows of one key left out
    over_05        mean over rows of the number of entries above .05

Weights that are no distribution (`POINTWISE`, see `jaxrec.models`) are read as
|a_ij| / sum_j |a_ij|: where a query takes from, whatever the sign and the intensity.

Place against content: `PlaceFit`, below.
"""

import numpy as np

from jaxrec.eval.low_rank import entropy

WIDTHS = (1, 2, 4, 8)
NEWEST = (1, 5)


def as_distributions(weights: np.ndarray) -> np.ndarray:
    """Rows of absolute weights (..., n, n) that sum to 1."""
    size = np.abs(weights)
    return size / size.sum(-1, keepdims=True)


def not_after(weights: np.ndarray) -> np.ndarray:
    """The part (..., n, n) of weights at keys not after the query, summing to 1 again.

    So attention both ways is seen under the mask of a causal one.
    """
    lower = np.tril(weights)
    return lower / lower.sum(-1, keepdims=True)


def by_distance(matrices: np.ndarray) -> np.ndarray:
    """Each row of matrices (..., n, n) by signed distance, (..., n, 2n - 1).

    Entry n - 1 + d of row i is that of key i - d, or 0 where there is no such key.
    """
    n = matrices.shape[-1]
    # Rows reversed, padded to 2n and read as rows of 2n - 1: row i moves i places.
    wide = np.zeros((*matrices.shape[:-1], 2 * n), matrices.dtype)
    wide[..., :n] = matrices[..., ::-1]
    flat = wide.reshape(*matrices.shape[:-2], 2 * n * n)
    return flat[..., : n * (2 * n - 1)].reshape(*matrices.shape[:-1], 2 * n - 1)


def mass_by_distance(p: np.ndarray) -> np.ndarray:
    """Mean over rows of the mass at distance 0, 1, ..., n - 1, (..., n); sums to 1."""
    n = p.shape[-1]
    signed = by_distance(p).mean(-2)
    mass = signed[..., n - 1 :].copy()
    mass[..., 1:] += signed[..., : n - 1][..., ::-1]
    return mass


def distance_figures(mass: np.ndarray) -> dict[str, np.ndarray]:
    """locality_w and mean_distance (...,) of masses (..., n) by distance."""
    found = {f"locality_{w}": mass[..., : w + 1].sum(-1) for w in WIDTHS}
    found["mean_distance"] = mass @ np.arange(mass.shape[-1])
    return found


def figures(
    p: np.ndarray, allowed: np.ndarray, history: int | None = None
) -> dict[str, np.ndarray]:
    """All measures above but `PlaceFit`, each (...,) float64.

    Args:
        p: (..., n, n), rows distributions, n of 2 or more.
        allowed: (..., n, n) bool, which keys a query sees; or broadcast to that.
        history: How many of the positions are events of the history; `None`: all n.
    """
    n = p.shape[-1]
    history = n if history is None else history
    found = distance_figures(mass_by_distance(p))
    for k in NEWEST:
        newest = p[..., -1, max(history - k, 0) : history]
        found[f"recency_{k}"] = newest.sum(-1)
    keys = allowed.sum(-1)
    several = keys > 1
    rows = 1 - entropy(p) / np.log(np.where(several, keys, 2))
    found["sparsity"] = np.where(several, rows, 0).sum(-1) / several.sum(-1)
    found["over_05"] = (p > 0.05).sum(-1).mean(-1)
    return found


class PlaceFit:
    """How much of the variance of attention its place explains, over many users.

    Let y be the log of the weights (for `POINTWISE` backbones the weights themselves).
    For a user u, a query i and a key j, in one layer and head, least squares fits

        y_uij = r_ui + f(i - j) + error        distance_r2
        y_uij = r_ui + g(i, j) + error         position_r2

    with one r for every row of every user and f or g shared by all users, and R^2 is
    the share of the variance of y **within rows** that f or g explains:

        1 - sum error^2 / sum_{u,i,j} (y_uij - mean_j y_uij)^2        over the keys seen

    The log of a softmax is its logits but for a constant of the row, so that this is
    about the logits. Positions count from the first event in the window. A distance is
    made of positions, so distance_r2 <= position_r2; what is left to 1 is content: it
    differs between users at the same place. 1 is reached by attention that depends on
    places only. Attention that knows no place does not give 0 but the share of free
    parameters in the number of weights, about 1 / users for position_r2: compare with
    the controls. Every key counts the same, however little mass it has, and users with
    long histories have more of them.
    """

    def __init__(self):
        self._masks: dict[int, np.ndarray] = {}  # by n: (h, n, n)
        self._users: dict[int, int] = {}
        self._sums: np.ndarray | None = None  # of centred y, (m, h, most, most)
        self._total: np.ndarray | float = 0.0  # of its squares, (m, h)

    def add(self, y: np.ndarray, allowed: np.ndarray) -> None:
        """Takes in a user.

        Args:
            y: (m, h, n, n) of m layers, finite where seen; each is fitted by itself.
            allowed: (h, n, n) bool, which keys a query sees: the same for all users of
                this n, and each query sees itself.
        """
        n = y.shape[-1]
        y = np.where(allowed, y, 0)
        mean = y.sum(-1, keepdims=True) / allowed.sum(-1, keepdims=True)
        y = np.where(allowed, y - mean, 0)
        self._masks.setdefault(n, allowed)
        self._users[n] = self._users.get(n, 0) + 1
        if self._sums is None or self._sums.shape[-1] < n:
            grown = np.zeros(y.shape)
            if self._sums is not None:
                old = self._sums.shape[-1]
                grown[..., :old, :old] = self._sums
            self._sums = grown
        self._sums[..., :n, :n] += y
        self._total = self._total + np.square(y).sum((-2, -1))

    def r2(self) -> dict[str, np.ndarray]:
        """distance_r2 and position_r2, (m, h); 0 where nothing varies."""
        explained = np.zeros((2, *self._sums.shape[:2]))
        for heads in self._heads_by_mask():
            masks = {n: mask[heads[0]] for n, mask in self._masks.items()}
            sums = self._sums[:, heads]
            explained[0][:, heads] = self._by_distance(masks, sums)
            explained[1][:, heads] = self._by_position(masks, sums)
        share = explained / np.where(self._total > 0, self._total, 1)
        return dict(zip(("distance_r2", "position_r2"), share, strict=True))

    def _heads_by_mask(self) -> list[list[int]]:
        """Heads that see the same, whose equations differ in one side only."""
        groups: dict[bytes, list[int]] = {}
        for head in range(self._sums.shape[1]):
            seen = (np.packbits(self._masks[n][head]) for n in sorted(self._masks))
            key = b"".join(part.tobytes() for part in seen)
            groups.setdefault(key, []).append(head)
        return list(groups.values())

    def _by_distance(self, masks, sums) -> np.ndarray:
        most = sums.shape[-1]
        normal = np.zeros((2 * most - 1,) * 2)
        for n, users in self._users.items():
            inside = slice(most - n, most + n - 1)
            rows = by_distance(masks[n].astype(float))
            normal[inside, inside] += users * _normal(rows)
        return _explained(normal, by_distance(sums).sum(-2))

    def _by_position(self, masks, sums) -> np.ndarray:
        most, total = sums.shape[-1], 0.0
        lengths = np.array(sorted(self._users))
        users = np.array([self._users[n] for n in lengths])
        seen = np.zeros((len(lengths), most, most))
        for k, n in enumerate(lengths):
            seen[k, :n, :n] = masks[n]
        for i in range(most):
            some = lengths > i
            normal = _normal(seen[some, i], users[some])
            total = total + _explained(normal, sums[..., i, :])
        return total


def _normal(rows: np.ndarray, times: np.ndarray | float = 1.0) -> np.ndarray:
    """Normal matrix (m, m) of dummies of rows (r, m) of 0 and 1, centred in each row.

    Row r stands for `times` rows.
    """
    times = np.broadcast_to(times, len(rows))
    shared = (rows * (times / rows.sum(1))[:, None]).T @ rows
    return np.diag(times @ rows) - shared


def _explained(normal: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Sums of squares (...,) that dummies explain, given sums (..., m) of y at each."""
    # Every row holds the place of the query itself, so that all places hang together
    # and only the constant is not determined. It explains nothing: fix it.
    there = normal.diagonal() > 1e-9
    if there.sum() < 2:
        return np.zeros(sums.shape[:-1])
    normal, sums = normal[np.ix_(there, there)], sums[..., there]
    fixed = normal + normal.diagonal().mean() / len(normal)
    flat = sums.reshape(-1, sums.shape[-1]).T
    return (flat * np.linalg.solve(fixed, flat)).sum(0).reshape(sums.shape[:-1])
