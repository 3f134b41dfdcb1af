"""What models of BERT's form share: the embedding and the block."""

import functools
from typing import Any

import jax

from jaxrec.core.attention import segment_positions
from jaxrec.core.dropout import dropout_rows
from jaxrec.models._encoder import Form, Params, feed_forward
from jaxrec.models._layers import check_length, layer_norm

EPSILON = 1e-12


def embedded(
    params: Params,
    cfg: Any,
    ids: jax.Array,
    segments: jax.Array | None,
    keys: jax.Array | None,
) -> jax.Array:
    """LN(E[id] + T + P[position]) with dropout, (b, t, w) float32.

    Args:
      params: as from `init` of the model.
      cfg: has length and dropout.
      ids: (b, t) int32, 0 for padding.
      segments: (b, t) int32 of packed rows, or `None`.
      keys: (b,) typed dropout keys, or `None` for inference.

    Raises:
      ValueError: rows longer than the positions.
    """
    check_length(ids, cfg.length)
    tables = params["embedding"]
    positions = segment_positions(ids, segments)
    x = tables["table"][ids] + tables["token_type"] + tables["position"][positions]
    return dropout_rows(layer_norm(tables["norm"], x, EPSILON), cfg.dropout, keys, 0)


def form(approximate: bool) -> Form:
    """The post-norm block, with GELU or with its tanh form."""
    return Form(
        norm=functools.partial(layer_norm, epsilon=EPSILON),
        feed_forward=feed_forward(
            functools.partial(jax.nn.gelu, approximate=approximate)
        ),
        norm_first=False,
    )
