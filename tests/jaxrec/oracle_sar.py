"""The released SAR restated in float64 under its names, with gradients, numpy only.

Written to the released code (yueqirex/ModSAR, design space): ids are right padded to
the whole window, positions are slots, scores of masked keys are -1e12, heads are the
first axis. As in `oracle.py` every part returns its output and a function from the
gradient of the output to that of the input, which also notes those of parameters.
"""

import dataclasses
import math

import numpy as np

from tests.jaxrec.oracle import Back, State, cross_entropy, layer_norm, linear, wide


@dataclasses.dataclass(frozen=True)
class Choices:
    """What the tensors do not show."""

    heads: int = 1
    causal: bool = True
    norm_first: bool = True
    windows: tuple[int, ...] = ()


def random_state(
    rng: np.random.Generator, items: int, dim: int, blocks: int, length: int, users=0
) -> State:
    """Parameters of a plausible trained model, float32; `users` makes it SSE-PT."""

    def normal(*shape, scale=0.3):
        return rng.normal(0, scale, shape).astype(np.float32)

    def norm(name):
        return {f"{name}.weight": 1 + normal(dim), f"{name}.bias": normal(dim)}

    def affine(name, out, into):
        return {f"{name}.weight": normal(out, into), f"{name}.bias": normal(out)}

    columns = dim // 2 if users else dim
    state = {
        "embedding.token.weight": normal(items + 2, columns),
        "embedding.position.pe.weight": normal(length, dim),
        "bias.weight": normal(items + 2, 1),
        **norm("last_norm"),
    }
    if users:
        state["embedding.user.weight"] = normal(users + 1, columns)
    for i in range(blocks):
        block = f"transformer_blocks.{i}"
        for j in range(3):
            state |= affine(f"{block}.attn.linear_layers.{j}", dim, dim)
        state |= {
            **affine(f"{block}.attn.output_linear", dim, dim),
            **norm(f"{block}.attn_layernorm"),
            **affine(f"{block}.fwd.w_1", 4 * dim, dim),
            **affine(f"{block}.fwd.w_2", dim, 4 * dim),
            **norm(f"{block}.fwd_layernorm"),
        }
    return state


def logits(state: State, ids, choices: Choices, users=None) -> np.ndarray:
    """Scores (b, length, items + 2) of ids (b, length), right padded with 0."""
    return _forward(wide(state), ids, choices, users)[0]


def loss(state: State, ids, labels, choices: Choices, users=None) -> float:
    """Mean cross-entropy over all columns at the positions whose label is not 0."""
    return cross_entropy(logits(state, ids, choices, users), labels)[0]


def gradients(state: State, ids, labels, choices: Choices, users=None) -> State:
    """Gradient of `loss` by name."""
    scores, back = _forward(wide(state), ids, choices, users)
    return back(cross_entropy(scores, labels)[1])


def _forward(state, ids, choices, users):
    table = state["embedding.token.weight"]
    dim = state["embedding.position.pe.weight"].shape[1]
    x = table[ids] * math.sqrt(dim)
    if users is not None:
        user = state["embedding.user.weight"][users][:, None]
        x = np.concatenate([x, np.repeat(user, ids.shape[1], 1)], -1)
    x = x + state["embedding.position.pe.weight"]
    mask = allowed(ids, choices)
    backs = []
    i = 0
    while f"transformer_blocks.{i}.fwd.w_1.weight" in state:
        x, back = _block(state, f"transformer_blocks.{i}", x, mask, choices)
        backs.append(back)
        i += 1
    x, back = layer_norm(state, "last_norm", x)
    backs.append(back)
    width = table.shape[1]
    scores = x[..., :width] @ table.T
    if users is not None:
        scores = scores + (x[..., width:] * user).sum(-1, keepdims=True)

    def backward(g):
        grads = {"bias.weight": np.zeros_like(state["bias.weight"])}
        d_table = np.einsum("btv,btd->vd", g, x[..., :width])
        d_x = g @ table
        if users is not None:
            total = g.sum(-1, keepdims=True)
            d_x = np.concatenate([d_x, total * user], -1)
            d_user = (total * x[..., width:]).sum(1)
        for back in reversed(backs):
            d_x = back(d_x, grads)
        grads["embedding.position.pe.weight"] = d_x.sum(0)
        if users is not None:
            d_all = np.zeros_like(state["embedding.user.weight"])
            np.add.at(d_all, users, d_user + d_x[..., width:].sum(1))
            grads["embedding.user.weight"] = d_all
        looked_up = (ids != 0)[..., None] * d_x[..., :width] * math.sqrt(dim)
        np.add.at(d_table, ids, looked_up)  # none for the padding index
        return grads | {"embedding.token.weight": d_table}

    return scores, backward


