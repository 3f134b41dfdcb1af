"""Weights of the released SAR, the encoder of the AE / AR study's design space.

Released code yueqirex/ModSAR, see `jaxrec.models.sar`. Its table of item biases is
never added to a score and is not kept; going back it is 0. The gradient of the padding
row agrees too: no output depends on its lookup, and the softmax has a column for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.interop._tensors import (
    TABLE,
    Entry,
    arrays_of,
    blocks_in,
    linear,
    norm,
    table,
    to_params,
    to_state,
    unused,
    vector,
)
from jaxrec.models.sar import Params, SARConfig

_BLOCK = "transformer_blocks."
_POSITION, _USER = "embedding.position.pe.weight", "embedding.user.weight"


def sar_from_torch(
    state: Mapping[str, Any],
    *,
    heads: int,
    causal: bool,
    norm_first: bool = True,
    windows: Sequence[int] = (),
    dropout: float = 0.2,
    dropout_attention: float = 0.2,
) -> tuple[SARConfig, Params]:
    """Our configuration and parameters from a `state_dict()` of the released SAR.

    Sizes are read from the tensors, and SSE-PT from the presence of user vectors; what
    the tensors do not show must be given.

    Args:
      state: released parameter names to arrays or torch tensors.
      heads: number of heads.
      causal: AR (True) or AE.
      norm_first: the released `layernorm_first`.
      windows: per head the largest distance it sees, 0 for a global head. The released
        local heads (`locker_type` "win") are the last ones: (0, 2) of two.
      dropout: rate to train on with; it is not part of the weights.
      dropout_attention: rate on the attention probabilities, likewise.

    Returns:
      `(cfg, params)`: float32 arrays, nested as `jaxrec.models.sar.init` nests them.

    Raises:
      ValueError: names that are missing or unknown (as are those of other local heads
        than windows, which differ here), an array of another shape, or heads, windows
        and width that do not go together.
    """
    arrays = arrays_of(state)
    rows, columns = arrays[TABLE].shape
    user = arrays.get(_USER)
    cfg = SARConfig(
        items=rows - 2,
        length=len(arrays.get(_POSITION, [0, 0])),
        dim=columns if user is None else 2 * columns,
        blocks=blocks_in(arrays, _BLOCK),
        heads=heads,
        causal=causal,
        norm_first=norm_first,
        windows=tuple(windows),
        users=0 if user is None else len(user) - 1,
        dropout=dropout,
        dropout_attention=dropout_attention,
    )
    return cfg, to_params(arrays, _entries(cfg), "SAR")


def sar_to_torch(cfg: SARConfig, params: Params) -> dict[str, np.ndarray]:
    """The inverse: released names to numpy float32 arrays.

    Raises:
      ValueError: a parameter is missing or has another shape than `cfg` says, or local
        heads are of another kind than windows.
    """
    if cfg.local != "window":
        raise ValueError(
            f"local={cfg.local!r}: only windows have the released form, see "
            "jaxrec.models._sar_local"
        )
    return to_state(params, _entries(cfg))


def _entries(cfg: SARConfig) -> dict[str, Entry]:
    d, rows = cfg.dim, cfg.items + 2
    entries = {
        TABLE: table((rows, cfg.columns), "embedding", "table"),
        _POSITION: vector((cfg.length, d), "embedding", "position"),
        "bias.weight": unused((rows, 1)),
        **norm("last_norm", d, "norm"),
    }
    if cfg.users:
        entries[_USER] = vector((cfg.users + 1, cfg.columns), "embedding", "user")
    for i in range(cfg.blocks):
        block, torch = f"block_{i}", f"{_BLOCK}{i}."
        maps = torch + "attn.linear_layers."
        entries |= {
            **linear(maps + "0", d, d, block, "query"),
            **linear(maps + "1", d, d, block, "key"),
            **linear(maps + "2", d, d, block, "value"),
            **linear(torch + "attn.output_linear", d, d, block, "out"),
            **norm(torch + "attn_layernorm", d, block, "norm"),
            **linear(torch + "fwd.w_1", 4 * d, d, block, "ffn_in"),
            **linear(torch + "fwd.w_2", d, 4 * d, block, "ffn_out"),
            **norm(torch + "fwd_layernorm", d, block, "ffn_norm"),
        }
    return entries
