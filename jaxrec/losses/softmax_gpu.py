"""Softmax cross-entropy as two kernels for Hopper GPUs: no logit ever leaves a core.

Both kernels hold a tile of rows in shared memory, walk over the other matrix in tiles
that the copy engine brings ahead of time, and keep in registers what they add up:

    mean_i, lse_i = sum_j softmax_j(r_i . c_j + s_j) c_j, log sum_j exp(r_i . c_j + s_j)
    sums_i        = sum_j exp(r_i . c_j + u_i + v_j) c_j        and their totals over j

The first, over positions i and items j, is attention with keys that are also values,
and an online maximum (Milakov and Gimelshein, 2018): it gives the loss and

    dL/dx_i = w_i (mean_i - E_label)

The second, over items i and positions j, with v_j = log w_j - lse_j, gives gradients
of the table and of the bias. So there are four matrix products and two exponentials for
each pair of position and item, against three and one of `jaxrec.losses.softmax`, which
must write every logit and read it several times: on these GPUs memory is what counts.

Products take bfloat16, everything else is float32. Written in Pallas for its Mosaic GPU
backend. On a CPU the kernels run in Pallas' interpreter only, which the tests do.
"""

import inspect

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

LOWEST = -1e30  # Of a logit: below every other, yet finite.
WIDTHS = (64, 128)  # Widths that the kernels take; others are padded with zeros.

_ROWS = 64  # Of a tile of logits: one matrix product of a warpgroup.
_MANY = 8192  # Columns from which a tile has 256 of them instead of 128.
_TILES = 528  # Least tiles of rows and parts of the second kernel: four to a core.
# jax 0.10 asks for an index beside a reference, which 0.11 warns of.
_INDEX = inspect.signature(plgpu.load).parameters["idx"]
_NO_INDEX = {"idx": None} if _INDEX.default is inspect.Parameter.empty else {}


def softmax_ce_gpu(x, table, bias, labels, weights):
    """As `jaxrec.losses.softmax.linear_softmax_ce`, with its gradients.

    Args:
      x: (n, d) bfloat16, d at most 128.
      table: (v, d).
      bias: (v,).
      labels: (n,) int32 in [0, v).
      weights: (n,) float32.

    Returns:
      Scalar, the weighted sum.
    """
    return _loss(x, table, bias, labels, weights)


@jax.custom_vjp
def _loss(x, table, bias, labels, weights):
    each, _, _ = _positions(x, table, bias, labels)
    return (weights * each).sum()


def _forward(x, table, bias, labels, weights):
    each, mean, lse = _positions(x, table, bias, labels)
    rows = table.astype(x.dtype)
    d_x = weights[:, None] * (mean - rows[labels].astype(jnp.float32))
    weight_logs = jnp.where(weights > 0, jnp.log(jnp.abs(weights)), LOWEST)
    sums, totals = weighted_sums(rows, x, bias, jnp.maximum(weight_logs - lse, LOWEST))
    d_table = sums.at[labels].add(-weights[:, None] * x.astype(jnp.float32))
    d_bias = totals.at[labels].add(-weights)
    d_x, d_table = d_x.astype(x.dtype), d_table.astype(table.dtype)
    return (weights * each).sum(), (d_x, d_table, d_bias.astype(bias.dtype), each)


def _backward(stored, cotangent):
    d_x, d_table, d_bias, each = ((d * cotangent).astype(d.dtype) for d in stored)
    return d_x, d_table, d_bias, None, each


_loss.defvjp(_forward, _backward)


def _positions(x, table, bias, labels):
    """Losses (n,), expected rows (n, d) and log-normalisers (n,) of positions."""
    rows = table.astype(x.dtype)
    mean, lse = attend(x, rows, bias)
    label = jnp.einsum("nd,nd->n", x, rows[labels], preferred_element_type=jnp.float32)
    return lse - label - bias[labels], mean, lse


