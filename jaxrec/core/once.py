"""Programs that run once: on a CPU compiled fast instead of well.

Optimising a program there takes longer than it can save in one run. Drawing the
parameters of LRURec: 2.2 s of compilation, 1.0 s without optimisation, 0.4 s with XLA's
older code generators too, and 0.04 s to run in any case.
"""

from collections.abc import Callable
from typing import Any

import jax

# The first whose names this version of XLA knows is taken.
_OPTIONS = (
    {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False},
    {"xla_backend_optimization_level": 0},
)


def run_once(function: Callable[[], Any], platform: str, shardings: Any = None) -> Any:
    """What a jitted function without arguments returns.

    Args:
      function: to be traced.
      platform: of the devices that run it, such as "cpu".
      shardings: of the result, as `out_shardings` of `jax.jit`.
    """
    for options in _OPTIONS if platform == "cpu" else ():
        try:
            return _jitted(function, shardings, options)()
        except jax.errors.JaxRuntimeError as error:
            if "No such compile option" not in str(error):
                raise
    return _jitted(function, shardings, None)()


def _jitted(function, shardings, options):
    return jax.jit(function, out_shardings=shardings, compiler_options=options)
