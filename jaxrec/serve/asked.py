"""What a request wants to be searched: how large an answer, and how it is found."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrec.retrieval.topk import check_k
from jaxrec.serve.backbone import Backbone

Funnel = tuple[int, int]


class Asked(NamedTuple):
    """What is searched for.

    Attributes:
        k: Size of the answer that is compiled.
        exclude: Whether items that were seen are left out.
        funnel: (dims, shortlist), see `jaxrec.retrieval.funnel`; None searches by all
            coordinates.
    """

    k: int
    exclude: bool
    funnel: Funnel | None = None


def read_asked(
    backbone: Backbone, items: int, k: int, exclude: bool, funnel: Any = None
) -> Asked:
    """What to search for, k rounded up to a compiled size.

    Args:
        backbone: The model.
        items: Size of the catalogue.
        k: Size of the answer.
        exclude: Whether items that were seen are left out.
        funnel: (dims, shortlist) or None.

    Raises:
        ValueError: k is out of range, or the model has no funnel, or not this one.
    """
    check_k(k, items)
    sizes = backbone.ks
    if k > sizes[-1]:
        raise ValueError(f"k must be at most {sizes[-1]} in this file, got {k}")
    size = next(size for size in sizes if size >= k)
    if funnel is not None:
        funnel = _read_funnel(backbone, items, k, funnel)
    if funnel is not None:
        size = min(size, funnel[1])
    return Asked(size, bool(exclude), funnel)


def _read_funnel(backbone, items, k, funnel) -> Funnel | None:
    """A funnel; None if it narrows nothing."""
    if backbone.on_platform is None:
        raise ValueError(
            "funnel: a portable file has no funnel; load the working directory of "
            "the run (jaxrec.load)"
        )
    sizes = backbone.sizes
    if not sizes:
        raise ValueError(
            "funnel: this model is not nested; the first coordinates are a model of "
            "their own only where several widths were trained in one (fmrlrec)"
        )
    if not (
        isinstance(funnel, Sequence)
        and len(funnel) == 2
        and all(isinstance(n, int | np.integer) for n in funnel)
    ):
        raise ValueError(f"funnel: want (dims, shortlist), got {funnel!r}")
    dims, shortlist = map(int, funnel)
    if dims not in sizes:
        raise ValueError(f"funnel: dims must be one of {sizes}, got {dims}")
    if not k <= shortlist <= items:
        raise ValueError(
            f"funnel: shortlist must be in {k}..{items} (k to the catalogue), got "
            f"{shortlist}"
        )
    exact = dims == sizes[-1] or shortlist == items
    return None if exact else (dims, shortlist)
