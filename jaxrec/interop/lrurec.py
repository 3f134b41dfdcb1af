"""Weights of the released LRURec.

Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024, released
code yueqirex/LRURec. What differs between its parameters and ours beside what
`jaxrec.interop` names:

* complex weights become two real halves side by side. For the input map they are
  [Re W | Im W]; for the output map [Re W | -Im W] stacked over its inputs, because
  only Re(W h) is used;
* the rows of `params_log` become three vectors;
* the imaginary part of `out_proj.bias` reaches no output and is dropped; going back it
  is 0.

Gradients and AdamW moments agree too: torch keeps them per real and imaginary part,
with the gradient of a complex parameter being dL/dRe + i dL/dIm.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrec.interop._tensors import (
    TABLE,
    Entry,
    arrays_of,
    blocks_in,
    complex_inputs,
    complex_outputs,
    linear,
    lru_logs,
    norm,
    table,
    to_params,
    to_state,
)
from jaxrec.models.lru import LRUConfig, Params

_BLOCK = "model.lru_blocks."


def lrurec_from_torch(
    state: Mapping[str, Any], *, dropout: float = 0.2, dropout_lru: float = 0.2
) -> tuple[LRUConfig, Params]:
    """Our configuration and parameters from a `state_dict()` of the released LRURec.

    Args:
      state: released parameter names to arrays or torch tensors; `in_proj` and
        `out_proj` are complex, everything else is real. A prefix common to all names
        ("module.", "model.", "_orig_mod.") is taken off; unknown boolean tensors
        (buffers) are left out.
      dropout: rate to train on with; it is not part of the weights.
      dropout_lru: rate on the output of the recurrence, likewise.

    Returns:
      `(cfg, params)`: float32 arrays, nested as `jaxrec.models.lru.init` nests them.

    Raises:
      ValueError: names that are missing or unknown, or an array of another shape or
        kind than the released model of this width, depth and catalogue has; each is
        named with what was expected.
    """
    arrays = arrays_of(state)
    rows, dim = arrays[TABLE].shape
    cfg = LRUConfig(
        items=rows - 1,
        dim=dim,
        blocks=blocks_in(arrays, _BLOCK),
        dropout=dropout,
        dropout_lru=dropout_lru,
    )
    return cfg, to_params(arrays, _entries(cfg), "LRURec")


def lrurec_to_torch(cfg: LRUConfig, params: Params) -> dict[str, np.ndarray]:
    """The inverse: released names to numpy arrays, float32 and complex64.

    With `torch.from_numpy` on each array the result is what `load_state_dict` of the
    released model takes.

    Raises:
      ValueError: a parameter is missing or has another shape than `cfg` says.
    """
    return to_state(params, _entries(cfg))


def _entries(cfg: LRUConfig) -> dict[str, Entry]:
    d, h = cfg.dim, cfg.channels
    entries = {
        TABLE: table((cfg.items + 1, d), "embedding", "table"),
        "model.bias": table((cfg.items + 1,), "item_bias"),
        **norm("embedding.layer_norm", d, "embedding", "norm"),
    }
    for i in range(cfg.blocks):
        block, torch = f"block_{i}", f"{_BLOCK}{i}."
        lru, ffn = torch + "lru_layer.", torch + "feed_forward."
        entries |= {
            **lru_logs(lru + "params_log", h, block, "lru"),
            **complex_outputs(lru + "in_proj", h, d, block, "in"),
            **complex_inputs(lru + "out_proj", d, h, block, "out"),
            **norm(lru + "layer_norm", d, block, "norm"),
            **linear(ffn + "w_1", 4 * d, d, block, "ffn_in"),
            **linear(ffn + "w_2", d, 4 * d, block, "ffn_out"),
            **norm(ffn + "layer_norm", d, block, "ffn_norm"),
        }
    return entries
