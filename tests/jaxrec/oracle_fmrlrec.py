"""fMRLRec restated in float64 under the released names.

Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", EMNLP 2024 Findings, written to the released code
(yueqirex/fMRLRec), complex and batch-major as there, in numpy only. Gradients are as in
`oracle.py`, and checked there and by `test_interop_fmrlrec.py` in the same way.
"""

import numpy as np

from tests.jaxrec.oracle import (
    Back,
    State,
    cross_entropy,
    layer_norm,
    linear,
    step_loop,
    wide,
)

_LINEARS = ("feed_forward.gate", "feed_forward.w_1", "feed_forward.w_2")


def random_state(
    rng: np.random.Generator,
    items: int,
    sizes: tuple[int, ...],
    blocks: int,
    text: int,
    image: int,
) -> State:
    """Parameters of a plausible trained model, float32 and complex64."""
    dim = sizes[-1]

    def normal(*shape, scale=0.15):
        return rng.normal(0, scale, shape).astype(np.float32)

    def features(columns):
        return np.concatenate(
            [np.zeros((1, columns), np.float32), normal(items, columns)]
        )

    def nested(name, is_complex=False):
        found, begin = {}, 0
        for i, end in enumerate(sizes):
            for kind, shape in (
                ("weight", (end - begin, end)),
                ("bias", (end - begin,)),
            ):
                value = normal(*shape) + (1j * normal(*shape) if is_complex else 0)
                found[f"{name}.mrl_linear_{i}.{kind}"] = value
            begin = end
        return found

    def norm(name):
        found = {}
        for i, width in enumerate(np.diff([0, *sizes])):
            found[f"{name}.layernorm_{i}.weight"] = 1 + normal(width)
            found[f"{name}.layernorm_{i}.bias"] = normal(width)
        return found

    state = {
        "embedding.token_lang.weight": features(text),
        "embedding.token_img.weight": features(image),
        "embedding.projector.weight": normal(dim, text + image, scale=0.8),
        "embedding.projector.bias": normal(dim),
    }
    for i in range(blocks):
        block = f"model.lru_blocks.{i}"
        squared = rng.uniform(0.4**2, 0.99**2, dim)
        logs = (
            np.log(-0.5 * np.log(squared)),
            np.log(2 * np.pi * rng.uniform(0.01, 1, dim)),
            0.5 * np.log(1 - squared),
        )
        state |= {
            f"{block}.lru_layer.params_log": np.stack(logs).astype(np.float32),
            **norm(f"{block}.input_layernorm"),
            **norm(f"{block}.post_lru_layernorm"),
            **nested(f"{block}.lru_layer.in_proj", True),
            **nested(f"{block}.lru_layer.out_proj", True),
        }
        for name in _LINEARS:
            state |= nested(f"{block}.{name}")
    return state


def logits(state: State, sizes: tuple[int, ...], ids: np.ndarray) -> list[np.ndarray]:
    """Scores (b, t, items + 1) of ids (b, t) at every size, without dropout."""
    return _forward(state, sizes, ids)[0]


def loss(
    state: State, sizes: tuple[int, ...], ids: np.ndarray, labels: np.ndarray
) -> float:
    """Mean over sizes of the mean cross-entropy where the label is not 0."""
    scores = logits(state, sizes, ids)
    return sum(cross_entropy(s, labels)[0] for s in scores) / len(sizes)


def gradients(
    state: State, sizes: tuple[int, ...], ids: np.ndarray, labels: np.ndarray
) -> State:
    """Gradient of `loss` by name, of all but the features."""
    scores, back = _forward(wide(state), sizes, ids)
    return back([cross_entropy(s, labels)[1] / len(sizes) for s in scores])


def decayed(name: str) -> bool:
    """The released groups: names without "bias" and "layer_norm", which no name has."""
    return "bias" not in name and "layer_norm" not in name


