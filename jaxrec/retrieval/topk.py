"""Exact top-k over a catalogue: score every item, drop what is excluded, keep the best.

    s_v = hidden . table_v + bias_v          v = 1..items; item 0 (padding) never wins

Equal scores go to the lower id. An item that is excluded has score -inf; when fewer
than k items are left, the rest of the answer is id 0 with score -inf.

What is fast depends on how much there is to score (CPU with AVX-512, one thread):

* Vectors as columns (d, items) stream 1.5 times as fast through the product with one
  query as rows (items, d) do: 0.8 of the rate at which the memory can be read. Those
  who search often keep an `Index`; `top_k` takes the table as models have it.
* `lax.top_k` takes several times as long as reading the scores. From some 30,000 items
  on it is run on the maxima of tiles of 64 items, then on the items of the k best
  tiles, which is exact: an item outside them has k items before it. On a GPU, where it
  sorts, tiles have 8 items and their maxima are searched in the same way: top 100 of
  100,000 sorts 3,200 numbers instead of 8,000 (or 100,000).
* Scores of many queries times many items are never held all: some queries are answered
  after the others, or, where a few of them times the catalogue is too much, blocks of
  the catalogue are searched one after the other and their answers merged. For 512
  queries of 100,000 items, 64 queries at a time take half the time of the latter.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.core.devices import multiplies_bfloat16
from jaxrec.core.row_blocks import blocks_for, map_blocks

_TILE = 64  # of the layout: what tiles of all sizes divide
_MANY_QUERIES = 256  # With so many splitting the catalogue costs little beside them.
_FEW_QUERIES = 32  # With fewer at one time the product reads the catalogue too often.


class _Limits(NamedTuple):
    """How many float32 scores are held at one time, and how they are searched."""

    plain: int  # without any blocks
    queries: int  # in blocks of queries
    items: int  # in blocks of the catalogue
    tile: int  # items per tile
    filter_from: int  # scores per query from which tiles are searched first


_CPU = _Limits(2**24, 2**23, 2**22, _TILE, 32_768)  # The blocks stay in its caches.
_ACCELERATOR = _Limits(2**28, 2**27, 2**27, 8, 1024)


def _limits() -> _Limits:
    return _CPU if jax.default_backend() == "cpu" else _ACCELERATOR


class Index(NamedTuple):
    """A catalogue laid out for search.

    Attributes:
        columns: (d, n) float32, item vectors as columns, n >= items + 1.
        bias: (n,) float32, -inf where there is no item (0 and what pads to n).
    """

    columns: jax.Array
    bias: jax.Array


class _Rows(NamedTuple):
    """A catalogue as models have it, which cannot be laid out anew for one search."""

    table: jax.Array
    bias: jax.Array


def make_index(table: jax.Array, bias: jax.Array) -> Index:
    """Lays out a table (items + 1, d) and bias (items + 1,) for repeated search."""
    items = table.shape[0] - 1
    padding = -(items + 1) % _TILE
    bias = jnp.asarray(bias).at[0].set(-jnp.inf)
    bias = jnp.pad(bias, (0, padding), constant_values=-jnp.inf)
    return Index(jnp.pad(table, ((0, padding), (0, 0))).T, bias)


def top_k(
    hidden: jax.Array,
    table: jax.Array,
    bias: jax.Array,
    k: int,
    exclude: jax.Array | None = None,
    *,
    seen: jax.Array | None = None,
    block: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The k best items of each query.

    Args:
        hidden: (b, d) queries.
        table: (items + 1, d) item vectors, row 0 is padding.
        bias: (items + 1,) added to the scores.
        k: How many, 1..items.
        exclude: (b, h) int32 ids that may not be answered; 0 stands for none.
        seen: (b, words) uint32 bit sets of such ids, see `search`.
        block: Items per block, see `search`.

    Returns:
        `(scores, ids)`, each (b, k), float32 and int32, best first.

    Raises:
        ValueError: k < 1 or k > items, or shapes that do not belong together.
    """
    if table.ndim != 2 or bias.shape != table.shape[:1]:
        raise ValueError(
            f"table and bias: want (items + 1, d) and (items + 1,), got {table.shape} "
            f"and {bias.shape}"
        )
    index = _Rows(table, jnp.asarray(bias).at[0].set(-jnp.inf))
    return search(index, hidden, k, exclude, seen=seen, block=block)


