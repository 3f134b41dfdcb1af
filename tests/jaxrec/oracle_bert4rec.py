"""The released BERT4Rec restated in float64 under its names, numpy only.

Written to the released code (yueqirex/ModSAR, re-evaluation), as `oracle_sar.py` is:
ids right padded to the whole window, scores of masked keys -1e4.
"""

import math

import numpy as np

from tests.jaxrec.oracle import Back, State, cross_entropy, layer_norm, linear, wide
from tests.jaxrec.oracle_sar import Choices, allowed, multi_head


def random_state(
    rng: np.random.Generator, items: int, dim: int, blocks: int, length: int
) -> State:
    """Parameters of a plausible trained model, float32."""

    def normal(*shape, scale=0.3):
        return rng.normal(0, scale, shape).astype(np.float32)

    def norm(name):
        return {f"{name}.a_2": 1 + normal(dim), f"{name}.b_2": normal(dim)}

    def affine(name, out, into):
        return {f"{name}.weight": normal(out, into), f"{name}.bias": normal(out)}

    state = {
        "embedding.token.weight": normal(items + 5, dim),
        "embedding.token_type.weight": normal(2, dim),
        "embedding.position.pe.weight": normal(length, dim),
        "bias.weight": normal(items + 5, 1),
        **norm("embedding.norm"),
        **affine("output.linear", dim, dim),
        **norm("output.layer_norm"),
    }
    for i in range(blocks):
        block = f"transformer_blocks.{i}"
        for j in range(3):
            state |= affine(f"{block}.attention.linear_layers.{j}", dim, dim)
        state |= {
            **affine(f"{block}.attention.output_linear", dim, dim),
            **affine(f"{block}.feed_forward.w_1", 4 * dim, dim),
            **affine(f"{block}.feed_forward.w_2", dim, 4 * dim),
            **norm(f"{block}.input_sublayer.norm"),
            **norm(f"{block}.output_sublayer.norm"),
        }
    return state


def logits(state: State, ids, choices: Choices) -> np.ndarray:
    """Scores (b, length, items + 5) of ids (b, length), right padded with 0."""
    return _forward(wide(state), ids, choices)[0]


def loss(state: State, ids, labels, choices: Choices) -> float:
    """Mean cross-entropy over all columns at the positions whose label is not 0."""
    return cross_entropy(logits(state, ids, choices), labels)[0]


def gradients(state: State, ids, labels, choices: Choices) -> State:
    """Gradient of `loss` by name."""
    scores, back = _forward(wide(state), ids, choices)
    return back(cross_entropy(scores, labels)[1])


def _forward(state, ids, choices):
    table = state["embedding.token.weight"]
    x = table[ids] + state["embedding.token_type.weight"][0]
    x, back = _norm(state, "embedding.norm", x + state["embedding.position.pe.weight"])
    backs, mask, i = [back], allowed(ids, choices), 0
    while f"transformer_blocks.{i}.feed_forward.w_1.weight" in state:
        x, back = _block(state, f"transformer_blocks.{i}", x, mask, choices.heads)
        backs.append(back)
        i += 1
    parts = (
        lambda x: linear(state, "output.linear", x),
        _gelu,
        lambda x: _norm(state, "output.layer_norm", x),
    )
    for part in parts:
        x, back = part(x)
        backs.append(back)

    def backward(g):
        grads = {"bias.weight": g.sum((0, 1))[:, None]}
        d_table = np.einsum("btv,btd->vd", g, x)
        d_x = g @ table
        for back in reversed(backs):
            d_x = back(d_x, grads)
        grads["embedding.position.pe.weight"] = d_x.sum(0)
        types = [d_x.sum((0, 1)), np.zeros(d_x.shape[-1])]
        grads["embedding.token_type.weight"] = np.stack(types)
        np.add.at(d_table, ids, (ids != 0)[..., None] * d_x)
        return grads | {"embedding.token.weight": d_table}

    return x @ table.T + state["bias.weight"][:, 0], backward


def _block(state, name, x, mask, heads):
    def attention(x):
        return multi_head(state, f"{name}.attention", x, mask, heads, -1e4)

    def feed_forward(x):
        y, back_1 = linear(state, f"{name}.feed_forward.w_1", x)
        y, back_gelu = _gelu(y)
        y, back_2 = linear(state, f"{name}.feed_forward.w_2", y)
        return y, lambda g, s: back_1(back_gelu(back_2(g, s), s), s)

    backs = []
    for part, norm in ((attention, "input"), (feed_forward, "output")):
        y, back = part(x)
        x, back_norm = _norm(state, f"{name}.{norm}_sublayer.norm", x + y)
        backs.append((back_norm, back))

    def backward(g, grads):
        for back_norm, back in reversed(backs):
            g = back_norm(g, grads)
            g = g + back(g, grads)
        return g

    return x, backward


def _gelu(x) -> tuple[np.ndarray, Back]:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    scale = math.sqrt(2 / math.pi)
    tanh = np.tanh(scale * (x + 0.044715 * x**3))
    inner = scale * (1 + 3 * 0.044715 * x**2)
    slope = 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh**2) * inner
    return 0.5 * x * (1 + tanh), lambda g, grads: g * slope


def _norm(state, name, x) -> tuple[np.ndarray, Back]:
    return layer_norm(state, name, x, 1e-12, "a_2", "b_2")
