"""Compiled programs, one per function and shape, and how many there are.

A program is made at its first use or by a warm-up, and then called without tracing,
hashing of shapes or dispatch through `jit`. Parameters that fit in `_CONSTANT_BYTES`,
smallest first, are constants of the programs: a call passes few arrays, which for one
user saves a third of the time. The rest (item tables) are arguments. So are those, of
any size, that may be replaced while the programs stay.
"""

from collections.abc import Callable, Collection, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_CONSTANT_BYTES = 2**20


class Programs:
    """Programs over one set of parameters.

    Args:
        params: Pytree of arrays, the first argument of every function.
        variable: Keys of `params`, then a dict, whose arrays `update` replaces.

    Attributes:
        compiled: How many programs were made so far.
    """

    def __init__(self, params: Any, variable: Collection[str] = ()):
        found, self._structure = jax.tree.flatten_with_path(params)
        leaves = [leaf for _, leaf in found]
        keys = [path[0].key if variable else None for path, _ in found]
        self._replaced = [i for i, key in enumerate(keys) if key in variable]
        fixed = [i for i in range(len(leaves)) if i not in self._replaced]
        order = sorted(fixed, key=lambda i: leaves[i].nbytes)
        room = _CONSTANT_BYTES
        self._constants: dict[int, np.ndarray] = {}
        for i in order:
            room -= leaves[i].nbytes
            if room < 0:
                break
            self._constants[i] = np.asarray(leaves[i])
        self._passed = [i for i in fixed if i not in self._constants]
        self._arguments = [jax.device_put(leaves[i]) for i in self._passed]
        self._variable = [jax.device_put(leaves[i]) for i in self._replaced]
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
            donated = (2,) if donate else ()
            program = self._programs[key] = self._compile(function, args, donated)
        return program(self._arguments, self._variable, *args)

    def update(self, key: Hashable, function: Callable[..., Any], *args: Any) -> None:
        """Replaces the variable parameters, in place.

        Args:
            key: As for `call`.
            function: `function(params, *args)` gives a dict of all of them.
            *args: Pytrees of arrays.
        """
        if key not in self._programs:
            self._programs[key] = self._compile(function, args, (1,))
        new = self._programs[key](self._arguments, self._variable, *args)
        self._variable = jax.tree.leaves(new)

    @property
    def params(self) -> Any:
        """The parameters as they are now."""
        return self._complete(self._arguments, self._variable)

    def _complete(self, arguments, variable):
        given = dict(zip(self._passed, arguments, strict=True))
        given |= zip(self._replaced, variable, strict=True)
        given |= self._constants
        return self._structure.unflatten(given[i] for i in sorted(given))

    def _compile(self, function, args, donated):
        def complete(arguments, variable, *args):
            params = self._complete(arguments, variable)
            return function(jax.tree.map(jnp.asarray, params), *args)

        self.compiled += 1
        program = jax.jit(complete, donate_argnums=donated)
        return program.lower(self._arguments, self._variable, *args).compile()
