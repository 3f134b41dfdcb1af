"""The published form of LRURec, translated line by line to plain JAX.

What a port to JAX costs if nothing is rethought: complex64 maps of the width of the
released model, left padding to a power of two, recursive doubling, scores of every
position, `log_softmax`, bernoulli dropout. The equations are those of
`benchmarks.peers.reference`.

Parameters are flat mappings with the names of the released PyTorch model. Complex
arrays are stored as real ones with a last axis (real, imaginary), so that gradients and
AdamW moments are per component, as PyTorch has them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.peers.reference import LAYER_NORM_EPSILON, block_count, is_decayed
from benchmarks.peers.scan_forms import doubling

Params = dict[str, jax.Array]


def from_published(state: Mapping[str, np.ndarray]) -> Params:
    """Returns parameters from arrays under the names of the released model."""
    return {
        name: jnp.asarray(
            np.stack([value.real, value.imag], -1) if np.iscomplexobj(value) else value
        )
        for name, value in state.items()
    }


def scores(
    params: Params,
    tokens: jax.Array,
    key: jax.Array | None = None,
    dropout: float = 0.0,
) -> jax.Array:
    """Returns the scores (b, t, items + 1) of every position.

    Args:
        params: As from `from_published`.
        tokens: (b, t) int32, left padded with 0.
        key: Typed key for dropout; None for inference.
        dropout: Rate, everywhere the same.
    """
    drop = _dropout(key, dropout)
    x = drop(params["embedding.token.weight"][tokens])
    x = _norm(params, "embedding.layer_norm", x)
    length = tokens.shape[1]
    missing = (1 << (length - 1).bit_length()) - length
    x = jnp.pad(x, ((0, 0), (missing, 0), (0, 0)))
    valid = jnp.pad(tokens > 0, ((0, 0), (missing, 0)))
    keep = jnp.concatenate([valid[:, :1], valid[:, :-1]], 1).astype(x.dtype)
    for index in range(block_count(params)):
        lru = f"model.lru_blocks.{index}.lru_layer"
        feed = f"model.lru_blocks.{index}.feed_forward"
        nu, theta, gamma = jnp.exp(params[f"{lru}.params_log"])
        lam = jnp.exp(jax.lax.complex(-nu, theta))
        u = gamma * _complex_linear(params, f"{lru}.in_proj", x)
        y = _complex_linear(params, f"{lru}.out_proj", doubling(lam, u, keep))
        z = _norm(params, f"{lru}.layer_norm", drop(jnp.real(y)) + x)
        inner = jax.nn.gelu(_linear(params, f"{feed}.w_1", z), approximate=False)
        inner = _linear(params, f"{feed}.w_2", drop(inner))
        x = _norm(params, f"{feed}.layer_norm", drop(inner) + z)
    x = x[:, missing:]
    return x @ params["embedding.token.weight"].T + params["model.bias"]


def loss(
    params: Params,
    tokens: jax.Array,
    labels: jax.Array,
    key: jax.Array | None = None,
    dropout: float = 0.0,
) -> jax.Array:
    """Returns the mean cross entropy over targets: labels (b, t), 0 is none."""
    log_probabilities = jax.nn.log_softmax(scores(params, tokens, key, dropout))
    chosen = jnp.take_along_axis(log_probabilities, labels[..., None], -1)[..., 0]
    targets = labels > 0
    return -jnp.where(targets, chosen, 0).sum() / targets.sum()


def optimizer(lr: float = 1e-3, weight_decay: float = 0.01) -> Any:
    """Returns the released optimiser: clip at norm 5, AdamW, decay by name."""
    return optax.chain(
        optax.clip_by_global_norm(5.0),
        optax.adamw(
            lr,
            eps=1e-9,
            weight_decay=weight_decay,
            mask=lambda params: {name: is_decayed(name) for name in params},
        ),
    )


def train_step(dropout: float = 0.2, **options: Any) -> Callable[..., Any]:
    """Returns a function (params, moments, tokens, labels, key) -> the same and a loss.

    The first two arguments are donated. ``moments`` begin as
    ``optimizer(**options).init(params)``.

    Args:
        dropout: Rate; 0 draws no masks.
        **options: Of `optimizer`.
    """
    update = optimizer(**options)

    def step(params, moments, tokens, labels, key):
        value, gradients = jax.value_and_grad(loss)(
            params, tokens, labels, key, dropout
        )
        changes, moments = update.update(gradients, moments, params)
        return optax.apply_updates(params, changes), moments, value

    return jax.jit(step, donate_argnums=(0, 1))


def _dropout(key: jax.Array | None, rate: float) -> Callable[[jax.Array], jax.Array]:
    """Returns dropout that draws from a new key at every call."""
    if key is None or rate == 0:
        return lambda x: x
    calls = 0

    def drop(x):
        nonlocal calls
        calls += 1
        mask = jax.random.bernoulli(jax.random.fold_in(key, calls), 1 - rate, x.shape)
        return jnp.where(mask, x / (1 - rate), 0)

    return drop


def _linear(params: Params, name: str, x: jax.Array) -> jax.Array:
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def _complex_linear(params: Params, name: str, x: jax.Array) -> jax.Array:
    weight, bias = (
        jax.lax.complex(value[..., 0], value[..., 1])
        for value in (params[f"{name}.weight"], params[f"{name}.bias"])
    )
    return x.astype(weight.dtype) @ weight.T + bias


def _norm(params: Params, name: str, x: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    x = (x - mean) / jnp.sqrt(variance + LAYER_NORM_EPSILON)
    return x * params[f"{name}.weight"] + params[f"{name}.bias"]