def attend(
    rows: jax.Array, columns: jax.Array, shift: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Softmax-weighted means of `columns`, and log-normalisers, for each row.

    Args:
      rows: (m, d) bfloat16.
      columns: (n, d) bfloat16.
      shift: (n,) float32, added to the logits.

    Returns:
      `(mean, lse)`: (m, d) and (m,), float32.
    """
    (m, d), n, width = rows.shape, len(columns), _width(rows.shape[1])
    size = _tile(n)
    rows = _padded(rows, _ROWS, width)
    columns = _padded(columns, size, width)
    shift = _filled(shift, len(columns))
    tiles = len(columns) // size

    def body(rows_ref, columns_ref, shift_ref, mean_ref, lse_ref, *scratch):
        tile = jax.lax.axis_index("rows")
        place = pl.ds(tile * _ROWS, _ROWS)

        def work(logits, inside, carry):
            total_rows, top, total = carry
            higher = jnp.maximum(top, logits.max(axis=1))
            scale = jnp.exp(top - higher)
            weights = jnp.exp(logits - _by_row(higher, logits.shape))
            total = total * scale + weights.sum(axis=1)
            total_rows = total_rows * _by_row(scale, total_rows.shape)
            return _add_product(total_rows, weights, inside), higher, total

        start = _zeros(width), _vector(2 * LOWEST), _vector(0)
        total_rows, top, total = _walk(
            work, start, rows_ref.at[place], columns_ref, shift_ref, 0, tiles, scratch
        )
        total_rows = total_rows / _by_row(total, total_rows.shape)
        lse = top + jnp.log(total)
        _store(total_rows, lse, mean_ref.at[place], lse_ref.at[place], scratch)

    mean, lse = _kernel(
        body,
        ((len(rows), width), (len(rows),)),
        size,
        width,
        grid=(len(rows) // _ROWS,),
        grid_names=("rows",),
    )(rows, columns, shift)
    return mean[:m, :d], lse[:m]


def weighted_sums(
    rows: jax.Array, columns: jax.Array, row_shift: jax.Array, column_shift: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sums of `columns` with weights exp(row . column + shifts), and of the weights.

    Args:
      rows: (m, d) bfloat16.
      columns: (n, d) bfloat16.
      row_shift: (m,) float32.
      column_shift: (n,) float32; weights must not overflow.

    Returns:
      `(sums, totals)`: (m, d) and (m,), float32.
    """
    (m, d), n, width = rows.shape, len(columns), _width(rows.shape[1])
    size = _tile(n)
    rows = _padded(rows, _ROWS, width)
    # A few parts of the columns each, where there are not rows enough for all cores.
    parts = min(-(-_TILES * _ROWS // len(rows)), -(-n // size))
    columns = _padded(columns, size * parts, width)
    row_shift, column_shift = (
        _filled(row_shift, len(rows)),
        _filled(column_shift, len(columns)),
    )
    tiles = len(columns) // (size * parts)

    def body(
        rows_ref, columns_ref, row_shift_ref, shift_ref, sums_ref, totals_ref, *scratch
    ):
        tile, part = jax.lax.axis_index("rows"), jax.lax.axis_index("parts")
        place = pl.ds(tile * _ROWS, _ROWS)
        there = pl.ds((part * (len(rows) // _ROWS) + tile) * _ROWS, _ROWS)
        row_shift = _shifts(row_shift_ref.at[place], 1)

        def work(logits, inside, carry):
            sums, totals = carry
            weights = jnp.exp(logits + _by_row(row_shift, logits.shape))
            totals = totals + weights.sum(axis=1)
            return _add_product(sums, weights, inside), totals

        start = _zeros(width), _vector(0)
        sums, totals = _walk(
            work,
            start,
            rows_ref.at[place],
            columns_ref,
            shift_ref,
            part * tiles,
            tiles,
            scratch,
        )
        _store(sums, totals, sums_ref.at[there], totals_ref.at[there], scratch)

    sums, totals = _kernel(
        body,
        ((parts * len(rows), width), (parts * len(rows),)),
        size,
        width,
        grid=(len(rows) // _ROWS, parts),
        grid_names=("rows", "parts"),
    )(rows, columns, row_shift, column_shift)
    sums = sums.reshape(parts, len(rows), width).sum(0)
    return sums[:m, :d], totals.reshape(parts, -1).sum(0)[:m]


def _walk(work, carry, rows_ref, columns_ref, shift_ref, first, tiles, scratch):
    """Runs `work` over tiles of columns while the copy engine is some tiles ahead.

    Args:
      work: `(logits, columns, carry) -> carry`, columns in shared memory.
      carry: what the first call gets.
      rows_ref: the rows, in memory.
      columns_ref: all columns, in memory.
      shift_ref: what is added to the logits, by column.
      first: number of the first tile.
      tiles: how many.
      scratch: as `_kernel` gives it.

    Returns:
      The last carry.
    """
    rows, inside, shifts, _, _, here, barrier = scratch
    slots, size, _ = inside.shape
    stages = min(slots, tiles)

    def fetch(number):
        slot = jax.lax.rem(number, stages)
        place = pl.ds((first + number) * size, size)
        plgpu.copy_gmem_to_smem(
            columns_ref.at[place], inside.at[slot], barrier.at[slot]
        )
        plgpu.copy_gmem_to_smem(shift_ref.at[place], shifts.at[slot], barrier.at[slot])

    plgpu.copy_gmem_to_smem(rows_ref, rows, here)
    for number in range(stages):
        fetch(jnp.int32(number))
    plgpu.barrier_wait(here)

    def body(number, carry):
        slot = jax.lax.rem(number, stages)
        plgpu.barrier_wait(barrier.at[slot])
        shift = _shifts(shifts.at[slot], 0)
        logits = _logits(rows, inside.at[slot])
        logits = logits + jax.lax.broadcast_in_dim(shift, logits.shape, (1,))
        carry = work(logits, inside.at[slot], carry)
        plgpu.commit_smem()

        @pl.when(number + stages < tiles)
        def _():
            fetch(number + stages)

        return carry

    return jax.lax.fori_loop(0, tiles, body, carry)


def _shifts(shift_ref, axis):
    """A vector along rows or columns of logits, in the layout of sums over `axis`."""
    layout = plgpu.Layout.WGMMA.reduce(axis)
    return plgpu.load(shift_ref, **_NO_INDEX, layout=layout, optimized=False)


def _logits(rows, columns):
    """rows @ columns.T, on the tensor cores."""

    def product(found):
        plgpu.wgmma(found, rows, columns.transpose((1, 0)))
        return found[...]

    shape = _ROWS, columns.shape[0]
    return pl.run_scoped(product, plgpu.ACC(shape, jnp.float32))


def _add_product(total, weights, columns):
    """total + weights @ columns, on the tensor cores."""

    def product(found):
        plgpu.wgmma(found, weights.astype(jnp.bfloat16), columns)
        return found[...]

    return total + pl.run_scoped(product, plgpu.ACC(total.shape, jnp.float32))


def _store(matrix, vector, matrix_ref, vector_ref, scratch):
    """Writes a tile of rows (rows, d) and a number for each."""
    _, _, _, matrix_there, vector_there, _, _ = scratch
    matrix_there[...] = matrix
    vector_there[...] = vector
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(matrix_there, matrix_ref)
    plgpu.copy_smem_to_gmem(vector_there, vector_ref)
    plgpu.wait_smem_to_gmem(0)


def _tile(columns):
    """Columns of a tile: as many as leave a few tiles, up to 256.

    On an H200 256 take 0.86 of the time of 128 where there are 57,290 columns, and 1.2
    times as long where there are 3,417.
    """
    return 256 if columns >= _MANY else 128


def _kernel(body, shapes, size, width, **grid):
    """`body` with the shared memory that `_walk` and `_store` use."""
    stages = 2 if size > 128 else 3  # Tiles of columns under way or in work.
    swizzled = (plgpu.TilingTransform((8, 64)), plgpu.SwizzleTransform(128))
    return plgpu.kernel(
        body,
        out_type=[jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes],
        scratch_types=[
            plgpu.SMEM((_ROWS, width), jnp.bfloat16, transforms=swizzled),
            plgpu.SMEM((stages, size, width), jnp.bfloat16, transforms=swizzled),
            plgpu.SMEM((stages, size), jnp.float32),
            plgpu.SMEM((_ROWS, width), jnp.float32),
            plgpu.SMEM((_ROWS,), jnp.float32),
            plgpu.Barrier(),
            plgpu.Barrier(num_arrivals=2, num_barriers=stages),
        ],
        compiler_params=plgpu.CompilerParams(approx_math=True),
        **grid,
    )


def _by_row(vector, shape):
    return jax.lax.broadcast_in_dim(vector, shape, (0,))


def _zeros(width):
    return plgpu.layout_cast(jnp.zeros((_ROWS, width), jnp.float32), plgpu.Layout.WGMMA)


def _vector(value):
    return plgpu.layout_cast(
        jnp.full((_ROWS,), value, jnp.float32), plgpu.Layout.WGMMA.reduce(1)
    )


def _width(d):
    return next(width for width in WIDTHS if d <= width)


def _padded(matrix, multiple, width):
    rows = -len(matrix) % multiple
    return jnp.pad(matrix, ((0, rows), (0, width - matrix.shape[1])))


def _filled(vector, length):
    vector = vector.astype(jnp.float32)
    return jnp.pad(vector, (0, length - len(vector)), constant_values=LOWEST)