def _forward(state, sizes, ids):
    names = ("embedding.token_lang.weight", "embedding.token_img.weight")
    features = np.concatenate([state[name] for name in names], 1)
    weight = state["embedding.projector.weight"]
    table = features @ weight.T + state["embedding.projector.bias"]
    x, backs, i = table[ids], [], 0
    mask = (ids > 0).astype(np.float64)
    while f"model.lru_blocks.{i}.lru_layer.params_log" in state:
        block = f"model.lru_blocks.{i}"
        for part in (_lru(block, sizes, mask), _feed_forward(block, sizes)):
            y, back = part(state, x)
            x = x + y
            backs.append(back)
        i += 1
    scores = [x[..., :size] @ table[:, :size].T for size in sizes]

    def backward(gs):
        grads, d_table, g = {}, np.zeros_like(table), np.zeros_like(x)
        for size, d_scores in zip(sizes, gs, strict=True):
            d_table[:, :size] += np.einsum("btv,btd->vd", d_scores, x[..., :size])
            g[..., :size] += d_scores @ table[:, :size]
        for back in reversed(backs):
            g = g + back(g, grads)
        np.add.at(d_table, ids, g)
        grads["embedding.projector.weight"] = d_table.T @ features
        grads["embedding.projector.bias"] = d_table.sum(0)
        return grads

    return scores, backward


def _increments(sizes):
    return enumerate(zip((0, *sizes[:-1]), sizes, strict=True))


def _nested(state, name, sizes, x) -> tuple[np.ndarray, Back]:
    parts = [
        linear(state, f"{name}.mrl_linear_{i}", x[..., :end])
        for i, (_, end) in _increments(sizes)
    ]

    def back(g, grads):
        d_x = np.zeros_like(x, g.dtype)
        for i, (begin, end) in _increments(sizes):
            d_x[..., :end] += parts[i][1](g[..., begin:end], grads)
        return d_x

    return np.concatenate([y for y, _ in parts], -1), back


def _norm(state, name, sizes, x) -> tuple[np.ndarray, Back]:
    parts = [
        layer_norm(state, f"{name}.layernorm_{i}", x[..., begin:end])
        for i, (begin, end) in _increments(sizes)
    ]

    def back(g, grads):
        return np.concatenate(
            [
                parts[i][1](g[..., begin:end], grads)
                for i, (begin, end) in _increments(sizes)
            ],
            -1,
        )

    return np.concatenate([y for y, _ in parts], -1), back


def _lru(block, sizes, mask):
    lru = f"{block}.lru_layer"

    def apply(state, x) -> tuple[np.ndarray, Back]:
        normed, back_norm = _norm(state, f"{block}.input_layernorm", sizes, x)
        nu, theta, gain = np.exp(state[f"{lru}.params_log"])
        lam = np.exp(-nu + 1j * theta)
        v, back_in = _nested(state, f"{lru}.in_proj", sizes, normed)
        u = gain * v
        h = step_loop(lam, u, mask)
        y, back_out = _nested(state, f"{lru}.out_proj", sizes, h)

        def back(g, grads):
            d_h = back_out(g + 0j, grads)
            for t in range(h.shape[1] - 1, 0, -1):  # d_h becomes the gradient of u
                d_h[:, t - 1] += np.conj(lam) * mask[:, t - 1, None] * d_h[:, t]
            carried = mask[:, :-1, None] * h[:, :-1]
            d_lam = np.sum(np.conj(carried) * d_h[:, 1:], (0, 1))
            grads[f"{lru}.params_log"] = np.stack(
                [
                    (np.conj(d_lam) * -nu * lam).real,
                    (np.conj(d_lam) * 1j * theta * lam).real,
                    np.sum((np.conj(d_h) * u).real, (0, 1)),
                ]
            )
            return back_norm(back_in(gain * d_h, grads).real, grads)

        return y.real, back

    return apply


def _feed_forward(block, sizes):
    ffn = f"{block}.feed_forward"

    def apply(state, x) -> tuple[np.ndarray, Back]:
        normed, back_norm = _norm(state, f"{block}.post_lru_layernorm", sizes, x)
        gate, back_gate = _nested(state, f"{ffn}.gate", sizes, normed)
        value, back_1 = _nested(state, f"{ffn}.w_1", sizes, normed)
        sigmoid = 1 / (1 + np.exp(-gate))
        out, back_2 = _nested(state, f"{ffn}.w_2", sizes, gate * sigmoid * value)

        def back(g, grads):
            d_product = back_2(g, grads)
            slope = sigmoid * (1 + gate * (1 - sigmoid))
            d_normed = back_gate(d_product * value * slope, grads)
            d_normed += back_1(d_product * gate * sigmoid, grads)
            return back_norm(d_normed, grads)

        return out, back

    return apply
