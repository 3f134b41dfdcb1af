"""HSTU restated in float64, one sequence and one of its items after the other.

Written from the equations of Zhai et al. (ICML 2024); nothing is padded, masked or
packed here: a sequence is the list of its items. Gradients are central differences.
"""

import numpy as np

_STEP = 1e-6


def outputs(params, ids, times=None, *, length, heads, qk, v):
    """Outputs (t, D) of a sequence of ids (t,); widths `qk` and `v` are per head.

    Times (t + 1,) are those of the events and of the one after them.
    """
    tables, t = params["embedding"], len(ids)
    dim = tables["table"].shape[1]
    x = np.stack([tables["table"][i] * dim**0.5 for i in ids])
    x = x + tables["position"][:t]
    for number in range(len(params) - 1):
        block = params[f"block_{number}"]
        n = np.stack([norm(row) for row in x])
        mapped = silu(n @ block["uvqk"]["kernel"])
        gates, values, queries, keys = np.split(
            mapped, np.cumsum([heads * v, heads * v, heads * qk]), axis=1
        )
        summed = np.zeros((t, heads * v))
        for h in range(heads):
            of_qk, of_v = slice(h * qk, (h + 1) * qk), slice(h * v, (h + 1) * v)
            for i in range(t):
                past = np.arange(i + 1)
                seen = keys[past, of_qk] @ queries[i, of_qk]
                bias = block["relative_bias"][i - past]
                if times is not None:
                    passed = np.maximum(np.abs(times[i + 1] - times[past]), 1)
                    bucket = np.clip(np.floor(np.log(passed) / 0.301), 0, 128)
                    bias = bias + block["time_bias"][bucket.astype(int)]
                weights = silu(seen + bias) / length
                summed[i, of_v] = weights @ values[past, of_v]
        gated = gates * np.stack([norm(row) for row in summed])
        x = x + gated @ block["out"]["kernel"] + block["out"]["bias"]
    return np.stack([row / max(np.sqrt(row @ row), 1e-6) for row in x])


def scores(params, ids, times=None, *, temperature, **sizes):
    """Scores (t, items + 1): cosines over the temperature."""
    table = [
        row / max(np.sqrt(row @ row), 1e-6) for row in params["embedding"]["table"]
    ]
    return outputs(params, ids, times, **sizes) @ np.stack(table).T / temperature


def loss(params, sequences, labels, times=None, **sizes):
    """Sum over sequences and positions of -log softmax(scores)[label]."""
    total, times = 0.0, times or [None] * len(sequences)
    for ids, wanted, when in zip(sequences, labels, times, strict=True):
        for row, label in zip(scores(params, ids, when, **sizes), wanted, strict=True):
            top = row.max()
            total += top + np.log(np.exp(row - top).sum()) - row[label]
    return total


def gradients(params, *case, **sizes):
    """Gradient of `loss` in every parameter, a tree like params."""
    params = wide(params)

    def of(tree):
        if isinstance(tree, dict):
            return {name: of(part) for name, part in tree.items()}
        slopes = np.zeros_like(tree)
        for place in np.ndindex(tree.shape):
            kept, around = tree[place], []
            for sign in (1, -1):
                tree[place] = kept + sign * _STEP
                around.append(loss(params, *case, **sizes))
            tree[place] = kept
            slopes[place] = (around[0] - around[1]) / (2 * _STEP)
        return slopes

    return of(params)


def wide(tree):
    """A copy in float64."""
    if isinstance(tree, dict):
        return {name: wide(part) for name, part in tree.items()}
    return np.array(tree, np.float64)


def silu(x):
    return x / (1 + np.exp(-x))


def norm(row):
    centred = row - row.mean()
    return centred / np.sqrt((centred**2).mean() + 1e-6)
