"""Attention: the one place that builds masks, and the product that uses them.

A mask says which keys a query may look at. All reasons not to are given here, once, for
every model: padding, the future (causal), a window around the query (local heads), and
other sequences of a packed row. **A query always sees itself**, so that no row of the
softmax is empty: padding, which nobody looks at, can still look at itself.

    y = softmax(q k^T / sqrt(e), masked) v           Vaswani et al., 2017, equation 1

Two forms of the product, equal to rounding:

* "einsum": heads first, and divided by the normaliser after the product with the values
  instead of before: (b, h, q, e) numbers are divided and not (b, h, q, k). On a CPU it
  takes about half the time of the other or less, with the gradient of 8 rows of 200
  positions 4.6 instead of 8.2 ms (one head of 64) and 6.2 instead of 22 (two of 32).
  The only form with dropout on the probabilities, with values of another width, and
  with scores that are adjusted.
* "library": `jax.nn.dot_product_attention` in the implementation that JAX chooses, so
  far plain XLA everywhere. Chosen away from CPUs, where nothing was measured.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxrec.core.dropout import dropout_rows, is_off

_MASKED = -1e9  # Finite: differences with it are no NaN, and its exponential is 0.
SMALLEST = float(jnp.finfo(jnp.float32).tiny)  # Of what is seen, in an analysis.
_FORMS = ("auto", "einsum", "library")


def attention_mask(
    queries: jax.Array,
    keys: jax.Array,
    *,
    causal: bool,
    real: jax.Array | None = None,
    segments: tuple[jax.Array, jax.Array] | None = None,
    windows: Sequence[int] = (),
) -> jax.Array:
    """Which keys a query may look at, (b or 1, h or 1, q, k) bool.

    Args:
      queries: (b or 1, q) int32, slots of the queries in their row.
      keys: (b or 1, k) int32, slots of the keys.
      causal: whether a query sees no key behind itself.
      real: (b, k) bool, False for padding, which only itself can see. `None`: none is.
      segments: of the queries (b, q) and of the keys (b, k) int32, which see each other
        only where they are equal. `None`: one sequence per row.
      windows: per head the largest distance |query - key| that it sees, 0 for a head
        without limit. Empty: no head has one, and the head axis is 1.

    Raises:
      ValueError: a window below 0.
    """
    if any(window < 0 for window in windows):
        raise ValueError(f"windows: want 0 or more, got {tuple(windows)}")
    distance = queries[:, :, None] - keys[:, None, :]
    seen = distance >= 0 if causal else jnp.ones_like(distance, bool)
    if real is not None:
        seen &= real[:, None, :]
    if segments is not None:
        seen &= segments[0][:, :, None] == segments[1][:, None, :]
    seen |= distance == 0
    if not any(windows):
        return seen[:, None]
    near = jnp.abs(distance)[:, None]
    limits = jnp.array([window or jnp.iinfo(jnp.int32).max for window in windows])
    return seen[:, None] & (near <= limits[:, None, None])


def attend(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    mask: jax.Array,
    *,
    scale: float | None = None,
    rate: float = 0.0,
    dropout_keys: jax.Array | None = None,
    salt: int = 0,
    adjust: Callable[[jax.Array], jax.Array] | None = None,
    form: str = "auto",
) -> jax.Array:
    """Scaled dot-product attention, (b, q, h, f) in the dtype of the values.

    Args:
      queries: (b, q, h, e) float. Products run in this dtype, the softmax at least in
        float32.
      keys: (b, k, h, e).
      values: (b, k, h, f).
      mask: (b or 1, h or 1, q, k) bool, True where a key is seen; every query must see
        at least one.
      scale: what scores are multiplied by; `None` for 1 / sqrt(e).
      rate: dropout of the probabilities.
      dropout_keys: (b,) typed keys, one per row, or `None` for no dropout.
      salt: see `jaxrec.core.dropout.dropout_rows`.
      adjust: scaled scores (b, h, q, k) to those that the softmax gets, for weights
        that depend on more than products; the mask is applied afterwards.
      form: "einsum", "library" or "auto": the library's away from CPUs, if nothing is
        dropped or adjusted and f is e.

    Raises:
      ValueError: an unknown form, or dropout, adjusted scores or two widths asked of
        the library's.
    """
    if form not in _FORMS:
        raise ValueError(f"form: want one of {', '.join(_FORMS)}, got {form!r}")
    drops = dropout_keys is not None and not is_off(rate)
    widths = {keys.shape[-1], values.shape[-1]}
    if form == "auto":
        on_cpu = jax.default_backend() == "cpu"
        plain = not (drops or adjust or len(widths) > 1)
        form = "library" if plain and not on_cpu else "einsum"
    if form == "library":
        if adjust:
            raise ValueError("form='library' has no adjusted scores")
        if drops:
            raise ValueError("form='library' has no dropout of the probabilities")
        if len(widths) > 1:
            raise ValueError(
                "form='library' has one width of keys and values, got "
                f"{keys.shape[-1]} and {values.shape[-1]}"
            )
        return jax.nn.dot_product_attention(
            queries, keys, values, mask=mask, scale=scale
        )
    scores = _scores(queries, keys, mask, scale, adjust)
    v = jnp.swapaxes(values, 1, 2)
    top = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    weights = jnp.exp(scores - top)
    total = weights.sum(-1)[..., None]
    weights = dropout_rows(weights, rate, dropout_keys, salt).astype(v.dtype)
    y = jnp.einsum("bhqk,bhke->bhqe", weights, v, preferred_element_type=scores.dtype)
    return jnp.swapaxes((y / total).astype(values.dtype), 1, 2)


def attention_weights(
    queries: jax.Array,
    keys: jax.Array,
    mask: jax.Array,
    scale: float | None = None,
    adjust: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """What `attend` multiplies the values with, (b, h, q, k) float32, for analyses.

    Exactly 0 where a key is not seen and **only there**: a probability too small for
    float32 is its smallest normal number.

    Args:
      queries: as for `attend`.
      keys: as for `attend`.
      mask: as for `attend`.
      scale: as for `attend`.
      adjust: as for `attend`.
    """
    scores = _scores(queries, keys, mask, scale, adjust)
    weights = jax.nn.softmax(scores).astype(jnp.float32)
    return jnp.where(mask, jnp.maximum(weights, SMALLEST), 0)


def _scores(queries, keys, mask, scale, adjust):
    """Scaled products (b, h, q, k), at least float32; -1e9 where nothing is seen."""
    wide = jnp.promote_types(queries.dtype, jnp.float32)
    if scale is None:
        scale = queries.shape[-1] ** -0.5
    q, k = (jnp.swapaxes(a, 1, 2) for a in (queries * scale, keys))
    scores = jnp.einsum("bhqe,bhke->bhqk", q, k, preferred_element_type=wide)
    if adjust is not None:
        scores = adjust(scores)
    return jnp.where(mask, scores, _MASKED)


def segment_positions(ids: jax.Array, segments: jax.Array | None = None) -> jax.Array:
    """How many items stand before each slot in its sequence, (b, t) int32 from 0.

    Padding counts for nothing: the first item of a left padded row is at 0, as is that
    of every segment, and as is padding before it.

    Args:
      ids: (b, t) int32, 0 where there is no item.
      segments: (b, t) int32, different for neighbouring sequences of one row, or `None`
        for one sequence per row.
    """
    item = (ids != 0).astype(jnp.int32)
    count = jnp.cumsum(item, 1)
    if segments is not None:
        begins = segments[:, 1:] != segments[:, :-1]
        begins = jnp.pad(begins, ((0, 0), (1, 0)), constant_values=True)
        # The count never falls, so the newest beginning has the largest one.
        count -= jax.lax.cummax(jnp.where(begins, count - item, 0), axis=1)
    return jnp.maximum(count - 1, 0)
