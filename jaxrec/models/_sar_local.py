"""Local heads of `jaxrec.models.sar`: a window of keys, or one of LOCKER's other kinds.

He et al., "Locker: Locally Constrained Self-Attentive Sequential Recommendation", CIKM
2021; released code yueqirex/ModSAR, which trained windows only. Head h is local if
w = windows[h] is not 0. With its values v, scores s, query i and key j it gives

    window   attention to keys at most w away
    conv     relu(b + sum over o of v_{i+o} W_o),  o = -w..w, causal -w..0
    rnn      the state of a GRU that has read v_{i+o} in this order, from 0
    initial  attention with s_ij sigmoid(10 g_{i-j}),  g at first exp(-2 (distance/w)^2)
    adapt    attention with s_ij + a . (R_{i-j} + v_j)

where the matrices W_o, b, the GRU, g, a and R are learned, in each head of each block.
A neighbour that the query does not see (padding, another sequence of the row, the
future) is 0 in the sum of conv, and rnn reads on with the next. Queries and keys of
their heads are not used, and nothing is dropped in them. Queries of initial and adapt
see all keys of the sequence (causal: not the later ones); their models have no
embedding of positions.

Differences from the released code, besides padding, which conv and rnn take for items
there:

* conv is centred there and rnn reads v_i .. v_{i+w}: in a causal model both see the
  future, and the last position, which answers, has only itself to read. Here they read
  the same neighbours, of which a causal model has none behind the query.
* initial: the sigma of the Gaussian is .5 there, here w / 2, the same for w = 1; there
  its centre is one position off, and the Xavier-uniform values of all matrices then
  replace it.
* adapt: a stands for the released MLP, one linear map of R_{j-i} + v_i + v_j + the
  projected mean item of the user. What v_i, the mean and the bias add is the same for
  every key, nothing that a softmax sees; so they are left out with their parameters
  (and with them the mean's sight of the future). It has no w: `windows` says 1.
"""

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.core.config import unknown
from jaxrec.models._layers import linear, product, rows_at

if TYPE_CHECKING:
    from jaxrec.models.sar import SARConfig

Params = dict[str, Any]

KINDS = ("window", "conv", "rnn", "initial", "adapt")
_READERS = ("conv", "rnn")


def check_kind(cfg: "SARConfig") -> None:
    """Raises ValueError for a kind of local heads that is unknown or cannot be."""
    if cfg.local not in KINDS:
        raise ValueError(unknown("SARConfig: local", cfg.local, KINDS))
    if cfg.local == "window":
        return
    if not any(cfg.windows):
        raise ValueError(
            f"SARConfig: local={cfg.local!r}, but no head is local (windows="
            f"{cfg.windows})"
        )
    if cfg.local == "adapt" and max(cfg.windows) > 1:
        raise ValueError(
            "SARConfig: local='adapt' learns how far a head sees; want windows 1 for a "
            f"local head, got {cfg.windows}"
        )
    if cfg.local in _READERS and max(cfg.windows) >= cfg.length:
        raise ValueError(
            f"SARConfig: local={cfg.local!r} wants windows below the length "
            f"{cfg.length}, got {cfg.windows}"
        )


def has_positions(cfg: "SARConfig") -> bool:
    """Whether the model has an embedding of positions."""
    return cfg.local not in ("initial", "adapt")


def limits(cfg: "SARConfig") -> tuple[int, ...]:
    """The windows of the attention mask: those of heads that are local by it."""
    return cfg.windows if cfg.local == "window" else ()


def without_attention(cfg: "SARConfig") -> list[int]:
    """The heads that have no attention weights."""
    return _local(cfg) if cfg.local in _READERS else []


def init_local(key: jax.Array, cfg: "SARConfig") -> Params:
    """Parameters of the local heads of a block, by head; of windows there are none.

    Matrices are Xavier-uniform and biases uniform within 1 / sqrt(fan in), as released.
    """
    keys = jax.random.split(key, cfg.heads)
    return {f"head_{h}": _head(keys[h], cfg, cfg.windows[h]) for h in _local(cfg)}


def heads_of(
    cfg: "SARConfig",
    block: Params,
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    mask: jax.Array,
    at: jax.Array | None,
    **options: Any,
) -> jax.Array:
    """What the heads of a block give, (b, m, h, e).

    Args:
      cfg: sizes.
      block: its parameters.
      queries: (b, m, h, e).
      keys: (b, t, h, e).
      values: (b, t, h, e), slot by slot of sequences without holes.
      mask: (b or 1, h or 1, m, t), with the windows `limits(cfg)`.
      at: (b, m) slots of the queries; `None` for all t.
      options: of `jaxrec.models._layers.product`.
    """
    if cfg.local == "window":
        return product(queries, keys, values, mask, **options)
    if cfg.local not in _READERS:
        adjust = _adjustment(cfg, block["local"], values, at)
        return product(queries, keys, values, mask, adjust=adjust, **options)
    read = _convolved if cfg.local == "conv" else _last_state
    outputs = {
        h: read(
            block["local"][f"head_{h}"],
            values[:, :, h],
            mask[:, 0],
            _offsets(cfg, cfg.windows[h]),
            at,
        )
        for h in _local(cfg)
    }
    rest = [h for h in range(cfg.heads) if h not in outputs]
    if rest:
        some = (
            jnp.stack([x[:, :, h] for h in rest], 2) for x in (queries, keys, values)
        )
        attended = product(*some, mask, **options)
        outputs |= {h: attended[:, :, i] for i, h in enumerate(rest)}
    return jnp.stack([outputs[h] for h in range(cfg.heads)], 2)


