"""The linear recurrence of `jaxrec.core.scan` as a kernel for Hopper GPUs and newer.

One warpgroup walks through time for 128 channels of one sequence, with the state in
registers: one thread, one complex channel. What it reads and writes goes through shared
memory in blocks of a few steps that the copy engine (TMA) brings and takes while other
blocks are worked on. So every input is read once and every state written once. All of a
block is read before its first step is taken, so that a step costs two dependent
multiply-adds and no wait for shared memory.

The gradient is the same walk backwards, with dL/dlambda added up on the way, where
a_{t+1} meets h_t: see `jaxrec.core.scan` for the equations.

Arrays are float32, time-major, and either pairs (real, imaginary) of (t, b, h) or
joined, (t, b, 2h), real before imaginary, as one product of a model makes them: the
kernel finds its columns in both, so that nothing is split or joined in memory.

Written in Pallas for its Mosaic GPU backend. On a CPU it runs in Pallas' interpreter
only, which the tests do.
"""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxrec.core.scan import KERNEL_LANES as LANES
from jaxrec.core.scan import Pair, Parts

_BLOCKS = range(16, 7, -1)  # Steps per block; the first that divides the length.
_FORWARD_STAGES = 4  # Blocks that are under way or in work at one time.
_BACKWARD_STAGES = 4


def states(
    lam: Pair, x: Parts, keep: jax.Array | None, h0: Pair, reverse: bool
) -> Parts:
    """All states of the recurrence.

    Args:
      lam: real and imaginary part of lambda, each (h,), h a multiple of `LANES`.
      x: the input, a pair of (t, b, h) or joined (t, b, 2h).
      keep: (t, b), 0 where the state must not come over, else 1; or `None`.
      h0: the state before the first step, each (b, h).
      reverse: run from the last step to the first.

    Returns:
      The states, arranged as `x`.
    """
    layout = _Layout(x, reverse)

    def body(lam_re, lam_im, h0_re, h0_im, x_re, x_im, *rest):
        keep_row = rest[0] if keep is not None else None
        h_re, h_im = rest[-2:] if not layout.joined else (rest[-1], rest[-1])
        here = layout.here()
        re, im = lam_re[here.channels], lam_im[here.channels]

        def walk(keep_at):
            def block(number, state, x_re, x_im, h_re, h_im):
                ready = [
                    (s, x_re[s], x_im[s], _times_keep((re, im), keep_at, t))
                    for s, t in layout.steps(number)
                ]
                found = []
                for s, in_re, in_im, lam in ready:
                    state = (
                        lam[0] * state[0] - lam[1] * state[1] + in_re,
                        lam[0] * state[1] + lam[1] * state[0] + in_im,
                    )
                    found.append((s, state))
                _write(found, h_re, h_im)
                return state

            _pipeline(
                block,
                here,
                _FORWARD_STAGES,
                (h0_re[here.lanes], h0_im[here.lanes]),
                ((x_re, x_im),),
                (h_re, h_im),
            )

        _with_keep(walk, keep_row, here.row)

    found = layout.kernel(body, layout.like_x)(
        *lam,
        *(part.reshape(-1) for part in h0),
        *layout.flat(x),
        *layout.keep(keep),
    )
    return layout.unflat(found)


