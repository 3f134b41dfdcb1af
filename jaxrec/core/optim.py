"""Optimisers and schedules by name: optax chains, applied to few large arrays.

Decay masks are given by a function of the parameter's path, so that a model says itself
which of its parameters are decayed.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from jaxrec.core.config import unknown
from jaxrec.core.pooling import SMALL, Pools, pool, unpool

_SCHEDULES = ("constant", "cosine", "linear")
_OPTIMISERS = ("adamw", "adam", "sgd")


def path_names(path) -> tuple[str, ...]:
    """The key path of a leaf as plain strings."""
    return tuple(str(getattr(p, "key", getattr(p, "idx", p))) for p in path)


@dataclasses.dataclass(frozen=True)
class Optimiser:
    """An optax transformation that sees small parameters put together.

    Attributes:
      transformation: gets gradients and parameters as `Pools`; no axis of an array and
        no single array may mean anything to it, only elements and sums over all.
      decayed: whether the parameter at a path belongs to group "decayed" of the pools,
        else it belongs to "other".
      frozen: whether the parameter at a path is left as it is: it is in no pool, has no
        moments and no part in any norm.
      small: most elements of a parameter that is put together with others.
    """

    transformation: optax.GradientTransformation
    decayed: Callable[[tuple[str, ...]], bool] = lambda path: False
    small: int = SMALL
    frozen: Callable[[tuple[str, ...]], bool] = lambda path: False

    def init(self, params: Any) -> Any:
        """The state for parameters before their first update."""
        return self.transformation.init(self.pool(params))

    def update(
        self, grads: Pools, state: Any, params: Any, weight: jax.Array | float = 1.0
    ) -> tuple[Any, Any, dict[str, jax.Array]]:
        """Parameters and state after one update, and norms of what it was made of.

        Args:
          grads: `pool` of a tree like `params`, `weight` times what is to be
            descended.
          state: as from `init` or the last update.
          params: the parameters.
          weight: what a sum over examples has to be divided by.

        Returns:
          `(params, state, norms)`; norms over all elements are `grad_norm` (before
          clipping), `param_norm` (afterwards) and `update_norm`.
        """
        grads = jax.tree.map(lambda g: g / weight, grads)
        pools = self.pool(params)
        updates, state = self.transformation.update(grads, state, pools)
        pools = optax.apply_updates(pools, updates)
        norms = {
            "grad_norm": optax.tree.norm(grads),
            "param_norm": optax.tree.norm(pools),
            "update_norm": optax.tree.norm(updates),
        }
        return unpool(pools, params, self._group, self.small), state, norms

    def pool(self, tree: Any) -> Pools:
        """A tree like the parameters, its small leaves put together."""
        return pool(tree, self._group, self.small)

    def _group(self, path):
        names = path_names(path)
        if self.frozen(names):
            return None
        return "decayed" if self.decayed(names) else "other"


def make_schedule(config: Mapping[str, Any], steps: int) -> optax.Schedule:
    """Learning rate by step: warm-up from 0, then constant, or decay to `final_lr`.

    Args:
      config: lr, schedule, warmup (steps), final_lr.
      steps: total steps of the run.

    Raises:
      ValueError: unknown schedule name.
    """
    name, peak, warmup = config["schedule"], config["lr"], config["warmup"]
    if name not in _SCHEDULES:
        raise ValueError(unknown("optim.schedule", name, _SCHEDULES))
    rest = max(steps - warmup, 1)
    if name == "constant":
        after = optax.constant_schedule(peak)
    elif name == "cosine":
        after = optax.cosine_decay_schedule(peak, rest, config["final_lr"] / peak)
    else:
        after = optax.linear_schedule(peak, config["final_lr"], rest)
    if not warmup:
        return after
    return optax.join_schedules(
        [optax.linear_schedule(0.0, peak, warmup), after], [warmup]
    )


def make_optimiser(
    config: Mapping[str, Any],
    steps: int,
    decayed: Callable[[tuple[str, ...]], bool],
    frozen: Callable[[tuple[str, ...]], bool] = lambda path: False,
) -> Optimiser:
    """Clip by global norm, then the named optimiser with decoupled weight decay.

    Args:
      config: name, lr, schedule, warmup, final_lr, weight_decay, b1, b2, eps,
        clip_norm (0 is off), bias_correction (of Adam's moments; the optimiser of BERT
        and of BERT4Rec has none); l2, if it is there, times the parameter is added to
        its gradient before the moments, as PyTorch's Adam does (not decoupled).
      steps: total steps of the run, for the schedule.
      decayed: whether weight decay applies to the parameter at a path.
      frozen: whether the parameter at a path is left as it is.

    Raises:
      ValueError: unknown optimiser, a value out of range, or weight decay asked of
        an optimiser that has none.
    """
    check_optimiser(config)
    return build_optimiser(config, steps, decayed, frozen)


def check_optimiser(config: Mapping[str, Any]) -> None:
    """Raises the errors of `make_optimiser`, but for the name of the schedule."""
    name = config["name"]
    if name not in _OPTIMISERS:
        raise ValueError(unknown("optim.name", name, _OPTIMISERS))
    if not config["lr"] > 0:
        raise ValueError(f"optim.lr: want above 0, got {config['lr']}")
    for key in ("warmup", "final_lr", "weight_decay", "clip_norm", "l2"):
        if not config.get(key, 0) >= 0:
            raise ValueError(f"optim.{key}: want 0 or more, got {config[key]}")
    if name == "sgd" and not config["bias_correction"]:
        raise ValueError("optim.bias_correction=False: sgd has no moments")
    if name != "adamw" and config["weight_decay"]:
        raise ValueError(
            f"optim.weight_decay={config['weight_decay']}: {name} has no decay; "
            "use optim.name=adamw or set it to 0"
        )


def build_optimiser(
    config: Mapping[str, Any],
    steps: int,
    decayed: Callable[[tuple[str, ...]], bool],
    frozen: Callable[[tuple[str, ...]], bool] = lambda path: False,
) -> Optimiser:
    """`make_optimiser` without its checks; `lr` and `weight_decay` may be traced."""
    schedule = make_schedule(config, steps)

    def mask(pools):
        large = jax.tree_util.tree_map_with_path(
            lambda path, _: decayed(path_names(path)), pools.large
        )
        small = {
            group: dict.fromkeys(vectors, group == "decayed")
            for group, vectors in pools.small.items()
        }
        return Pools(large, small)

    parts = []
    if config["clip_norm"]:
        parts.append(optax.clip_by_global_norm(config["clip_norm"]))
    if config.get("l2", 0):
        parts.append(optax.add_decayed_weights(config["l2"], mask))
    if config["name"] != "sgd":
        corrected = config["bias_correction"]
        scale = optax.scale_by_adam if corrected else _scale_by_raw_moments
        parts.append(scale(config["b1"], config["b2"], config["eps"]))
    if isinstance(config["weight_decay"], jax.Array) or config["weight_decay"]:
        parts.append(optax.add_decayed_weights(config["weight_decay"], mask))
    parts.append(optax.scale_by_learning_rate(schedule))
    return Optimiser(optax.chain(*parts), decayed, frozen=frozen)


def _scale_by_raw_moments(b1, b2, eps):
    """Adam whose moments begin at 0 and are taken as they are."""
    adam = optax.scale_by_adam(b1, b2, eps)

    def update(grads, state, params=None):
        del params
        mu = optax.tree.update_moment(grads, state.mu, b1, 1)
        nu = optax.tree.update_moment(grads, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        updates = jax.tree.map(lambda m, n: m / (n**0.5 + eps), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(adam.init, update)
