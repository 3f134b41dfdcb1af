"""The published equations in float64 numpy, position by position: the oracle of peers.

Sources: LRURec (Yue et al., "Linear Recurrent Units for Sequential Recommendation",
WSDM 2024; where paper and released code yueqirex/LRURec differ, the code), SASRec (Kang
and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018).

Parameters are flat mappings from the names that a PyTorch ``state_dict`` gives them to
numpy arrays; linear weights are (out, in). `published_parameters` draws one for LRURec,
as released: truncated normal for everything but norms and recurrences.
"""

import math
from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]

LAYER_NORM_EPSILON = 1e-5
HIDDEN = -1e9  # score of what must not be recommended

_erf = np.vectorize(math.erf, otypes=[np.float64])


def published_parameters(
    items: int,
    dim: int = 64,
    blocks: int = 2,
    seed: int = 0,
    scale: float = 0.02,
    dtype: str = "float32",
) -> dict[str, np.ndarray]:
    """Draws parameters of LRURec, under the names of the released PyTorch model.

    Args:
        items: Catalogue size N; tables have N + 1 rows.
        dim: Width D; a recurrence has 2 D complex channels.
        blocks: Number of blocks.
        seed: Of the draw.
        scale: Standard deviation before cutting at two of them; 0.02 as released.
            Larger weights make a comparison of programs sharper.
        dtype: "float32" or "float64"; complex arrays have the matching dtype.
    """
    random = np.random.default_rng(seed)
    channels = 2 * dim
    complex_dtype = np.result_type(dtype, np.complex64)

    def real(*shape):
        draw = random.normal(size=shape)
        while (outside := np.abs(draw) > 2).any():
            draw[outside] = random.normal(size=outside.sum())
        return (scale * draw).astype(dtype)

    def complex_(*shape):
        return (real(*shape) + 1j * real(*shape)).astype(complex_dtype)

    def norm(name):
        return {
            f"{name}.weight": np.ones(dim, dtype),
            f"{name}.bias": np.zeros(dim, dtype),
        }

    def ring():
        u1, u2 = random.random((2, channels))
        squared = u1 * (0.99**2 - 0.8**2) + 0.8**2  # |lambda|^2
        nu_log = np.log(-0.5 * np.log(squared))
        theta_log = np.log(2 * np.pi * u2)
        return np.stack([nu_log, theta_log, 0.5 * np.log1p(-squared)]).astype(dtype)

    params = {
        "embedding.token.weight": real(items + 1, dim),
        **norm("embedding.layer_norm"),
        "model.bias": real(items + 1),
    }
    for index in range(blocks):
        lru = f"model.lru_blocks.{index}.lru_layer"
        feed = f"model.lru_blocks.{index}.feed_forward"
        params |= {
            f"{lru}.params_log": ring(),
            f"{lru}.in_proj.weight": complex_(channels, dim),
            f"{lru}.in_proj.bias": complex_(channels),
            f"{lru}.out_proj.weight": complex_(dim, channels),
            f"{lru}.out_proj.bias": complex_(dim),
            **norm(f"{lru}.layer_norm"),
            f"{feed}.w_1.weight": real(4 * dim, dim),
            f"{feed}.w_1.bias": real(4 * dim),
            f"{feed}.w_2.weight": real(dim, 4 * dim),
            f"{feed}.w_2.bias": real(dim),
            **norm(f"{feed}.layer_norm"),
        }
    return params


def block_count(params: Arrays) -> int:
    """Returns the number of blocks that a mapping of LRURec's parameters has."""
    return sum(name.endswith(".params_log") for name in params)


def is_decayed(name: str) -> bool:
    """Whether the released optimiser decays a parameter: no bias and no layer norm."""
    return "bias" not in name and "layer_norm" not in name