def adjoint(
    lam: Pair,
    keep: jax.Array | None,
    h0: Pair,
    h: Parts,
    g: Parts,
    reverse: bool,
) -> tuple[Pair, Parts, Pair]:
    """Gradients of lambda, x and h0.

    Args:
      lam: as for `states`.
      keep: as for `states`.
      h0: as for `states`.
      h: what `states` returned.
      g: the gradient of the states, arranged as they are.
      reverse: as for `states`.

    Returns:
      The gradients of lambda, each (h,), of x, arranged as `h`, and of h0, each (b, h).
    """
    layout = _Layout(g, not reverse)
    before = 1 if reverse else -1

    def body(lam_re, lam_im, g_re, g_im, h_re, h_im, *rest):
        keep_row = rest[0] if keep is not None else None
        *outputs, total_re, total_im = rest[1:] if keep is not None else rest
        a_re, a_im = outputs if not layout.joined else (outputs[0], outputs[0])
        here = layout.here()
        re, im = lam_re[here.channels], lam_im[here.channels]
        zero = re * 0  # Made of what was loaded, so that it lies in threads as that.

        def walk(keep_at):
            def block(number, carry, g_re, g_im, h_re, h_im, a_re, a_im):
                after, total = carry[:2], carry[2:]
                ready, found = [], []
                for s, t in layout.steps(number):
                    # The first `after` is zero: no matter what `keep` it meets.
                    t = jnp.maximum(t - before, 0)
                    state = _times_keep((h_re[s], h_im[s]), keep_at, t)
                    lam = _times_keep((re, im), keep_at, t)
                    ready.append((s, g_re[s], g_im[s], state, lam))
                for s, in_re, in_im, state, lam in ready:
                    total = (
                        total[0] + state[0] * after[0] + state[1] * after[1],
                        total[1] + state[0] * after[1] - state[1] * after[0],
                    )
                    after = (
                        lam[0] * after[0] + lam[1] * after[1] + in_re,
                        lam[0] * after[1] - lam[1] * after[0] + in_im,
                    )
                    found.append((s, after))
                _write(found, a_re, a_im)
                return *after, *total

            return _pipeline(
                block,
                here,
                _BACKWARD_STAGES,
                (zero, zero, zero, zero),
                ((g_re, g_im), (h_re, h_im)),
                (a_re, a_im),
            )

        *_, d_re, d_im = _with_keep(walk, keep_row, here.row)
        total_re[here.lanes] = d_re
        total_im[here.lanes] = d_im

    channels = jax.ShapeDtypeStruct((layout.batch * layout.channels,), jnp.float32)
    *found, total_re, total_im = layout.kernel(
        body, [*layout.like_x, channels, channels]
    )(*lam, *layout.flat(g), *layout.flat(h), *layout.keep(keep))
    d_x = layout.unflat(found)
    first = -1 if reverse else 0
    a = _split(d_x, first)
    if keep is not None:
        a = tuple(part * keep[first][:, None] for part in a)
    total = tuple(part.reshape(h0[0].shape) for part in (total_re, total_im))
    d_lam = (
        (total[0] + h0[0] * a[0] + h0[1] * a[1]).sum(0),
        (total[1] + h0[0] * a[1] - h0[1] * a[0]).sum(0),
    )
    d_h0 = lam[0] * a[0] + lam[1] * a[1], lam[0] * a[1] - lam[1] * a[0]
    return d_lam, d_x, d_h0


