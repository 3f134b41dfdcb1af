"""LRURec restated in float64 under the released names, and one AdamW step of torch.

Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024, written
to the released code (yueqirex/LRURec), complex and batch-major as there, in numpy only.

Every part of the network returns its output and a function from the gradient of the
output to that of the input, which also writes the gradients of parameters into a dict.
Gradients of complex numbers are dL/dRe + i dL/dIm, as torch keeps them.
`test_interop_lrurec.py` compares them with differences of the loss.
"""

import math
from collections.abc import Callable

import numpy as np

State = dict[str, np.ndarray]
Back = Callable[[np.ndarray, State], np.ndarray]


def random_state(rng: np.random.Generator, items: int, dim: int, blocks: int) -> State:
    """Parameters of a plausible trained model, float32 and complex64."""
    h = 2 * dim

    def normal(*shape, scale=0.15):
        return rng.normal(0, scale, shape).astype(np.float32)

    def complex_normal(*shape):
        return normal(*shape) + 1j * normal(*shape)

    def norm(name):
        return {f"{name}.weight": 1 + normal(dim), f"{name}.bias": normal(dim)}

    state = {
        "embedding.token.weight": normal(items + 1, dim, scale=0.3),
        **norm("embedding.layer_norm"),
        "model.bias": normal(items + 1),
    }
    for i in range(blocks):
        lru = f"model.lru_blocks.{i}.lru_layer."
        ffn = f"model.lru_blocks.{i}.feed_forward."
        squared = rng.uniform(0.4**2, 0.99**2, h)
        logs = (
            np.log(-0.5 * np.log(squared)),
            np.log(2 * np.pi * rng.uniform(0.01, 1, h)),
            0.5 * np.log(1 - squared),
        )
        state |= {
            lru + "params_log": np.stack(logs).astype(np.float32),
            lru + "in_proj.weight": complex_normal(h, dim),
            lru + "in_proj.bias": complex_normal(h),
            lru + "out_proj.weight": complex_normal(dim, h),
            lru + "out_proj.bias": complex_normal(dim),
            **norm(lru + "layer_norm"),
            ffn + "w_1.weight": normal(4 * dim, dim),
            ffn + "w_1.bias": normal(4 * dim),
            ffn + "w_2.weight": normal(dim, 4 * dim),
            ffn + "w_2.bias": normal(dim),
            **norm(ffn + "layer_norm"),
        }
    return state


def wide(state: State) -> State:
    """The same in float64 and complex128."""
    return {
        name: value.astype(np.complex128 if np.iscomplexobj(value) else np.float64)
        for name, value in state.items()
    }


def step_loop(lam, u, mask):
    """h_t = lambda m_{t-1} h_{t-1} + u_t for u (b, t, h), mask (b, t)."""
    h = u.copy()
    for t in range(1, u.shape[1]):
        h[:, t] += lam * mask[:, t - 1, None] * h[:, t - 1]
    return h


def doubling(lam, u, mask):
    """The released parallel form; the length must be a power of two.

    In round i the right half of each chunk of 2^i receives lambda^(k+1) times the last
    state of the left half, if the mask is 1 there. Equals `step_loop` for left padding.
    """
    batch, length, h = u.shape
    powers = lam[None]
    half = 1
    while half < length:
        left, right = np.split(u.reshape(-1, 2 * half, h), 2, axis=1)
        passes = mask.reshape(-1, 2 * half)[:, half - 1, None, None]
        u = np.concatenate([left, right + powers * passes * left[:, -1:]], 1)
        powers = np.concatenate([powers, powers * powers[-1]])
        half *= 2
    return u.reshape(batch, length, h)


def logits(state: State, ids: np.ndarray, *, parallel: bool = False) -> np.ndarray:
    """Scores (b, t, items + 1) of ids (b, t), without dropout.

    `parallel` pads with zero vectors on the left up to a power of two, after the
    embedding, and runs `doubling`; it has no gradient here.
    """
    return _forward(state, ids, parallel)[0]


