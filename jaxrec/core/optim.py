"""Optimisers and schedules by name, as optax chains.

Decay masks are given by a function of the parameter's path, so that a model says itself
which of its parameters are decayed.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from jaxrec.core.config import nearest

_SCHEDULES = ("constant", "cosine", "linear")
_OPTIMISERS = ("adamw", "adam", "sgd")


def path_names(path) -> tuple[str, ...]:
    """The key path of a leaf as plain strings."""
    return tuple(str(getattr(p, "key", getattr(p, "idx", p))) for p in path)


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
        raise ValueError(
            f"optim.schedule: {name!r} is unknown, nearest is "
            f"{nearest(name, _SCHEDULES)!r}; known are {', '.join(_SCHEDULES)}"
        )
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
) -> optax.GradientTransformation:
    """Clip by global norm, then the named optimiser with decoupled weight decay.

    Args:
      config: name, lr, schedule, warmup, final_lr, weight_decay, b1, b2, eps,
        clip_norm (0 is off).
      steps: total steps of the run, for the schedule.
      decayed: whether weight decay applies to the parameter at a path.

    Raises:
      ValueError: unknown optimiser, a value out of range, or weight decay asked of
        an optimiser that has none.
    """
    name = config["name"]
    if name not in _OPTIMISERS:
        raise ValueError(
            f"optim.name: {name!r} is unknown, nearest is "
            f"{nearest(name, _OPTIMISERS)!r}; known are {', '.join(_OPTIMISERS)}"
        )
    if not config["lr"] > 0:
        raise ValueError(f"optim.lr: want above 0, got {config['lr']}")
    for key in ("warmup", "final_lr", "weight_decay", "clip_norm"):
        if not config[key] >= 0:
            raise ValueError(f"optim.{key}: want 0 or more, got {config[key]}")
    if name != "adamw" and config["weight_decay"]:
        raise ValueError(
            f"optim.weight_decay={config['weight_decay']}: {name} has no decay; "
            "use optim.name=adamw or set it to 0"
        )
    schedule = make_schedule(config, steps)
    parts = []
    if config["clip_norm"]:
        parts.append(optax.clip_by_global_norm(config["clip_norm"]))
    if name != "sgd":
        parts.append(optax.scale_by_adam(config["b1"], config["b2"], config["eps"]))
    if config["weight_decay"]:

        def mask(params):
            return jax.tree_util.tree_map_with_path(
                lambda path, _: decayed(path_names(path)), params
            )

        parts.append(optax.add_decayed_weights(config["weight_decay"], mask))
    parts.append(optax.scale_by_learning_rate(schedule))
    return optax.chain(*parts)
