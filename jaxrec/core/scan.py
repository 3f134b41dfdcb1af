"""The diagonal complex linear recurrence, behind one front.

    h_t = lambda * keep_t * h_{t-1} + x_t,        h_{-1} = h0

`lambda` is one complex number per channel, `keep` is 0 where a sequence begins (the
state is reset there) and 1 elsewhere. Arrays are **time-major**, (t, b, h), and complex
numbers are pairs of real arrays, because

* on a CPU the time-major sequential loop is the fastest form: each step touches one
  contiguous slab. Transposing the integer ids is all it costs;
* real pairs keep gradients free of conjugation conventions, give the optimiser real
  moments, and let storage be bfloat16 while the state stays float32.

Four forms compute the same map:

| form          | work          | depth     | for                                      |
|---------------|---------------|-----------|------------------------------------------|
| `sequential`  | t             | t         | CPU; the reference                       |
| `kernel`      | t             | t         | NVIDIA GPUs, see `jaxrec.core.scan_gpu`  |
| `chunked`     | t * (c/2 + 1) | t/c       | GPU/TPU: products with powers of lambda  |
| `associative` | t log t       | 2 log t   | GPU/TPU fallback, `lax.associative_scan` |

The first step is the same function with t = 1, prefill is the same function with its
final state kept: training, warm-up and serving cannot drift apart.

Gradients: all forms have a rule of their own, which stores nothing but the states. The
gradient of the states runs backwards through the same recurrence with the conjugate of
lambda,

    a_t = g_t + conj(lambda) * keep_{t+1} * a_{t+1},    dL/dx_t = a_t
    dL/dlambda = sum_t conj(keep_t * h_{t-1}) * a_t     as dL/dRe + i dL/dIm

The sequential form adds up dL/dlambda in that same loop, where a_{t+1} meets h_t while
both are in the cache: at (200, 9, 128) a quarter of the CPU time of autodiff, at (200,
128, 128) three quarters, since autodiff writes keep_t * h_{t-1} out once more. The
other forms take the sum afterwards; autodiff of "associative" would keep the partial
products of every level (2.4 times the scratch memory and 1.7 times the time).
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxrec.core.devices import has_copy_engine

Form = Literal["auto", "sequential", "associative", "chunked", "kernel"]
Pair = tuple[jax.Array, jax.Array]
Parts = Pair | jax.Array  # A pair (t, b, h), or joined (t, b, 2h).

KERNEL_LANES = 128  # Channels are taken in so many by the form "kernel",
KERNEL_LONGEST = 2**14  # and so many steps at most.

_CHUNK = 16


def linear_recurrence(
    lam: Pair,
    x: Parts,
    keep: jax.Array | None = None,
    h0: Pair | None = None,
    *,
    reverse: bool = False,
    form: Form = "auto",
) -> tuple[Parts, Pair]:
    """Runs h_t = lambda * keep_t * h_{t-1} + x_t along the first axis.

    Args:
      lam: real and imaginary part of lambda, each (h,), float32 (or float64).
      x: real and imaginary part of the input, each (t, b, h), or both joined, (t, b,
        2h), real before imaginary, as one product makes them. Any float dtype; the
        state and the result have the dtype of `lam`.
      keep: (t, b), 0 where the state must not come over from t-1, else 1 (bool does).
        Any mask: holes and resets anywhere. `None` keeps everywhere. Not
        differentiated. With `reverse` it acts on the state that comes from t+1.
      h0: the state before the first step (after the last one when `reverse`), each
        (b, h). `None` is zero.
      reverse: run from the last step to the first, for bidirectional use.
      form: which of the equal forms to run; "auto" takes the one measured fastest on
        the default backend for this length and width.

    Returns:
      `(h, last)`: the states, arranged as `x`, and the state after the last step, each
      (b, h), which as `h0` continues the sequence.

    Raises:
      ValueError: shapes that do not belong together, an unknown form, or the form
        "kernel" for what it does not take.
    """
    joined = not isinstance(x, tuple)
    time, batch, channels = _sizes(x)
    if {p.shape for p in lam} != {(channels,)}:
        raise ValueError(
            f"lam: want two {(channels,)} arrays, got {lam[0].shape}, {lam[1].shape}"
        )
    if keep is not None and keep.shape != (time, batch):
        raise ValueError(f"keep: want {(time, batch)}, got {keep.shape}")
    dtype = lam[0].dtype
    if h0 is None:
        zero = jnp.zeros((batch, channels), dtype)
        h0 = (zero, zero)
    elif {p.shape for p in h0} != {(batch, channels)}:
        raise ValueError(
            f"h0: want two {(batch, channels)} arrays, got {h0[0].shape}, {h0[1].shape}"
        )
    if keep is not None:
        keep = jax.lax.stop_gradient(keep.astype(dtype))
    if form == "auto":
        form = choose_form(time, channels, dtype)
    if form not in _FORMS:
        raise ValueError(f"form: want one of {sorted(_FORMS)}, got {form!r}")
    x = jax.tree.map(lambda part: part.astype(dtype), x)
    if form == "kernel":
        if not _kernel_takes(time, channels, dtype):
            raise ValueError(
                f"form 'kernel' wants float32, channels in multiples of {KERNEL_LANES} "
                f"and at most {KERNEL_LONGEST} steps, got {dtype}, {channels} channels "
                f"and {time} steps"
            )
        h = _FORMS[form](lam, x, keep, h0, reverse)
    else:
        h = _FORMS[form](lam, _pair(x) if joined else x, keep, h0, reverse)
    edge = 0 if reverse else -1
    if isinstance(h, tuple):
        last = h[0][edge], h[1][edge]
        return (jnp.concatenate(h, -1) if joined else h), last
    return h, _pair(h[edge])


def choose_form(
    length: int,
    channels: int = 0,
    dtype: Any = jnp.float32,
    device: jax.Device | None = None,
) -> Form:
    """The form "auto" stands for.

    Sequential on a CPU and for very short inputs; the kernel on a GPU that can run it;
    `associative_scan` elsewhere.

    Args:
      length: steps t.
      channels: complex channels h.
      dtype: of the state.
      device: the default device if not given.
    """
    device = device or jax.devices()[0]
    if device.platform == "cpu" or length <= 4:
        return "sequential"
    if has_copy_engine(device) and _kernel_takes(length, channels, dtype):
        return "kernel"
    return "associative"


def _kernel_takes(length: int, channels: int, dtype: Any) -> bool:
    whole = channels > 0 and channels % KERNEL_LANES == 0
    return whole and length <= KERNEL_LONGEST and jnp.dtype(dtype) == jnp.float32


def _sizes(x: Parts) -> tuple[int, int, int]:
    """Checks the input and returns its steps, rows and complex channels."""
    if isinstance(x, tuple):
        shape = x[0].shape
        if len(shape) != 3 or shape != x[1].shape:
            raise ValueError(f"x: want two (t, b, h) arrays, got {shape}, {x[1].shape}")
    else:
        if x.ndim != 3 or x.shape[2] % 2:
            raise ValueError(f"x: want a (t, b, 2h) array, got {x.shape}")
        shape = *x.shape[:2], x.shape[2] // 2
    if shape[0] == 0:
        raise ValueError(f"x: want (t, b, h) arrays with t >= 1, got {shape}")
    return shape


def _pair(joined: jax.Array) -> Pair:
    """Real and imaginary part of a joined array."""
    re, im = jnp.split(joined, 2, axis=-1)
    return re, im


def _sequential(lam, x, keep, h0, reverse):
    re, im = lam

    def body(h, inputs):
        h_re, h_im = h
        if keep is not None:
            k = inputs[2][:, None]
            h_re, h_im = h_re * k, h_im * k
        new = re * h_re - im * h_im + inputs[0], re * h_im + im * h_re + inputs[1]
        return new, new

    inputs = x if keep is None else (*x, keep)
    return jax.lax.scan(body, h0, inputs, reverse=reverse)[1]


def _sequential_adjoint(lam, keep, h0, h, g, reverse):
    """Gradients of lambda, x and h0 in one loop against the direction of `h`."""
    re, im = lam

    def weighed(state, k):
        return state if k is None else (state[0] * k[:, None], state[1] * k[:, None])

    def add(total, state, a):
        # conj(state) * a
        d_re = total[0] + state[0] * a[0] + state[1] * a[1]
        return d_re, total[1] + state[0] * a[1] - state[1] * a[0]

    def body(carry, inputs):
        after, total = carry
        g_t, h_t, k = inputs
        after = weighed(after, k)
        a = (
            g_t[0] + re * after[0] + im * after[1],
            g_t[1] + re * after[1] - im * after[0],
        )
        return (a, add(total, h_t, after)), a

    zero = tuple(map(jnp.zeros_like, h0))
    # The first `after` is zero, so it does not matter what `keep` it meets.
    following = None if keep is None else jnp.roll(keep, 1 if reverse else -1, 0)
    carry, d_x = jax.lax.scan(
        body, (zero, zero), (g, h, following), reverse=not reverse
    )
    a, total = carry
    entering = weighed(a, None if keep is None else keep[-1 if reverse else 0])
    total = add(total, h0, entering)
    d_lam = total[0].sum(0), total[1].sum(0)
    return d_lam, d_x, _multiply((re, -im), entering)


def _multiply(a: Pair, b: Pair) -> Pair:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _absorb_initial(lam, x, keep, h0, reverse):
    """Adds lambda * keep * h0 to the first input, after which h0 is zero."""
    first = -1 if reverse else 0
    carried = _multiply(lam, h0)
    if keep is not None:
        carried = tuple(c * keep[first][:, None] for c in carried)
    return tuple(
        p.astype(lam[0].dtype).at[first].add(c) for p, c in zip(x, carried, strict=True)
    )


def _associative(lam, x, keep, h0, reverse):
    x = _absorb_initial(lam, x, keep, h0, reverse)
    time, batch, _ = x[0].shape
    decay = jnp.ones((time, batch if keep is not None else 1, 1), lam[0].dtype)
    if keep is not None:
        decay = keep[:, :, None]
    a = (decay * lam[0], decay * lam[1])

    def combine(left, right):
        a_left, b_left = left
        a_right, b_right = right
        moved = _multiply(a_right, b_left)
        return _multiply(a_right, a_left), (
            moved[0] + b_right[0],
            moved[1] + b_right[1],
        )

    return jax.lax.associative_scan(combine, (a, x), reverse=reverse, axis=0)[1]


def _chunked(lam, x, keep, h0, reverse):
    """Within chunks a lower-triangular product with powers of lambda; between chunks
    a short sequential loop over the chunk ends; then the carried part is added.

    Products of the form (c, c) per channel turn the inner recurrence into batched
    matrix multiplications. A reset inside a chunk cuts every product that spans it,
    which is a mask on the (c, c) matrix of each row. The products run in full float32:
    tensor cores would round the powers of lambda to 10 (TF32) or 7 bits (bfloat16).
    """
    if reverse:
        flipped = None if keep is None else keep[::-1]
        h = _chunked(lam, tuple(p[::-1] for p in x), flipped, h0, False)
        return tuple(p[::-1] for p in h)
    dtype = lam[0].dtype
    time, batch, width = x[0].shape
    chunk = min(_CHUNK, time)
    chunks = -(-time // chunk)
    padding = chunks * chunk - time
    x = tuple(jnp.pad(p.astype(dtype), ((0, padding), (0, 0), (0, 0))) for p in x)
    if keep is None:
        keep = jnp.ones((time, batch), dtype)
    keep = jnp.pad(keep, ((0, padding), (0, 0)), constant_values=1)
    x = tuple(p.reshape(chunks, chunk, batch, width) for p in x)
    keep = keep.reshape(chunks, chunk, batch)

    resets = jnp.cumsum(1 - keep, axis=1)  # (k, c, b)
    alive = (resets[:, :, None] == resets[:, None, :]).astype(dtype)  # (k, t, s, b)
    gap = jnp.arange(chunk)[:, None] - jnp.arange(chunk)[None, :]
    alive = alive * (gap >= 0)[None, :, :, None]
    powers = _powers(lam, chunk + 1)  # (c + 1, h): lambda^0 ... lambda^c
    tri = tuple(p[jnp.maximum(gap, 0)] for p in powers)  # (t, s, h)

    def inner(left, right):
        return jnp.einsum(
            "ktsb,tsh,ksbh->ktbh", alive, left, right, precision="highest"
        )

    local = (
        inner(tri[0], x[0]) - inner(tri[1], x[1]),
        inner(tri[0], x[1]) + inner(tri[1], x[0]),
    )
    # The state entering a chunk reaches step t of it as lambda^(t+1) if no reset is
    # at or before t.
    reach = (resets == 0).astype(dtype)[..., None]  # (k, c, b, 1)

    def body(h, inputs):
        end_re, end_im, passes = inputs
        moved = _multiply((powers[0][chunk], powers[1][chunk]), h)
        return (moved[0] * passes + end_re, moved[1] * passes + end_im), h

    ends = (local[0][:, -1], local[1][:, -1], reach[:, -1])
    _, entering = jax.lax.scan(body, h0, ends)
    grown = tuple(p[1:, None, :] for p in powers)  # (c, 1, h): lambda^1 ...
    carried = _multiply(grown, tuple(e[:, None] for e in entering))
    return tuple(
        (a + c * reach).reshape(chunks * chunk, batch, width)[:time]
        for a, c in zip(local, carried, strict=True)
    )


def _powers(lam: Pair, count: int) -> Pair:
    def body(power, _):
        return _multiply(power, lam), power

    one = (jnp.ones_like(lam[0]), jnp.zeros_like(lam[0]))
    return jax.lax.scan(body, one, length=count)[1]


def _kernel(lam, x, keep, h0, reverse):
    from jaxrec.core import scan_gpu  # Not everybody has a GPU: a second of imports.

    return scan_gpu.states(lam, x, keep, h0, reverse)


def _kernel_adjoint(lam, keep, h0, h, g, reverse):
    from jaxrec.core import scan_gpu

    return scan_gpu.adjoint(lam, keep, h0, h, g, reverse)


def _adjoint_by(form):
    """The gradients of any form: `form` once more, backwards, and sums."""

    def adjoint(lam, keep, h0, h, g, reverse):
        conjugate = (lam[0], -lam[1])
        # What the mask blocks at t+1 on the way forward it blocks at t on the way back.
        shifted = None if keep is None else jnp.roll(keep, 1 if reverse else -1, 0)
        zero = tuple(map(jnp.zeros_like, h0))
        a = form(conjugate, g, shifted, zero, not reverse)
        if reverse:
            before = (jnp.append(p[1:], q[None], 0) for p, q in zip(h, h0, strict=True))
        else:
            before = (
                jnp.append(q[None], p[:-1], 0) for p, q in zip(h, h0, strict=True)
            )
        b_re, b_im = before
        passes = 1 if keep is None else keep[:, :, None]
        d_lam = (
            (passes * (b_re * a[0] + b_im * a[1])).sum((0, 1)),
            (passes * (b_re * a[1] - b_im * a[0])).sum((0, 1)),
        )
        first = -1 if reverse else 0
        entry = 1 if keep is None else keep[first][:, None]
        d_h0 = _multiply(conjugate, (a[0][first] * entry, a[1][first] * entry))
        return d_lam, a, d_h0

    return adjoint


def _with_rule(form, adjoint):
    """`form` with the gradient that the top of this module describes."""

    @functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
    def run(lam, x, keep, h0, reverse):
        return form(lam, x, keep, h0, reverse)

    def forward(lam, x, keep, h0, reverse):
        h = form(lam, x, keep, h0, reverse)
        return h, (lam, keep, h0, h)

    def backward(reverse, stored, g):
        d_lam, d_x, d_h0 = adjoint(*stored, g, reverse)
        return d_lam, d_x, None, d_h0

    run.defvjp(forward, backward)
    return run


_FORMS = {
    "sequential": _with_rule(_sequential, _sequential_adjoint),
    "associative": _with_rule(_associative, _adjoint_by(_associative)),
    "chunked": _with_rule(_chunked, _adjoint_by(_chunked)),
    "kernel": _with_rule(_kernel, _kernel_adjoint),
}
