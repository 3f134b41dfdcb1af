"""Weights of the BERT4Rec of the AE / AR study's re-evaluation.

Released code yueqirex/ModSAR, see `jaxrec.models.bert4rec`. Of its two token types only
the first is ever looked up; the second is not kept, and is 0 going back.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrec.interop._tensors import (
    TABLE,
    Entry,
    arrays_of,
    blocks_in,
    linear,
    table,
    to_params,
    to_state,
    vector,
)
from jaxrec.models.bert4rec import BERT4RecConfig, Params

_BLOCK = "transformer_blocks."
_POSITION = "embedding.position.pe.weight"


def bert4rec_from_torch(
    state: Mapping[str, Any],
    *,
    heads: int,
    causal: bool,
    dropout: float = 0.2,
    dropout_attention: float = 0.2,
) -> tuple[BERT4RecConfig, Params]:
    """Our configuration and parameters from a `state_dict()` of the released BERT4Rec.

    Args:
      state: released parameter names to arrays or torch tensors.
      heads: number of heads, which the tensors do not show.
      causal: AR (True) or AE.
      dropout: rate to train on with; it is not part of the weights.
      dropout_attention: rate on the attention probabilities, likewise.

    Returns:
      `(cfg, params)`: float32 arrays, nested as `jaxrec.models.bert4rec.init` does.

    Raises:
      ValueError: names that are missing or unknown, an array of another shape, or heads
        that do not divide the width.
    """
    arrays = arrays_of(state)
    rows, dim = arrays[TABLE].shape
    cfg = BERT4RecConfig(
        items=rows - 5,
        length=len(arrays.get(_POSITION, [0, 0])),
        dim=dim,
        blocks=blocks_in(arrays, _BLOCK),
        heads=heads,
        causal=causal,
        dropout=dropout,
        dropout_attention=dropout_attention,
    )
    return cfg, to_params(arrays, _entries(cfg), "BERT4Rec")


def bert4rec_to_torch(cfg: BERT4RecConfig, params: Params) -> dict[str, np.ndarray]:
    """The inverse: released names to numpy float32 arrays.

    Raises:
      ValueError: a parameter is missing or has another shape than `cfg` says.
    """
    return to_state(params, _entries(cfg))


def _entries(cfg: BERT4RecConfig) -> dict[str, Entry]:
    d, rows = cfg.dim, cfg.vocabulary
    entries = {
        TABLE: table((rows, d), "embedding", "table"),
        "embedding.token_type.weight": Entry(
            (2, d),
            (("embedding", "token_type"),),
            lambda rows: (rows[0],),
            lambda row: np.stack([row, np.zeros_like(row)]),
        ),
        _POSITION: vector((cfg.length, d), "embedding", "position"),
        **_norm("embedding.norm", d, "embedding", "norm"),
        **linear("output.linear", d, d, "output"),
        **_norm("output.layer_norm", d, "output", "norm"),
        "bias.weight": Entry(
            (rows, 1),
            (("item_bias",),),
            lambda column: (column[:, 0],),
            lambda bias: bias[:, None],
            is_table=True,
        ),
    }
    for i in range(cfg.blocks):
        block, torch = f"block_{i}", f"{_BLOCK}{i}."
        maps = torch + "attention.linear_layers."
        entries |= {
            **linear(maps + "0", d, d, block, "query"),
            **linear(maps + "1", d, d, block, "key"),
            **linear(maps + "2", d, d, block, "value"),
            **linear(torch + "attention.output_linear", d, d, block, "out"),
            **_norm(torch + "input_sublayer.norm", d, block, "norm"),
            **linear(torch + "feed_forward.w_1", 4 * d, d, block, "ffn_in"),
            **linear(torch + "feed_forward.w_2", d, 4 * d, block, "ffn_out"),
            **_norm(torch + "output_sublayer.norm", d, block, "ffn_norm"),
        }
    return entries


def _norm(torch: str, d: int, *path: str) -> dict[str, Entry]:
    return {
        torch + ".a_2": vector((d,), *path, "scale"),
        torch + ".b_2": vector((d,), *path, "bias"),
    }
