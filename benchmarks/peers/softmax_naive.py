"""The softmax head as it is usually written: all scores, then log-softmax, then gather.

Both sides return the weighted sum over positions of -log softmax(x E^T + b)[label] with
its gradients for x, table and bias, which is what training needs of a loss.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.peers.torch_extra import compile_for_gpu, import_torch


def softmax_ce(
    x: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
) -> jax.Array:
    """Returns the loss in JAX, with (n, v) scores and log-probabilities in memory.

    Args:
        x: (n, d).
        table: (v, d).
        bias: (v,).
        labels: (n,) int32 in [0, v).
        weights: (n,).
    """
    log_probabilities = jax.nn.log_softmax(x @ table.T + bias)
    chosen = jnp.take_along_axis(log_probabilities, labels[:, None], 1)[:, 0]
    return -(weights * chosen).sum()


softmax_ce_and_gradients = jax.value_and_grad(softmax_ce, argnums=(0, 1, 2))
"""(x, table, bias, labels, weights) -> loss, gradients of the first three."""


def softmax_ce_and_gradients_torch(
    threads: int, *, device: str = "cpu", compiled: bool = False
) -> Callable:
    """Returns the same function of PyTorch tensors.

    Args:
        threads: CPU threads of PyTorch, set at every call.
        device: Where the tensors are, "cpu" or "cuda".
        compiled: Whether to compile, on a GPU only.

    Raises:
        ValueError: If `compiled` is asked for on a CPU.
    """
    torch = import_torch()

    def loss(x, table, bias, labels, weights):
        log_probabilities = torch.log_softmax(x @ table.T + bias, -1)
        return -(weights * log_probabilities.gather(1, labels[:, None])[:, 0]).sum()

    run = compile_for_gpu(loss, device) if compiled else loss

    def call(x, table, bias, labels, weights):
        torch.set_num_threads(threads)
        leaves = [value.detach().requires_grad_() for value in (x, table, bias)]
        value = run(*leaves, labels, weights)
        return value.detach(), torch.autograd.grad(value, leaves)

    return call
