"""What a study runs: cells, the candidates of a cell, and the whole config of each run.

A configuration of a study has

    run       a configuration of one run, without entry and seed
    modes     what "ae" and "ar" bring or change in it; of `model`, in every arm whose
              model has the key
    arms      by name, what each design choice changes; "modes" of an arm are those it
              is run in, "ae" and "ar" what it changes in one of them only
    search    the values to try, a list per key of `run`; an empty one searches nothing
    study     which arms and modes, how many seeds, how to search

An arm that names another model replaces the whole section; otherwise only keys that are
there can be changed. Causality is not a setting: it is what the mode says.
"""

import copy
import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from jaxrec.core.config import did_you_mean, to_plain, unknown
from jaxrec.models import config_fields
from jaxrec.tasks.masked_item import MaskedItem
from jaxrec.tasks.next_item import NextItem

TASKS = {"ae": MaskedItem, "ar": NextItem}
MODES = tuple(TASKS)
_OF_ARMS = ("modes", *MODES)

Config = dict[str, Any]
Candidate = dict[str, Any]  # values by dotted key


@dataclasses.dataclass(frozen=True)
class Cell:
    """One arm in one mode.

    Attributes:
      arm: name of the design choice.
      mode: "ae" or "ar".
      config: of its runs, without the seed.
      candidates: what to try, at least one; values by dotted key of `config`.
      seeds: of the runs that the report is about.
    """

    arm: str
    mode: str
    config: Config
    candidates: tuple[Candidate, ...]
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.mode}"

    def run_config(self, candidate: Candidate, seed: int) -> Config:
        """The whole configuration of one run."""
        config = copy.deepcopy(self.config)
        for key, value in candidate.items():
            _set(config, key, value)
        return {**config, "seed": seed}


def cells(config: Mapping[str, Any]) -> list[Cell]:
    """The cells of a study, arm by arm.

    Raises:
      ValueError: an arm, mode or key that is not there, an arm in a mode that its
        model cannot do, fewer seeds than one, or an evaluation of a part.
    """
    config = to_plain(config)
    study, arms = config["study"], config["arms"]
    if study["seeds"] < 1:
        raise ValueError(f"study.seeds: want 1 or more, got {study['seeds']}")
    for key, off in (("max_users", 0), ("sampled_negatives", 0), ("popularity", ())):
        if config["run"]["eval"][key]:
            raise ValueError(
                f"run.eval.{key}: a study ranks all targets among all items as they "
                f"are scored, want {off}, got {config['run']['eval'][key]}"
            )
    seeds = tuple(config["seed"] + i for i in range(study["seeds"]))
    chosen = _known(study["arms"], list(arms), "study.arms") or list(arms)
    modes = _known(study["modes"], MODES, "study.modes") or MODES
    found = []
    for arm in chosen:
        own = _known(arms[arm].get("modes", MODES), MODES, f"arms.{arm}.modes")
        for mode in modes:
            if mode in own:
                run = _run_config(config, arm, mode)
                tried = _candidates(config["search"], run)
                found.append(Cell(arm, mode, run, tried, seeds))
    if not found:
        raise ValueError(f"study: none of the arms {chosen} runs in modes {modes}")
    return found


def _known(names, known, where):
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in known:
            raise ValueError(unknown(where, name, known))
    return names


def _run_config(config, arm, mode):
    # The modes of an arm must not share what is set below.
    run, changes = copy.deepcopy((config["run"], config["arms"][arm]))
    where = f"arms.{arm}"
    both = {key: value for key, value in changes.items() if key not in _OF_ARMS}
    if both.get("model", {}).get("name", run["model"]["name"]) != run["model"]["name"]:
        run["model"] = both.pop("model")
    for key, value in config["modes"][mode].items():
        # A mode brings what only its own task reads.
        if key == "model":
            _change(copy.deepcopy(config["run"]["model"]), value, f"modes.{mode}.model")
            known = config_fields(run["model"]["name"])
            value = {name: given for name, given in value.items() if name in known}
        run[key] = {**run.get(key, {}), **value} if isinstance(value, dict) else value
    _change(run, both, where)
    _change(run, changes.get(mode, {}), f"{where}.{mode}")
    model, causal = run["model"], mode == "ar"
    if "causal" in config_fields(model["name"]):
        model["causal"] = causal
    elif not causal:
        raise ValueError(
            f"{where}: model {model['name']!r} reads from left to right only; set "
            f"{where}.modes to ('ar',)"
        )
    return {"entry": TASKS[mode].__module__, **run}


def _change(config, changes, where):
    for key, value in changes.items():
        if key not in config:
            near = did_you_mean(key, config)
            raise ValueError(f"{where}.{key}: a run has no such key{near}")
        if isinstance(value, dict) and isinstance(config[key], dict):
            _change(config[key], value, f"{where}.{key}")
        else:
            config[key] = value


def _candidates(search, run):
    """All combinations of the values to try of keys that the run has."""
    axes = [(key, values) for key, values in _axes(search) if _has(run, key)]
    names = [key for key, _ in axes]
    products = itertools.product(*(values for _, values in axes))
    return tuple(dict(zip(names, values, strict=True)) for values in products)


def _axes(search, prefix=""):
    for key, values in search.items():
        if isinstance(values, dict):
            yield from _axes(values, f"{prefix}{key}.")
        elif not isinstance(values, list):
            raise ValueError(
                f"search.{prefix}{key}: want a list of values, got {values!r}"
            )
        elif values:
            yield f"{prefix}{key}", values


def _has(config, key):
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True


def _set(config, key, value):
    *parents, last = key.split(".")
    for part in parents:
        config = config[part]
    config[last] = value
