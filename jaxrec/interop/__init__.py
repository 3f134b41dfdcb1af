"""Weights of released PyTorch models, moved in and out.

    config, params = sar_from_torch(torch.load("model.pth"), heads=2, causal=True)

`X_from_torch` takes a `state_dict()`: released names to arrays or torch tensors (torch
itself is not needed). `X_to_torch` is the inverse, for parameters and for gradients. In
all of them torch linear weights are (out, in) and our kernels are (in, out).
"""

from jaxrec.interop.bert4rec import bert4rec_from_torch, bert4rec_to_torch
from jaxrec.interop.fmrlrec import fmrlrec_from_torch, fmrlrec_to_torch
from jaxrec.interop.lrurec import lrurec_from_torch, lrurec_to_torch
from jaxrec.interop.sar import sar_from_torch, sar_to_torch

__all__ = [
    "bert4rec_from_torch",
    "bert4rec_to_torch",
    "fmrlrec_from_torch",
    "fmrlrec_to_torch",
    "lrurec_from_torch",
    "lrurec_to_torch",
    "sar_from_torch",
    "sar_to_torch",
]