def recurrence(lam: np.ndarray, x: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Returns h_t = lambda keep_t h_{t-1} + x_t with h before the start 0.

    Args:
        lam: (h,) complex.
        x: (b, t, h) complex.
        keep: (b, t), 0 where the state is reset.
    """
    states, state = [], np.zeros_like(x[:, 0])
    for t in range(x.shape[1]):
        state = lam * keep[:, t, None] * state + x[:, t]
        states.append(state)
    return np.stack(states, 1)


def lrurec_hidden(params: Arrays, tokens: np.ndarray) -> np.ndarray:
    """Returns the outputs (b, t, d) of LRURec without dropout for tokens (b, t)."""
    params = _wide(params)
    valid = tokens > 0
    keep = np.concatenate([valid[:, :1], valid[:, :-1]], 1)  # m_{t-1}
    x = _norm(params, "embedding.layer_norm", params["embedding.token.weight"][tokens])
    for index in range(block_count(params)):
        lru = f"model.lru_blocks.{index}.lru_layer"
        feed = f"model.lru_blocks.{index}.feed_forward"
        nu, theta, gamma = np.exp(params[f"{lru}.params_log"])
        u = gamma * _linear(params, f"{lru}.in_proj", x)
        h = recurrence(np.exp(-nu + 1j * theta), u, keep)
        y = _linear(params, f"{lru}.out_proj", h).real
        z = _norm(params, f"{lru}.layer_norm", y + x)
        inner = _linear(params, f"{feed}.w_1", z)
        inner = 0.5 * inner * (1 + _erf(inner / math.sqrt(2)))  # exact GELU
        x = _norm(
            params, f"{feed}.layer_norm", _linear(params, f"{feed}.w_2", inner) + z
        )
    return x


def lrurec_loss(params: Arrays, tokens: np.ndarray, labels: np.ndarray) -> float:
    """Returns LRURec's loss: mean cross entropy over all N + 1 columns at targets."""
    hidden = lrurec_hidden(params, tokens)
    total = softmax_ce(
        hidden.reshape(-1, hidden.shape[-1]),
        params["embedding.token.weight"],
        params["model.bias"],
        labels.reshape(-1),
        (labels > 0).reshape(-1),
    )
    return total / np.count_nonzero(labels)


def softmax_ce(
    x: np.ndarray,
    table: np.ndarray,
    bias: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
) -> float:
    """Returns the sum over n positions of -w log softmax(x E^T + b)[label].

    Args:
        x: (n, d).
        table: (v, d).
        bias: (v,).
        labels: (n,) int.
        weights: (n,).
    """
    total = 0.0
    for position in np.flatnonzero(weights):
        scores = table.astype(np.float64) @ x[position].astype(np.float64) + bias
        top = scores.max()
        log_sum = top + math.log(np.exp(scores - top).sum())
        total += float(weights[position]) * (log_sum - scores[labels[position]])
    return float(total)


def top_k(
    table: np.ndarray, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k highest scores (b, k), highest first, and their rows (b, k)."""
    scores = queries.astype(np.float64) @ table.astype(np.float64).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, 1), rows


def sasrec_hidden(params: Arrays, tokens: np.ndarray) -> np.ndarray:
    """Returns the outputs (b, t, d) of the SASRec-like peer without dropout.

    Pre-norm blocks, one head, learned positions; a position sees itself and earlier
    positions that are not padding (id 0).
    """
    params = _wide(params)
    batch, length = tokens.shape
    dim = params["token.weight"].shape[1]
    x = params["token.weight"][tokens] + params["position.weight"][-length:]
    seen = np.tril(np.ones((length, length), bool))[None] & (tokens > 0)[:, None]
    seen = seen | np.eye(length, dtype=bool)[None]
    blocks = sum(name.endswith(".attention_layer_norm.weight") for name in params)
    for index in range(blocks):
        name = f"blocks.{index}"
        normed = _norm(params, f"{name}.attention_layer_norm", x)
        query, key, value = np.split(_linear(params, f"{name}.qkv", normed), 3, -1)
        logits = np.where(seen, query @ key.swapaxes(1, 2) / math.sqrt(dim), -np.inf)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights = weights / weights.sum(-1, keepdims=True)
        x = x + _linear(params, f"{name}.output", weights @ value)
        normed = _norm(params, f"{name}.feed_layer_norm", x)
        inner = np.maximum(_linear(params, f"{name}.w_1", normed), 0)
        x = x + _linear(params, f"{name}.w_2", inner)
    return _norm(params, "last_layer_norm", x)


def _wide(params: Arrays) -> dict[str, np.ndarray]:
    return {
        name: value.astype(np.result_type(value.dtype, np.float64))
        for name, value in params.items()
    }


def _linear(params: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def _norm(params: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + LAYER_NORM_EPSILON)
    return centred / deviation * params[f"{name}.weight"] + params[f"{name}.bias"]
