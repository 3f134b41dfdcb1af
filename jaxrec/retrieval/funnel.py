"""Funnel search: a shortlist by the first coordinates, ranked anew by all of them.

The first coordinates of the outputs and item vectors of a nested model are a model of
their own (see `jaxrec.core.nested`), so that a search by them alone finds most of what
a search by all of them would, and reads so much less (Kusupati et al., "Matryoshka
Representation Learning", NeurIPS 2022):

    shortlist = the best by  hidden[:s] . table_v[:s] + bias_v
    answer    = the best of the shortlist by  hidden . table_v + bias_v

It is exact where the shortlist holds the true answer; how often that is depends on the
model (`python -m benchmarks.funnel`). Equal scores go to the lower id in both steps.

Measured on a CPU (10^6 items, d = 512, s = 64, a shortlist of 256, one query; the full
search takes 144 ms): the first coordinates need a copy of their own (31 ms; a slice of
the columns inside the program is copied at every call, 140 ms), and item vectors are
gathered as rows (0.9 ms; as columns 7 ms).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.core.row_blocks import blocks_for, map_blocks
from jaxrec.retrieval.topk import Index, check_k, search

# Numbers in the vectors that are gathered at one time. On a CPU 64 queries take a third
# of the time in blocks that stay in its cache.
_GATHERED_CPU, _GATHERED = 2**20, 2**27


class FunnelIndex(NamedTuple):
    """A catalogue laid out for both steps.

    Attributes:
        columns: (s, n) float32, first coordinates as columns, as in `topk.Index`.
        table: (items + 1, d) float32, item vectors as rows.
        bias: (n,) float32, -inf where there is no item.
    """

    columns: jax.Array
    table: jax.Array
    bias: jax.Array


def funnel_search(
    index: FunnelIndex,
    hidden: jax.Array,
    k: int,
    shortlist: int,
    exclude: jax.Array | None = None,
    *,
    seen: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The k best of the `shortlist` items that are best by the first coordinates.

    Args:
        index: The catalogue.
        hidden: (b, d) queries.
        k: How many, 1..shortlist.
        shortlist: How many items are ranked by all coordinates, at most n - 1.
        exclude: (b, h) int32 ids that may not be answered, see `topk.search`.
        seen: (b, words) uint32 bit sets of such ids, see `topk.search`.

    Returns:
        `(scores, ids)`, each (b, k), float32 and int32, best first, the scores those of
        all coordinates; id 0 with score -inf where fewer than k items were left.

    Raises:
        ValueError: k or shortlist out of range, or shapes that do not fit.
    """
    dims, width = index.columns.shape[0], index.table.shape[1]
    if hidden.ndim != 2 or hidden.shape[1] != width:
        raise ValueError(f"hidden: want (b, {width}), got {hidden.shape}")
    most = index.bias.shape[0] - 1
    check_k(k, most)
    if not k <= shortlist <= most:
        raise ValueError(f"shortlist: want {k} (k) to {most}, got {shortlist}")
    narrow = Index(index.columns, index.bias)
    _, ids = search(narrow, hidden[:, :dims], shortlist, exclude, seen=seen)
    # Lower ids first, for ties. Where too few are left, 0 is listed, of bias -inf.
    ids = jnp.sort(ids, 1)

    def rank(hidden, ids):
        products = jnp.einsum(
            "bd,bsd->bs",
            hidden.astype(index.table.dtype),
            index.table[ids],
            precision=jax.lax.Precision.HIGHEST,  # as in `topk`
            preferred_element_type=jnp.float32,
        )
        best, places = jax.lax.top_k(index.bias[ids] + products, k)
        found = jnp.take_along_axis(ids, places, 1)
        return best, jnp.where(best == -jnp.inf, 0, found)

    held = _GATHERED_CPU if jax.default_backend() == "cpu" else _GATHERED
    blocks = blocks_for(hidden.shape[0], shortlist * width, held)
    return map_blocks(rank, blocks, hidden, ids)
