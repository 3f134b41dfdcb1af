"""fMRLRec: one training, recommenders of every width.

Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", EMNLP 2024 Findings, written to the released code. Linear
recurrent units as in LRURec, but pre-norm, with as many complex channels as the model
is wide, a gated feed-forward part, and every map nested for the sizes s_1 < ... < s_K =
D (see `jaxrec.core.nested`): the first s_k coordinates of everything are a recommender
of width s_k, which `truncate` cuts out.

    E    = G W_proj + b_proj                    G: frozen features of the items
    e_t  = dropout(E[x_t])
    u_t  = exp(gamma_log) * (W_in n_t + b_in),  n_t = LayerNorm(e_t);    complex
    h_t  = lambda * keep_t * h_{t-1} + u_t
    a_t  = e_t + dropout_lru(Re(W_out h_t + b_out)),      m_t = LayerNorm(a_t)
    e'_t = a_t + dropout(W_2 (SiLU(W_g m_t + b_g) * dropout(W_1 m_t + b_1)) + b_2)
    s_t  = E[:, :s_k] e'_t[:s_k]

Only in the code is what makes the cut exact: a LayerNorm is one per increment of width.
The projection is not nested, since every output of it is a coordinate of its own. There
is no position, no item bias and no norm at the end. Rows of G are 0 for id 0 and for
items without features, so that the padding which a sequence begins with is b_proj.
Training takes the mean of the losses at all sizes as the code does; the paper weighs
them, here `size_weights`.

Features are parameters that training leaves alone (`frozen`): they are kept with the
checkpoint, have no gradient and no moments. Without features (`features=()`) the table
is trained itself, which is also what `tabulate` makes of a trained model.

With `own_vectors`, which the authors do not have, each item also has a trained vector
of its own, E = G W_proj + b_proj + T. T begins as 0, so that what features say comes
first, and an item that is added later has none. What features cannot tell apart (two
editions of a game, a title that says nothing) is then learnt from who bought it. In
every step some items, at the rate `dropout_own`, go without theirs, so that features
alone stay an answer (as DropoutNet: Volkovs, Yu and Poutanen, NeurIPS 2017).
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxrec.core.dropout import dropout, is_off
from jaxrec.core.nested import check_sizes, nested_linear
from jaxrec.core.scan import linear_recurrence
from jaxrec.models._fmrlrec_parameters import (
    Params,
    cut,
    draw,
    feature_table,
    gained,
    has_both,
    item_vectors,
)
from jaxrec.models._layers import nested_layer_norm, scores_of
from jaxrec.models._lru_core import check_recurrence, forms, goes_on, poles

__all__ = [
    "FMRLRecConfig",
    "decayed",
    "encode",
    "for_step",
    "frozen",
    "head",
    "init",
    "loss_sizes",
    "prefill",
    "run",
    "score",
    "start",
    "step",
    "tabulate",
    "truncate",
    "with_features",
]

State = tuple[tuple[jax.Array, jax.Array], ...]


@dataclasses.dataclass(frozen=True)
class FMRLRecConfig:
    """Sizes and rates of fMRLRec.

    Attributes:
      items: catalogue size N; the table has N + 1 rows.
      sizes: the widths, growing multiples of 4; the last one is the model's.
      size_weights: what the loss at each size weighs; () is 1/K each.
      features: dimensions of the items' features, one per modality (text, image, ...);
        () for a table that is trained itself.
      own_vectors: whether items with features also have a trained vector each; without
        features all have one anyway.
      blocks: number of LRU + feed-forward blocks.
      dropout: rate after the embedding and inside the feed-forward part.
      dropout_lru: rate on the output of the recurrence.
      dropout_own: rate at which items that have both go without their own vectors in a
        training step.
      r_min: smallest |lambda| at initialisation.
      r_max: largest |lambda| at initialisation.
      compute_dtype: dtype of the matrix products and of stored activations, "float32"
        or "bfloat16". The recurrence, norms, parameters and losses stay float32.
      scan: form of the recurrence, see `jaxrec.core.scan.linear_recurrence`.
      table_multiple: rows of the item table are rounded up to a multiple of this, so
        that it can be split over devices; rows past the catalogue score -1e9.
    """

    items: int
    sizes: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    size_weights: tuple[float, ...] = ()
    features: tuple[int, ...] = ()
    own_vectors: bool = False
    blocks: int = 2
    dropout: float = 0.5
    dropout_lru: float = 0.5
    dropout_own: float = 0.0
    r_min: float = 0.0
    r_max: float = 0.1
    compute_dtype: str = "float32"
    scan: str = "auto"
    table_multiple: int = 1

    def __post_init__(self):
        if self.items < 1 or self.blocks < 1:
            raise ValueError(
                "FMRLRecConfig: want items >= 1, blocks >= 1, got "
                f"items={self.items}, blocks={self.blocks}"
            )
        check_sizes(self.sizes, "FMRLRecConfig.sizes")
        weights = self.size_weights
        if weights and (len(weights) != len(self.sizes) or min(weights) <= 0):
            raise ValueError(
                "FMRLRecConfig.size_weights: want one above 0 for each of the "
                f"{len(self.sizes)} sizes, or none, got {weights}"
            )
        if not all(isinstance(d, int) and d >= 1 for d in self.features):
            raise ValueError(
                "FMRLRecConfig.features: want dimensions of 1 or more, got "
                f"{self.features}"
            )
        check_recurrence(self)

    @property
    def dim(self) -> int:
        """The width D."""
        return self.sizes[-1]

    @property
    def rows(self) -> int:
        """Rows of the item table: items + 1, rounded up."""
        return -(-(self.items + 1) // self.table_multiple) * self.table_multiple


def init(key: jax.Array, cfg: FMRLRecConfig) -> Params:
    """Draws parameters: a plain nested dict of float32 arrays.

    Weights and biases are uniform within 1 / sqrt(inputs), imaginary parts 0, as
    released; lambda is uniform in area on the ring r_min < |lambda| < r_max. A trained
    table is normal with standard deviation 0.02 cut at two of them. Features are
    **random** vectors of length 1, the control; for others see `with_features`.
    """
    return draw(key, cfg)


def with_features(
    params: Params, cfg: FMRLRecConfig, tables: Sequence[jax.Array]
) -> Params:
    """Parameters whose items have other features.

    Args:
      params: as from `init`.
      cfg: sizes.
      tables: (items, dim) per modality, row i that of item i + 1; of an item without
        this modality a row of zeros.

    Raises:
      ValueError: other shapes than `cfg` says; the modality is named.
    """
    return params | {"features": {"table": feature_table(cfg, tables)}}


def for_step(params: Params, cfg: FMRLRecConfig, key: jax.Array) -> Params:
    """Parameters for one training step, some items without vectors of their own.

    The same items for all rows, however these are split over devices.
    """
    if is_off(cfg.dropout_own) or not has_both(cfg):
        return params
    embedding = params["embedding"]
    kept = jax.random.bernoulli(key, 1 - cfg.dropout_own, (cfg.rows, 1))
    own = jnp.where(kept, embedding["table"], 0)
    return params | {"embedding": embedding | {"table": own}}


def start(cfg: FMRLRecConfig, batch: int) -> State:
    """The state without history: per block (re, im), each (batch, D)."""
    zero = jnp.zeros((batch, cfg.dim))
    return tuple((zero, zero) for _ in range(cfg.blocks))


def run(
    params: Params,
    cfg: FMRLRecConfig,
    ids: jax.Array,
    *,
    segments: jax.Array | None = None,
    keys: jax.Array | None = None,
    state: State | None = None,
    last_only: bool = False,
) -> tuple[State, jax.Array]:
    """Runs the network over ids (t, b), time-major, from a state to a state.

    Args:
      params: as from `init`.
      cfg: sizes.
      ids: (t, b) int32, 0 where there is no item.
      segments: (t, b) int32; where it changes between t-1 and t the state is reset
        (several users packed in one row). `None`: one sequence per row.
      keys: (b,) typed dropout keys, or `None` for inference.
      state: state before the first step, `None` for the empty history.
      last_only: return the last output only. The last block then computes nothing at
        other positions but its recurrence.

    Returns:
      `(state, hidden)`: the state after the last step and the outputs (t, b, d), or
      (1, b, d) with `last_only`.
    """
    keep, sizes, dtype = goes_on(ids, segments), cfg.sizes, jnp.dtype(cfg.compute_dtype)
    state = start(cfg, ids.shape[1]) if state is None else state
    x = dropout(item_vectors(params, cfg, ids), cfg.dropout, keys, 0)
    states = []
    for i in range(cfg.blocks):
        block = params[f"block_{i}"]
        normed = nested_layer_norm(block["norm"], x, sizes)
        u = nested_linear(gained(block, sizes), normed, sizes, dtype)
        h, last = linear_recurrence(
            poles(block["lru"]), u, keep, state[i], form=cfg.scan
        )
        states.append(last)
        if last_only and i == cfg.blocks - 1:
            h, x = jnp.concatenate(last, -1)[None], x[-1:]
        x = after_recurrence(block, cfg, x, h, keys, 1 + 3 * i)
    return tuple(states), x


def after_recurrence(
    block: Params,
    cfg: FMRLRecConfig,
    x: jax.Array,
    h: jax.Array,
    keys: jax.Array | None = None,
    salt: int = 0,
) -> jax.Array:
    """The outputs (t, b, d) of a block from its inputs and its states (t, b, 2d)."""
    sizes, dtype = cfg.sizes, jnp.dtype(cfg.compute_dtype)
    y = nested_linear(block["out"], h, sizes, dtype, vectors=2)
    x = x + dropout(y, cfg.dropout_lru, keys, salt)
    normed = nested_layer_norm(block["ffn_norm"], x, sizes)
    both = nested_linear(block["ffn_in"], normed, sizes, dtype)
    gate, y = jnp.split(both, 2, axis=-1)
    y = jax.nn.silu(gate) * dropout(y, cfg.dropout, keys, salt + 1)
    y = nested_linear(block["ffn_out"], y, sizes, dtype)
    return x + dropout(y, cfg.dropout, keys, salt + 2)


encode, step, prefill = forms(run)


def score(
    params: Params, cfg: FMRLRecConfig, hidden: jax.Array, size: int | None = None
) -> jax.Array:
    """Scores (..., items + 1) of outputs (..., d), at one of the sizes.

    Raises:
      ValueError: a size that is none of the model's.
    """
    width = cfg.dim if size is None else cfg.sizes[_place(cfg, size)]
    table, bias = head(params, cfg)
    return scores_of(hidden[..., :width], (table[:, :width], bias), cfg.items + 1)


def head(params: Params, cfg: FMRLRecConfig) -> tuple[jax.Array, jax.Array]:
    """The table (rows, d), made of all features, and bias (rows,) of `score`."""
    return item_vectors(params, cfg), jnp.where(
        jnp.arange(cfg.rows) <= cfg.items, 0.0, -1e9
    )


def loss_sizes(cfg: FMRLRecConfig) -> tuple[tuple[int, float], ...]:
    """The sizes, each with what its loss weighs."""
    count = len(cfg.sizes)
    weights = cfg.size_weights or (1 / count,) * count
    return tuple(zip(cfg.sizes, weights, strict=True))


def decayed(path: tuple[str, ...]) -> bool:
    """Whether weight decay applies to the parameter at `path`.

    As released: everything but biases and the shifts of norms. The scales of the norms
    are decayed (their names there escape the rule that was meant to spare them), and so
    are the logs of the recurrence.
    """
    return not frozen(path) and path[-1] != "bias"


def frozen(path: tuple[str, ...]) -> bool:
    """Whether training leaves the parameter at `path` as it is: the features."""
    return path[0] == "features"


def tabulate(params: Params, cfg: FMRLRecConfig) -> tuple[FMRLRecConfig, Params]:
    """The same model without features: its item table is computed once and for all."""
    table, _ = head(params, cfg)
    blocks = {name: params[name] for name in params if name.startswith("block")}
    cfg = dataclasses.replace(cfg, features=())
    return cfg, {"embedding": {"table": table}, **blocks}


def truncate(
    params: Params, cfg: FMRLRecConfig, size: int
) -> tuple[FMRLRecConfig, Params]:
    """The model of width `size` that is inside a wider one.

    Its outputs are the first `size` coordinates of the wider one's, and its scores are
    `score(..., size)`. Features stay as wide as they are; `tabulate` either of the two
    models to be rid of them.

    Args:
      params: as from `init`.
      cfg: sizes.
      size: one of `cfg.sizes`.

    Raises:
      ValueError: a size that is none of the model's.
    """
    count = _place(cfg, size) + 1
    small = cut(params, cfg.sizes, count)
    weights = cfg.size_weights[:count]
    cfg = dataclasses.replace(cfg, sizes=cfg.sizes[:count], size_weights=weights)
    return cfg, small


def _place(cfg, size):
    if size not in cfg.sizes:
        raise ValueError(f"size: want one of {cfg.sizes}, got {size}")
    return cfg.sizes.index(size)