def allowed(ids, choices: Choices) -> np.ndarray:
    """Which keys a query sees, (b, h, t, t)."""
    length = ids.shape[1]
    mask = np.repeat((ids != 0)[:, None, None], length, 2)
    if choices.causal:
        mask = mask & np.tril(np.ones((length, length), bool))
    slots = np.arange(length)
    distance = np.abs(slots[:, None] - slots)
    heads = choices.windows or (0,) * choices.heads
    return np.concatenate([mask & (not w or distance <= w) for w in heads], 1)


def _block(state, name, x, mask, choices):
    def attention(x):
        return multi_head(state, f"{name}.attn", x, mask, choices.heads, -1e12)

    def feed_forward(x):
        wide_x, back_1 = linear(state, f"{name}.fwd.w_1", x)
        y, back_2 = linear(state, f"{name}.fwd.w_2", np.maximum(wide_x, 0))
        return y, lambda g, grads: back_1(back_2(g, grads) * (wide_x > 0), grads)

    backs = []
    for part, norm in ((attention, "attn_layernorm"), (feed_forward, "fwd_layernorm")):
        if choices.norm_first:
            x, back_norm = layer_norm(state, f"{name}.{norm}", x)
            y, back = part(x)
            x = x + y
        else:
            y, back = part(x)
            x, back_norm = layer_norm(state, f"{name}.{norm}", x + y)
        backs.append((back_norm, back))

    def backward(g, grads):
        for back_norm, back in reversed(backs):
            if choices.norm_first:
                g = back_norm(g + back(g, grads), grads)
            else:
                g = back_norm(g, grads)
                g = g + back(g, grads)
        return g

    return x, backward


def multi_head(state, name, x, mask, heads, masked) -> tuple[np.ndarray, Back]:
    """Multi-head attention with its output map, `masked` being the score of no key."""
    batch, length, dim = x.shape

    def split(a):
        return a.reshape(batch, length, heads, -1).swapaxes(1, 2)

    def merged(a):
        return a.swapaxes(1, 2).reshape(batch, length, dim)

    maps = [linear(state, f"{name}.linear_layers.{i}", x) for i in range(3)]
    q, k, v = (split(y) for y, _ in maps)
    scale = 1 / math.sqrt(dim // heads)
    scores = np.where(mask, scale * q @ k.swapaxes(2, 3), masked)
    exp = np.exp(scores - scores.max(-1, keepdims=True))
    p = exp / exp.sum(-1, keepdims=True)
    y, back_out = linear(state, f"{name}.output_linear", merged(p @ v))

    def back(g, grads):
        d_heads = split(back_out(g, grads))
        d_p = d_heads @ v.swapaxes(2, 3)
        d_scores = mask * p * (d_p - (d_p * p).sum(-1, keepdims=True))
        parts = (
            scale * d_scores @ k,
            scale * d_scores.swapaxes(2, 3) @ q,
            p.swapaxes(2, 3) @ d_heads,
        )
        pairs = zip(maps, parts, strict=True)
        return sum(back(merged(d), grads) for (_, back), d in pairs)

    return y, back
