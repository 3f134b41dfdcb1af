"""BERT, ALBERT, GPT-2, LLaMA and Transformer-XL restated in float64, numpy only.

Written from the published equations. Nothing is padded, masked or packed here: a
sequence is the list of its items, a query looks at the list of its keys, and what
depends on a distance is computed for that distance.
"""

import math

import numpy as np


def outputs(name, params, ids, *, heads, causal):
    """Outputs (t, w) of a sequence of ids (t,) by the architecture called `name`."""
    x = _EMBEDDINGS[name](params, ids)
    layers = [params[key] for key in sorted(params) if key.startswith("block_")]
    if name == "albert":
        layers = [params["block"]] * 2
    for block in layers:

        def attention(n, block=block):
            return _attention(name, params, block, n, heads, causal)

        def feed_forward(n, block=block):
            return _FEED_FORWARD[name](block, n)

        for part, norm in ((attention, "norm"), (feed_forward, "ffn_norm")):
            if name in ("gpt2", "llama"):
                x = x + part(_norm(name, block[norm], x))
            else:
                x = _norm(name, block[norm], x + part(x))
    if name in ("gpt2", "llama"):
        x = _norm(name, params["norm"], x)
    return linear(params["back"], x) if "back" in params else x


def loss(name, params, sequences, labels, **choices):
    """Sum over sequences of -log softmax(scores)[label] where the label is not 0."""
    total = 0.0
    for ids, wanted in zip(sequences, labels, strict=True):
        hidden = outputs(name, params, ids, **choices)
        scores = hidden @ params["embedding"]["table"].T
        for row, label in zip(scores, wanted, strict=True):
            if label:
                top = row.max()
                total += top + np.log(np.exp(row - top).sum()) - row[label]
    return total


def _bert_embedding(params, ids):
    tables = params["embedding"]
    x = tables["table"][ids] + tables["token_type"] + tables["position"][: len(ids)]
    return _norm("bert", tables["norm"], x)


_EMBEDDINGS = {
    "bert": _bert_embedding,
    "albert": lambda p, ids: linear(p["into"], _bert_embedding(p, ids)),
    "gpt2": lambda p, ids: (
        p["embedding"]["table"][ids] + p["embedding"]["position"][: len(ids)]
    ),
    "llama": lambda p, ids: p["embedding"]["table"][ids],
    "transformer_xl": lambda p, ids: (
        p["embedding"]["table"][ids] * math.sqrt(p["embedding"]["table"].shape[1])
    ),
}


def _attention(name, params, block, x, heads, causal):
    q, k, v = (linear(block[part], x) for part in ("query", "key", "value"))
    t, dim = x.shape
    width = dim // heads
    y = np.zeros((t, dim))
    for h in range(heads):
        own = slice(h * width, (h + 1) * width)
        for i in range(t):
            seen = range(i + 1) if causal else range(t)
            scores = np.array(
                [_score(name, params, block, q[i], k[j], i - j, h, own) for j in seen]
            ) / math.sqrt(width)
            weights = np.exp(scores - scores.max())
            y[i, own] = weights @ v[list(seen), own] / weights.sum()
    return linear(block["out"], y)


def _score(name, params, block, q, k, distance, h, own):
    """Of one query and one key at a signed distance, before the scaling."""
    if name == "llama":
        half = (own.stop - own.start) // 2
        one, two = (a[own][:half] + 1j * a[own][half:] for a in (q, k))
        turn = np.exp(1j * distance / 10000 ** (np.arange(half) / half))
        return (one * turn * two.conj()).sum().real
    if name == "transformer_xl":
        half = len(q) // 2
        angles = distance / 10000 ** (np.arange(half) / half)
        relative = np.concatenate([np.sin(angles), np.cos(angles)])
        relative = (relative @ block["relative"]["kernel"])[own]
        content = (q[own] + params["content_bias"][h]) @ k[own]
        return content + (q[own] + params["position_bias"][h]) @ relative
    return q[own] @ k[own]


def _two_maps(activation):
    return lambda block, x: linear(
        block["ffn_out"], activation(linear(block["ffn_in"], x))
    )


def _swiglu(block, x):
    gate = linear(block["gate"], x)
    gate = gate / (1 + np.exp(-gate))
    return linear(block["ffn_out"], gate * linear(block["ffn_in"], x))


def _gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


_FEED_FORWARD = {
    "bert": _two_maps(_gelu),
    "albert": _two_maps(_gelu),
    "gpt2": _two_maps(_gelu_tanh),
    "llama": _swiglu,
    "transformer_xl": _two_maps(lambda x: np.maximum(x, 0)),
}


def _norm(name, params, x):
    if name == "llama":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * params["scale"]
    epsilon = 1e-12 if name in ("bert", "albert") else 1e-5
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return centred / deviation * params["scale"] + params["bias"]


def linear(params, x):
    """x W + b, or x W."""
    return x @ params["kernel"] + params.get("bias", 0.0)
