"""How long the recurrence of `jaxrec.models.lru` remembers, for analyses.

The output map of the recurrence is linear in what came before: an input e of d events
ago is in it as K_d e, exactly, with

    K_d = Re( W_out diag(exp(gamma_log) lambda^d) W_in )              (D, D)

so that the Frobenius norm of K_d is a weight of the distance d. It says nothing of the
rest of a block: the residual, which passes the newest input on unchanged, the norms and
the feed-forward part.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxrec.models.lru import LRUConfig


def impulse(params: dict[str, Any], cfg: "LRUConfig", length: int) -> jax.Array:
    """The norms of K_0 .. K_{length - 1} of every block, (blocks, length) float32."""
    distance = jnp.arange(length)[:, None]

    def of(block):
        logs, kernel = block["lru"], block["in"]["kernel"]
        size = jnp.exp(logs["gamma_log"] - distance * jnp.exp(logs["nu_log"]))
        angle = distance * jnp.exp(logs["theta_log"])
        power = size * jnp.cos(angle), size * jnp.sin(angle)  # (length, 2D) each
        real, imaginary = jnp.split(kernel, 2, axis=1)

        def norm(power):
            a, b = power
            state = [a * real - b * imaginary, b * real + a * imaginary]
            return jnp.linalg.norm(jnp.concatenate(state, 1) @ block["out"]["kernel"])

        return jax.lax.map(norm, power)

    return jnp.stack([of(params[f"block_{i}"]) for i in range(cfg.blocks)])
