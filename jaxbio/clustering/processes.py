"""The processes that training, evaluation and the estimator know, by their configs.

A process says how sets are encoded, how partitions of them are drawn, how probable one
is, and what a training batch is worth. Everything else asks for these four only.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxbio.clustering import model as attentive
from jaxbio.clustering import ncp, objective, probability, sampler
from jaxrec.core.config import dataclass_from


@dataclasses.dataclass(frozen=True)
class Process:
    """Functions of one family of models.

    Attributes:
      init: see `jaxbio.clustering.model.init`.
      encode: see `jaxbio.clustering.model.encode`.
      sample: see `jaxbio.clustering.sampler.sample`.
      log_prob: see `jaxbio.clustering.probability.log_prob`.
      log_steps_of: see `jaxbio.clustering.objective.log_steps_of`.
    """

    init: Callable[..., Any]
    encode: Callable[..., Any]
    sample: Callable[..., Any]
    log_prob: Callable[..., Any]
    log_steps_of: Callable[..., Any]


_ATTENTIVE = Process(
    attentive.init,
    attentive.encode,
    sampler.sample,
    probability.log_prob,
    objective.log_steps_of,
)
_NCP = Process(ncp.init, ncp.encode, ncp.sample, ncp.log_prob, ncp.log_steps_of)


def process_of(model: attentive.Model) -> Process:
    """The functions of a model."""
    return _NCP if isinstance(model.cfg, ncp.Config) else _ATTENTIVE


def config_from(values: Mapping[str, Any]) -> Any:
    """The configuration of section `model`: variant "ncp", or one of the attentive.

    Raises:
      ValueError: a value that is unknown or impossible.
    """
    values = dict(values)
    if values.get("variant") == "ncp":
        del values["variant"]
        return dataclass_from(ncp.Config, values, "config.model")
    return dataclass_from(attentive.Config, values, "config.model")
