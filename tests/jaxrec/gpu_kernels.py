"""How GPU kernels are tested on a CPU: interpreted, and lowered for a GPU."""

import contextlib

import jax
from jax.experimental.pallas import mosaic_gpu as plgpu

try:
    from jax.experimental.pallas.mosaic_gpu import force_gpu_interpret_mode
except ImportError:  # jax 0.10
    from jax._src.pallas.mosaic_gpu.interpret.params import force_gpu_interpret_mode


@contextlib.contextmanager
def interpreted(monkeypatch):
    """Runs kernels in Pallas' interpreter, which knows no layouts of registers."""

    def load(ref, **_):
        return ref[...]

    with monkeypatch.context() as patch, force_gpu_interpret_mode():
        patch.setattr(plgpu, "load", load)
        patch.setattr(plgpu, "layout_cast", lambda value, _: value)
        yield


def lowered_for_gpu(function, *arguments) -> str:
    """The program of a function for a GPU, which a CPU can write but not run."""
    traced = jax.jit(function).trace(*arguments)
    return traced.lower(lowering_platforms=("cuda",)).as_text()
