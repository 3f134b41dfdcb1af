"""SAR with local heads of every kind restated in float64, numpy loops only.

One sequence without padding at a time, from the parameters of `jaxrec.models.sar`, and
position by position: no masks, no shifted copies, no tables of pairs.
"""

import math

import numpy as np


def encode(params, cfg, ids) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (t, D) of ids (t,), and attention weights (blocks, h, t, t)."""
    tables = params["embedding"]
    x = tables["table"][ids] * math.sqrt(cfg.dim)
    if "position" in tables:
        x = x + tables["position"][: len(ids)]
    weights = []
    for i in range(cfg.blocks):
        block = params[f"block_{i}"]
        x = _norm(block["norm"], x)
        y, own = _heads(block, cfg, x)
        weights.append(own)
        x = x + _affine(block["out"], y)
        x = _norm(block["ffn_norm"], x)
        x = x + _affine(block["ffn_out"], np.maximum(_affine(block["ffn_in"], x), 0))
    return _norm(params["norm"], x), np.array(weights)


def _heads(block, cfg, x):
    q, k, v = (_affine(block[name], x) for name in ("query", "key", "value"))
    e = cfg.dim // cfg.heads
    outputs, attentions = [], []
    for head, window in enumerate(cfg.windows):
        own = slice(head * e, (head + 1) * e)
        local = block["local"][f"head_{head}"] if window else None
        y, weights = np.zeros((len(x), e)), np.zeros((len(x), len(x)))
        for i in range(len(x)):
            if window and cfg.local in ("conv", "rnn"):
                read = _conv if cfg.local == "conv" else _gru
                y[i] = read(local, v[:, own], i, window, cfg.causal)
                continue
            seen = range(i + 1 if cfg.causal else len(x))
            scores = [q[i, own] @ k[j, own] / math.sqrt(e) for j in seen]
            if window:
                scores = [
                    _adjusted(local, cfg, s, i - j, v[j, own])
                    for j, s in zip(seen, scores, strict=True)
                ]
            weights[i, : len(seen)] = np.exp(np.array(scores) - max(scores))
            weights[i] /= weights[i].sum()
            for j in seen:
                y[i] += weights[i, j] * v[j, own]
        outputs.append(y)
        if weights.any():
            attentions.append(weights)
    return np.concatenate(outputs, -1), attentions


def _adjusted(local, cfg, score, behind, value):
    """A score of a key that is `behind` the query (before it if negative)."""
    row = local["relative"][behind if cfg.causal else behind + cfg.length - 1]
    if cfg.local == "initial":
        return score / (1 + math.exp(-10 * row))
    return score + (row + value) @ local["kernel"][:, 0]


def _conv(local, v, i, window, causal):
    e = v.shape[1]
    y = local["bias"].copy()
    for tap, offset in enumerate(range(-window, 1 if causal else window + 1)):
        if 0 <= i + offset < len(v):
            y += v[i + offset] @ local["kernel"][tap * e : (tap + 1) * e]
    return np.maximum(y, 0)


def _gru(local, v, i, window, causal):
    """Cho et al., 2014, as cuDNN has it: the reset gate is applied to the product."""
    state = np.zeros(v.shape[1])
    last = i if causal else min(i + window, len(v) - 1)
    for j in range(max(i - window, 0), last + 1):
        of_input = np.split(_affine(local["input"], v[j]), 3)
        of_state = np.split(_affine(local["state"], state), 3)
        reset, keep = (1 / (1 + np.exp(-of_input[n] - of_state[n])) for n in (0, 1))
        new = np.tanh(of_input[2] + reset * of_state[2])
        state = (1 - keep) * new + keep * state
    return state


def _affine(params, x):
    return x @ params["kernel"] + params["bias"]


def _norm(params, x):
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / deviation * params["scale"] + params["bias"]
