"""Compiled programs, one per function and shape, and how many there are.

A program is made at its first use or by a warm-up, and then called without tracing,
hashing of shapes or dispatch through `jit`. Parameters that fit in `_CONSTANT_BYTES`,
smallest first, are constants of the programs: a call passes few arrays, which for one
user saves a third of the time. The rest (item tables) are arguments.
"""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_CONSTANT_BYTES = 2**20


class Programs:
    """Programs over one set of parameters.

    Args:
        params: Pytree of arrays, the first argument of every function.

    Attributes:
        compiled: How many programs were made so far.
    """

    def __init__(self, params: Any):
        leaves, self._structure = jax.tree.flatten(params)
        order = sorted(range(len(leaves)), key=lambda i: leaves[i].nbytes)
        room = _CONSTANT_BYTES
        self._constants: dict[int, np.ndarray] = {}
        for i in order:
            room -= leaves[i].nbytes
            if room < 0:
                break
            self._constants[i] = np.asarray(leaves[i])
        self._arguments = [
            jax.device_put(leaf)
            for i, leaf in enumerate(leaves)
            if i not in self._constants
        ]
        self._programs: dict[Hashable, Callable[..., Any]] = {}
        self.compiled = 0

    def __contains__(self, key: Hashable) -> bool:
        """Whether the program of a key is compiled."""
        return key in self._programs

    def call(
        self,
        key: Hashable,
        function: Callable[..., Any],
        *args: Any,
        donate: bool = False,
    ) -> Any:
        """Calls `function(params, *args)`.

        Args:
            key: What identifies the function and the shapes of `args`.
            function: A traceable function.
            *args: Pytrees of arrays.
            donate: Whether the first of `args` may be overwritten.

        Raises:
            TypeError: The shapes are not those that the program of this key was
                made for.
        """
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = self._compile(function, args, donate)
        return program(self._arguments, *args)

    def _compile(self, function, args, donate):
        def complete(arguments, *args):
            rest = iter(arguments)
            count = len(arguments) + len(self._constants)
            leaves = [
                jnp.asarray(self._constants[i]) if i in self._constants else next(rest)
                for i in range(count)
            ]
            return function(self._structure.unflatten(leaves), *args)

        self.compiled += 1
        program = jax.jit(complete, donate_argnums=(1,) if donate else ())
        return program.lower(self._arguments, *args).compile()