def _local(cfg):
    return [h for h, window in enumerate(cfg.windows) if window]


def _offsets(cfg, window):
    """Neighbours that a head reads, from the first to the last."""
    return np.arange(-window, 1 if cfg.causal else window + 1)


def _distances(cfg):
    """How far behind the query the keys of the rows of "relative" are."""
    return np.arange(0 if cfg.causal else 1 - cfg.length, cfg.length)


def _head(key, cfg, window):
    width, distances = cfg.dim // cfg.heads, _distances(cfg)
    first, second = jax.random.split(key)
    if cfg.local == "conv":
        return _affine(key, len(_offsets(cfg, window)), width, width)
    if cfg.local == "rnn":
        names = {"input": first, "state": second}
        return {name: _affine(names[name], 1, width, 3 * width) for name in names}
    if cfg.local == "initial":
        peak = np.exp(-2 * (distances / window) ** 2)
        return {"relative": jnp.asarray(peak, jnp.float32)}
    return {
        "relative": _xavier(first, len(distances), width),
        "kernel": _xavier(second, width, 1),
    }


def _affine(key, neighbours, into, out):
    """A map of so many neighbours, whose vectors are one behind the other."""
    first, second = jax.random.split(key)
    bound = 1 / math.sqrt(neighbours * into)
    return {
        "kernel": _xavier(first, into, out, neighbours),
        "bias": jax.random.uniform(second, (out,), jnp.float32, -bound, bound),
    }


def _xavier(key, into, out, neighbours=1):
    bound = math.sqrt(6 / (neighbours * (into + out)))
    shape = (neighbours * into, out)
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def _neighbours(x, mask, offsets, at):
    """Of x (b, t, f) what is at offsets from queries, (b, m, o, f); which they see."""
    t = x.shape[1]
    before, after = -offsets[0], offsets[-1]
    padded = jnp.pad(x, ((0, 0), (before, after), (0, 0)))
    near = [rows_at(padded[:, first : first + t], at) for first in before + offsets]
    slots = (jnp.arange(t)[None] if at is None else at)[..., None] + offsets
    seen = jnp.take_along_axis(mask, jnp.clip(slots, 0, t - 1), -1)
    return jnp.stack(near, 2), seen & (slots >= 0) & (slots < t)


def _convolved(params, values, mask, offsets, at):
    near, seen = _neighbours(values, mask, offsets, at)
    near = jnp.where(seen[..., None], near, 0)
    return jax.nn.relu(linear(params, near.reshape(*near.shape[:2], -1), values.dtype))


def _last_state(params, values, mask, offsets, at):
    """A GRU with reset gate after the product, and update gate on the old state."""
    dtype, wide = values.dtype, jnp.promote_types(values.dtype, jnp.float32)
    given, seen = _neighbours(linear(params["input"], values, dtype), mask, offsets, at)

    def read(state, one):
        given, seen = one
        of_input = jnp.split(given.astype(wide), 3, -1)
        of_state = jnp.split(linear(params["state"], state, dtype).astype(wide), 3, -1)
        reset, kept = (
            jax.nn.sigmoid(a + b)
            for a, b in zip(of_input[:2], of_state[:2], strict=True)
        )
        new = jnp.tanh(of_input[2] + reset * of_state[2])
        after = kept * state + (1 - kept) * new
        return jnp.where(seen[..., None], after, state), None

    begin = jnp.zeros((*given.shape[:2], values.shape[-1]), wide)
    each = (jnp.moveaxis(given, 2, 0), jnp.moveaxis(seen, 2, 0))
    return jax.lax.scan(read, begin, each)[0].astype(dtype)


def _adjustment(cfg, params, values, at):
    """What initial and adapt make of scores (b, h, m, t)."""
    slots = np.arange(values.shape[1])
    row = np.maximum(slots[:, None] - slots - _distances(cfg)[0], 0)

    def by_distance(table):
        """Of every pair (b or 1, m, t), its row's element of a table by distance."""
        pairs = table[row]
        return pairs[None] if at is None else pairs[at]

    def gates(h, head):
        return by_distance(jax.nn.sigmoid(10 * head["relative"]))

    def terms(h, head):
        wide = head["kernel"].dtype
        of_key = values[:, :, h].astype(wide) @ head["kernel"]  # (b, t, 1)
        relative = by_distance((head["relative"] @ head["kernel"])[:, 0])
        return relative + jnp.swapaxes(of_key, 1, 2)

    gated = cfg.local == "initial"
    local = {
        h: (gates if gated else terms)(h, params[f"head_{h}"]) for h in _local(cfg)
    }
    neutral = jnp.full_like(next(iter(local.values())), gated)
    pairs = jnp.stack([local.get(h, neutral) for h in range(cfg.heads)], 1)
    return lambda scores: scores * pairs if gated else scores + pairs