class _Layout:
    """Where the columns of a sequence are, and how time is cut into blocks.

    Args:
      x: the array that the kernel runs over.
      reverse: whether it runs from the last step to the first.

    Attributes:
      joined: whether real and imaginary part are one array.
      like_x: shapes of the flat arrays that are written.
    """

    def __init__(self, x: Parts, reverse: bool):
        self.joined = not isinstance(x, tuple)
        self.length, self.batch, width = (x if self.joined else x[0]).shape
        self.channels = width // 2 if self.joined else width
        self.reverse = reverse
        self.block = next(
            (size for size in _BLOCKS if self.length % size == 0),
            min(self.length, _BLOCKS[-1]),
        )
        self.blocks = -(-self.length // self.block)
        self.like_x = [
            jax.ShapeDtypeStruct(
                (self.blocks * self.block, self.batch * width), jnp.float32
            )
        ] * (1 if self.joined else 2)

    def here(self) -> "_Here":
        """What the running warpgroup works on; inside the kernel only."""
        return _Here(self, jax.lax.axis_index("columns"))

    def place(self, number: jax.Array) -> jax.Array:
        """The place in memory of the block that is worked on as the number-th."""
        return self.blocks - 1 - number if self.reverse else number

    def steps(self, number: jax.Array) -> list[tuple[int, jax.Array]]:
        """Steps of a block in the order of work, within the block and from 0 on."""
        first = self.place(number) * self.block
        inside = range(self.block)
        return [(s, first + s) for s in (reversed(inside) if self.reverse else inside)]

    def kernel(self, body, outputs):
        """`body` for all columns, to be called with arrays."""
        return plgpu.kernel(
            body,
            out_type=outputs,
            grid=(self.batch * self.channels // LANES,),
            grid_names=("columns",),
            # Threads share nothing, so that what stands between blocks is enough (in
            # `wait_smem_to_gmem` and `commit_smem`); Pallas would put two barriers at
            # every store, which were most of a step's time.
            compiler_params=plgpu.CompilerParams(unsafe_no_auto_barriers=True),
        )

    def flat(self, x: Parts) -> Pair:
        """Real and imaginary arrays (whole blocks, columns), the same one if joined.

        What fills up the last block comes after all that counts, in the order of work.
        """
        missing = self.blocks * self.block - self.length

        def one(part):
            part = part.reshape(self.length, -1)
            return jnp.pad(part, (self._fill(missing), (0, 0))) if missing else part

        if self.joined:
            x = one(x)
            return x, x
        return one(x[0]), one(x[1])

    def unflat(self, found) -> Parts:
        """What `flat` was made of."""
        start = len(found[0]) - self.length if self.reverse else 0
        parts = tuple(
            part[start : start + self.length].reshape(self.length, self.batch, -1)
            for part in found
        )
        return parts[0] if self.joined else parts

    def keep(self, keep: jax.Array | None) -> list[jax.Array]:
        """`keep` by sequence, (b, k, `LANES`), with one step beyond the last block."""
        if keep is None:
            return []
        missing = self.blocks * self.block - self.length
        keep = jnp.pad(keep, (self._fill(missing), (0, 0)))
        more = (len(keep) // LANES + 1) * LANES - len(keep)
        keep = jnp.pad(keep.astype(jnp.float32), ((0, more), (0, 0)))
        return [keep.T.reshape(self.batch, -1, LANES)]

    def _fill(self, missing):
        return (missing, 0) if self.reverse else (0, missing)


class _Here:
    """The columns of one warpgroup.

    Attributes:
      layout: of which this is a part.
      row: which sequence.
      channels: which channels of it, for arrays (h,).
      lanes: the same for flat arrays (b * h,).
      columns: those of the real and of the imaginary part.
    """

    def __init__(self, layout: _Layout, number: jax.Array):
        per_row = layout.channels // LANES
        self.layout = layout
        self.row = number // per_row
        self.channels = pl.ds((number % per_row) * LANES, LANES)
        self.lanes = pl.ds(number * LANES, LANES)
        re = im = number
        if layout.joined:
            re = number + self.row * per_row
            im = re + per_row
        self.columns = pl.ds(re * LANES, LANES), pl.ds(im * LANES, LANES)

    def block(self, pair, number):
        """The number-th block, in the order of work, of flat arrays in memory."""
        size = self.layout.block
        rows = pl.ds(self.layout.place(number) * size, size)
        return [
            ref.at[rows, columns]
            for ref, columns in zip(pair, self.columns, strict=True)
        ]


def _pipeline(work, here, stages, carry, sources, target):
    """Runs `work` over all blocks while the copy engine is some blocks ahead.

    Args:
      work: `(number, carry, *blocks) -> carry`, with blocks of all sources, then of the
        target, in shared memory.
      here: the columns.
      stages: blocks of the sources that are under way or in work at one time.
      carry: what the first call gets.
      sources: pairs of flat arrays in memory that are read.
      target: the pair that is written.

    Returns:
      The last carry.
    """
    layout = here.layout
    stages = min(stages, layout.blocks)
    outputs = min(2, layout.blocks)  # While one is taken away the other is filled.
    shape = layout.block, LANES

    def run(inside, outside, barrier):
        def fetch(number):
            slot = jax.lax.rem(number, stages)
            blocks = [part for pair in sources for part in here.block(pair, number)]
            for source, there in zip(blocks, inside, strict=True):
                plgpu.copy_gmem_to_smem(source, there.at[slot], barrier.at[slot])

        def body(number, carry):
            slot, exit_slot = jax.lax.rem(number, stages), jax.lax.rem(number, outputs)
            plgpu.barrier_wait(barrier.at[slot])
            plgpu.wait_smem_to_gmem(outputs - 1, wait_read_only=True)
            ready = [part.at[slot] for part in inside]
            filled = [part.at[exit_slot] for part in outside]
            carry = work(number, carry, *ready, *filled)
            plgpu.commit_smem()
            for part, there in zip(filled, here.block(target, number), strict=True):
                plgpu.copy_smem_to_gmem(part, there, commit_group=False)
            plgpu.commit_smem_to_gmem_group()

            @pl.when(number + stages < layout.blocks)
            def _():
                fetch(number + stages)

            return carry

        for number in range(stages):
            fetch(jnp.int32(number))
        carry_out = jax.lax.fori_loop(0, layout.blocks, body, carry)
        plgpu.wait_smem_to_gmem(0)
        return carry_out

    inputs = 2 * len(sources)
    return pl.run_scoped(
        run,
        [plgpu.SMEM((stages, *shape), jnp.float32)] * inputs,
        [plgpu.SMEM((outputs, *shape), jnp.float32)] * 2,
        plgpu.Barrier(num_arrivals=inputs, num_barriers=stages),
    )


def _with_keep(walk, keep_row, row):
    """Calls `walk` with a function that gives `keep` at a step, or with `None`."""
    if keep_row is None:
        return walk(None)

    def run(keep, barrier):
        plgpu.copy_gmem_to_smem(keep_row.at[row], keep, barrier)
        plgpu.barrier_wait(barrier)
        return walk(lambda t: keep[t // LANES, t % LANES])

    return pl.run_scoped(
        run, plgpu.SMEM(keep_row.shape[1:], jnp.float32), plgpu.Barrier()
    )


def _times_keep(pair, keep_at, t):
    if keep_at is None:
        return pair
    keep = keep_at(t)
    return pair[0] * keep, pair[1] * keep


def _write(found, re, im):
    for s, (value_re, value_im) in found:
        re[s], im[s] = value_re, value_im


def _split(x: Parts, step: int) -> Pair:
    if isinstance(x, tuple):
        return x[0][step], x[1][step]
    re, im = jnp.split(x[step], 2, -1)
    return re, im