def loss(state: State, ids: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy over all columns at the positions whose label is not 0."""
    return cross_entropy(logits(state, ids), labels)[0]


def gradients(state: State, ids: np.ndarray, labels: np.ndarray) -> State:
    """Gradient of `loss` by name, dL/dRe + i dL/dIm for complex parameters."""
    scores, back = _forward(wide(state), ids, False)
    return back(cross_entropy(scores, labels)[1])


def decayed(name: str) -> bool:
    """The released groups: weight decay on names without "bias" and "layer_norm"."""
    return "bias" not in name and "layer_norm" not in name


def adamw_step(
    state: State,
    grads: State,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-9,
    weight_decay: float = 0.01,
    clip_norm: float = 5.0,
) -> State:
    """The first step: clip by global norm, decay, Adam on real and imaginary parts."""
    norm = math.sqrt(sum(float(np.sum(np.abs(g) ** 2)) for g in grads.values()))
    clip = min(1.0, clip_norm / (norm + 1e-6))

    def adam(g):
        first = (1 - betas[0]) * g / (1 - betas[0])
        second = (1 - betas[1]) * g * g / (1 - betas[1])
        return first / (np.sqrt(second) + eps)

    after = {}
    for name, value in wide(state).items():
        g = clip * grads[name]
        update = adam(g.real) + 1j * adam(g.imag) if np.iscomplexobj(g) else adam(g)
        kept = 1 - lr * weight_decay if decayed(name) else 1.0
        after[name] = kept * value - lr * update
    return after


def _forward(state, ids, parallel):
    table, length = state["embedding.token.weight"], ids.shape[1]
    x, back = layer_norm(state, "embedding.layer_norm", table[ids])
    backs = [back]
    mask = (ids > 0).astype(np.float64)
    if parallel:
        padding = 2 ** math.ceil(math.log2(length)) - length
        x = np.pad(x, ((0, 0), (padding, 0), (0, 0)))
        mask = np.pad(mask, ((0, 0), (padding, 0)))
    i = 0
    while f"model.lru_blocks.{i}.lru_layer.params_log" in state:
        for part in (_lru(i, mask, parallel), _feed_forward(i)):
            x, back = part(state, x)
            backs.append(back)
        i += 1
    x = x[:, -length:]

    def backward(g):
        grads = {"model.bias": g.sum((0, 1))}
        d_table = np.einsum("btv,btd->vd", g, x)
        g = g @ table
        for back in reversed(backs):
            g = back(g, grads)
        np.add.at(d_table, ids, g)
        return grads | {"embedding.token.weight": d_table}

    return x @ table.T + state["model.bias"], backward


def cross_entropy(scores, labels):
    """Mean over the labels that are not 0, and its gradient by score."""
    weights = (labels != 0) / np.sum(labels != 0)
    exp = np.exp(scores - scores.max(-1, keepdims=True))
    probability = exp / exp.sum(-1, keepdims=True)
    onehot = np.eye(scores.shape[-1])[labels]
    value = -np.sum(weights * np.log((probability * onehot).sum(-1)))
    return value, weights[..., None] * (probability - onehot)


def _lru(i, mask, parallel):
    lru = f"model.lru_blocks.{i}.lru_layer"

    def apply(state, x) -> tuple[np.ndarray, Back]:
        nu, theta, gain = np.exp(state[f"{lru}.params_log"])
        lam = np.exp(-nu + 1j * theta)
        v, back_in = linear(state, f"{lru}.in_proj", x)
        u = gain * v
        h = (doubling if parallel else step_loop)(lam, u, mask)
        y, back_out = linear(state, f"{lru}.out_proj", h)
        z, back_norm = layer_norm(state, f"{lru}.layer_norm", y.real + x)

        def back(g, grads):
            d_sum = back_norm(g, grads)
            d_h = back_out(d_sum + 0j, grads)
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
            return d_sum + back_in(gain * d_h, grads).real

        return z, back

    return apply


def _feed_forward(i):
    ffn = f"model.lru_blocks.{i}.feed_forward"

    def apply(state, z) -> tuple[np.ndarray, Back]:
        wide_z, back_1 = linear(state, f"{ffn}.w_1", z)
        below = 0.5 * (1 + np.vectorize(math.erf)(wide_z / math.sqrt(2)))  # P(N < z)
        f, back_2 = linear(state, f"{ffn}.w_2", wide_z * below)
        out, back_norm = layer_norm(state, f"{ffn}.layer_norm", f + z)

        def back(g, grads):
            d_sum = back_norm(g, grads)
            density = np.exp(-0.5 * wide_z**2) / math.sqrt(2 * math.pi)
            d_wide = back_2(d_sum, grads) * (below + wide_z * density)
            return d_sum + back_1(d_wide, grads)

        return out, back

    return apply


def linear(state, name, x) -> tuple[np.ndarray, Back]:
    """The linear map under `name`, and its gradient."""
    weight = state[f"{name}.weight"]

    def back(g, grads):
        grads[f"{name}.weight"] = np.einsum("bto,bti->oi", g, np.conj(x))
        grads[f"{name}.bias"] = g.sum((0, 1))
        return g @ np.conj(weight)

    return x @ weight.T + state[f"{name}.bias"], back


def layer_norm(
    state, name, x, epsilon=1e-5, scale_name="weight", shift_name="bias"
) -> tuple[np.ndarray, Back]:
    """LayerNorm under `name`, and its gradient."""
    scale = state[f"{name}.{scale_name}"]
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    unit = centred / deviation

    def back(g, grads):
        grads[f"{name}.{scale_name}"] = np.sum(g * unit, (0, 1))
        grads[f"{name}.{shift_name}"] = g.sum((0, 1))
        g = g * scale
        along = unit * (g * unit).mean(-1, keepdims=True)
        return (g - g.mean(-1, keepdims=True) - along) / deviation

    return unit * scale + state[f"{name}.{shift_name}"], back