def search(
    index: Index | _Rows,
    hidden: jax.Array,
    k: int,
    exclude: jax.Array | None = None,
    *,
    seen: jax.Array | None = None,
    block: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """As `top_k`, over an index.

    Args:
        index: As from `make_index`.
        hidden: (b, d) queries.
        k: How many, 1 or more.
        exclude: (b, h) int32 ids that may not be answered; 0 stands for none.
        seen: (b, words) uint32: bit i of word w set excludes id 32 w + i. Costs the
            same however many are set; words beyond the catalogue are ignored.
        block: Items per block; 0 holds all scores; None chooses, and may take blocks of
            queries instead.
    """
    size = index.bias.shape[0]
    width = index.columns.shape[0] if isinstance(index, Index) else index.table.shape[1]
    if hidden.ndim != 2 or hidden.shape[1] != width:
        raise ValueError(f"hidden: want (b, {width}), got {hidden.shape}")
    check_k(k, size - 1)
    for name, ids in (("exclude", exclude), ("seen", seen)):
        if ids is not None and (ids.ndim != 2 or ids.shape[0] != hidden.shape[0]):
            raise ValueError(f"{name}: want ({hidden.shape[0]}, n), got {ids.shape}")
    if seen is not None and seen.shape[1] * 32 < size:
        words = -(-size // 32)
        seen = jnp.pad(seen, ((0, 0), (0, words - seen.shape[1])))
    if block is None:
        block = 0
        # A symbolic batch (in an exported function) cannot be compared: not blocked.
        batch = hidden.shape[0] if isinstance(hidden.shape[0], int) else 0
        limits = _limits()
        if batch * size > limits.plain:
            if _FEW_QUERIES * size <= limits.queries:
                blocks = blocks_for(batch, size, limits.queries)

                def answer(hidden, exclude, seen):
                    return search(index, hidden, k, exclude, seen=seen, block=0)

                return map_blocks(answer, blocks, hidden, exclude, seen)
            block = limits.items // batch
            block = max(block - block % _TILE, 8 * k, _TILE)
    if 0 < block < size:
        return _search_blocks(index, hidden, k, exclude, seen, block)
    scores = _scores(index, hidden)
    if seen is not None:
        scores = jnp.where(_bits(seen)[:, :size], -jnp.inf, scores)
    if exclude is not None:
        scores = _drop(scores, exclude)
    return _best(scores, k)


def check_k(k: int, items: int) -> None:
    """Raises ValueError unless k is an integer in 1..items."""
    if isinstance(k, bool) or not hasattr(k, "__index__"):
        raise ValueError(f"k must be an integer, got {k!r}")
    if not 1 <= k <= items:
        raise ValueError(f"k must be in 1..{items} (the catalogue), got {k}")


def _scores(index: Index | _Rows, hidden: jax.Array) -> jax.Array:
    axis = 0 if isinstance(index, Index) else 1
    vectors, hidden = index[0], hidden.astype(index[0].dtype)
    # A symbolic batch (in an exported function) cannot be compared.
    many = isinstance(hidden.shape[0], int) and hidden.shape[0] >= _MANY_QUERIES
    if many and vectors.dtype == jnp.float32 and multiplies_bfloat16():
        return index.bias + exact_product(hidden, vectors, axis)
    # Highest precision: GPUs would otherwise round the factors to 10 bits.
    return index.bias + jax.lax.dot_general(
        hidden,
        vectors,
        (((1,), (axis,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )


def exact_product(rows: jax.Array, others: jax.Array, axis: int) -> jax.Array:
    """Products (b, n) of float32 vectors, as exact as float32, on bfloat16 hardware.

    A float32 number is the sum of three bfloat16 numbers. Of the nine products of parts
    the six that float32 can tell apart are one longer product: rows of 6 d numbers,
    the small ones first, which a sum that is large already would round away (by the
    bfloat16 instructions of a CPU the mean square error is a sixth of a float32
    product's, and was eight times that the other way round). On an H200 that takes less
    than half the time of a float32 product.

    Args:
        rows: (b, d) float32.
        others: (d, n) or (n, d) float32.
        axis: Which axis of `others` is d.
    """
    left, right = _three_parts(rows), _three_parts(others)
    return jax.lax.dot_general(
        jnp.concatenate([left[i] for i in (2, 1, 0, 1, 0, 0)], 1),
        jnp.concatenate([right[i] for i in (0, 1, 2, 0, 1, 0)], axis),
        (((1,), (axis,)), ((), ())),
        preferred_element_type=jnp.float32,
    )


def _three_parts(x: jax.Array) -> list[jax.Array]:
    parts = []
    for _ in range(3):
        # Not a cast there and back, which XLA takes for nothing.
        part = jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)
        parts.append(part.astype(jnp.bfloat16))
        x = x - part
    return parts


def _part(index: Index | _Rows, first: jax.Array, size: int) -> Index | _Rows:
    axis = 1 if isinstance(index, Index) else 0
    vectors = jax.lax.dynamic_slice_in_dim(index[0], first, size, axis)
    return type(index)(vectors, jax.lax.dynamic_slice_in_dim(index.bias, first, size))


def _bits(words: jax.Array) -> jax.Array:
    """Booleans (b, 32 w) of bit sets (b, w)."""
    bits = (words[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
    return bits.reshape(words.shape[0], -1) != 0


def _drop(scores: jax.Array, ids: jax.Array) -> jax.Array:
    """Sets the scores (b, n) at ids (b, h) to -inf; ids outside 0..n-1 do nothing."""
    rows = jnp.arange(scores.shape[0])[:, None]
    ids = jnp.where(ids < 0, scores.shape[1], ids)
    return scores.at[rows, ids].set(-jnp.inf, mode="drop")


def _best(scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """Top k of scores (b, n), where -inf has id 0."""
    limits = _limits()
    best, ids = _largest(scores, k, limits.tile, limits.filter_from)
    return best, jnp.where(best == -jnp.inf, 0, ids)


def _largest(
    scores: jax.Array, k: int, tile: int, filter_from: int
) -> tuple[jax.Array, jax.Array]:
    """Top k of (b, n), by way of the maxima of tiles where n is large."""
    batch, size = scores.shape
    if size < max(filter_from, 4 * k * tile):
        return jax.lax.top_k(scores, k)
    tiles = -(-size // tile)
    padding = tiles * tile - size
    if padding:
        scores = jnp.pad(scores, ((0, 0), (0, padding)), constant_values=-jnp.inf)
    scores = scores.reshape(batch, tiles, tile)
    _, chosen = _largest(scores.max(-1), k, tile, filter_from)
    chosen = jnp.sort(chosen, -1)  # Lower ids first again, for ties.
    inside = jnp.take_along_axis(scores, chosen[:, :, None], 1).reshape(batch, -1)
    best, place = jax.lax.top_k(inside, k)
    first = jnp.take_along_axis(chosen, place // tile, 1)
    return best, first * tile + place % tile


def _search_blocks(index, hidden, k, exclude, seen, block):
    size = index.bias.shape[0]
    block = min(-(-block // 32) * 32, size)
    width = min(k, block)

    def body(carry, number):
        best, ids = carry
        # The last block begins early enough to be whole; what it repeats is dropped.
        wanted = number * block
        first = jnp.minimum(wanted, size - block)
        own = first + jnp.arange(block)
        scores = _scores(_part(index, first, block), hidden)
        scores = jnp.where(own < wanted, -jnp.inf, scores)
        if seen is not None:
            word = jnp.take(seen, own // 32, axis=1)
            hit = (word >> (own % 32).astype(jnp.uint32)) & 1
            scores = jnp.where(hit != 0, -jnp.inf, scores)
        if exclude is not None:
            inside = (exclude >= first) & (exclude < first + block)
            scores = _drop(scores, jnp.where(inside, exclude - first, block))
        new, places = _best(scores, width)
        # Earlier blocks stand first, so that equal scores go to the lower id.
        candidates = jnp.concatenate([best, new], 1)
        numbers = jnp.concatenate([ids, places + first], 1)
        best, places = jax.lax.top_k(candidates, k)
        return (best, jnp.take_along_axis(numbers, places, 1)), None

    batch = hidden.shape[0]
    empty = (jnp.full((batch, k), -jnp.inf), jnp.zeros((batch, k), jnp.int32))
    (best, ids), _ = jax.lax.scan(body, empty, jnp.arange(-(-size // block)))
    return best, jnp.where(best == -jnp.inf, 0, ids)
