"""From a configuration to a model, and from a directory or a name to its parameters."""

import dataclasses
import hashlib
import importlib
import importlib.resources
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbio.clustering.layers import Params
from jaxbio.clustering.model import Model
from jaxbio.clustering.processes import config_from, process_of
from jaxrec.core.checkpoint import Checkpoints
from jaxrec.core.config import (
    CONFIG_FILE,
    dataclass_from,
    did_you_mean,
    to_plain,
    unknown,
)
from jaxrec.core.optim import path_names

_PACKAGE = "jaxbio.clustering"
PARAMETERS_FILE, CARD_FILE = "parameters.npz", "card.json"


class Stored(NamedTuple):
    """A trained model.

    Attributes:
      model: the model.
      params: its parameters.
      generator: the module that drew what it was trained on, which also prepares data.
      data_cfg: the generator's configuration.
      card: how it was made and how good it is; {} of a run.
    """

    model: Model
    params: Params
    generator: ModuleType
    data_cfg: Any
    card: dict[str, Any]


def model_of(config: Mapping[str, Any]) -> Model:
    """The model of a configuration's sections `model` and `encoder`.

    Raises:
      ValueError: a value that is unknown or impossible.
    """
    cfg = config_from(config["model"])
    encoder, encoder_cfg = _part(config, "encoder", "encode")
    if encoder_cfg.dim != cfg.dim:
        raise ValueError(
            f"encoder.dim={encoder_cfg.dim} is not model.dim={cfg.dim}, the width of "
            "all vectors"
        )
    if cfg.relative and not hasattr(encoder, "relate"):
        raise ValueError(
            f"model.relative: encoder {config['encoder']['name']!r} knows nothing of "
            "points relative to an anchor; set it to False"
        )
    return Model(cfg, encoder, encoder_cfg)


def generator_of(config: Mapping[str, Any]) -> tuple[ModuleType, Any]:
    """The module and configuration of section `generator`.

    Raises:
      ValueError: a value that is unknown or impossible.
    """
    return _part(config, "generator", "draw")


def _part(config, section, function):
    """The module NAME of a section with `function`, and its Config from the rest."""
    values = dict(config[section])
    name = values.pop("name")
    known = _modules_with(function)
    if name not in known:
        raise ValueError(unknown(f"{section}.name", name, known))
    module = importlib.import_module(f"{_PACKAGE}.{name}")
    return module, dataclass_from(module.Config, values, f"config.{section}")


def _modules_with(function: str) -> list[str]:
    """Modules KIND.NAME of this package whose source defines a public function."""
    root = Path(__file__).parent
    return sorted(
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in root.glob("*/*.py")
        if f"\ndef {function}(" in path.read_text()
    )


def load(name: str | os.PathLike[str]) -> Stored:
    """A model of a run's directory, a packaged one's directory, or a name.

    Raises:
      FileNotFoundError: there is neither such a directory nor such a name.
      ValueError: a file is damaged, or of another architecture.
    """
    path = Path(name)
    if not (path / CONFIG_FILE).exists() and str(name) in names():
        path = Path(str(_shipped() / str(name)))
    if not path.is_dir():
        near = did_you_mean(str(name), names())
        raise FileNotFoundError(
            f"model {str(name)!r}: no such directory, nor a model of this name{near} "
            f"Accepted: {', '.join(names())}"
        )
    config = _read(path / CONFIG_FILE)
    missing = [k for k in ("model", "encoder", "generator") if k not in config]
    if missing:
        raise ValueError(
            f"{path / CONFIG_FILE}: config.{missing[0]} is missing, so this is no "
            "clustering process"
        )
    model = model_of(config)
    generator, data_cfg = generator_of(config)
    if (path / PARAMETERS_FILE).exists():
        card = _read(path / CARD_FILE)
        if "sha256" not in card:
            raise ValueError(f"{path / CARD_FILE}: sha256 is missing")
        params = _packaged(path / PARAMETERS_FILE, model, card["sha256"])
    else:
        params, card = _of_run(path, model), {}
    return Stored(model, params, generator, data_cfg, card)


def _read(path: Path) -> dict[str, Any]:
    """A mapping from a file of JSON."""
    if not path.exists():
        raise FileNotFoundError(f"model {path.parent}: {path.name} is missing")
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: want a mapping, got {type(found).__name__}")
    return found


def names() -> list[str]:
    """Models that come with the package."""
    return sorted(p.name for p in _shipped().iterdir() if p.is_dir())


def _shipped():
    return importlib.resources.files(_PACKAGE) / "models"


def _shapes(model: Model) -> Any:
    return jax.eval_shape(lambda: process_of(model).init(jax.random.key(0), model))


def _of_run(path: Path, model: Model) -> Params:
    if not (path / "checkpoints/best").exists():
        raise FileNotFoundError(
            f"model {path}: checkpoints/best is missing; want a directory that a run "
            "wrote, after its first evaluation"
        )
    checkpoints = Checkpoints(path)
    try:
        return checkpoints.restore_best(_shapes(model)).tree
    finally:
        checkpoints.close()


def _packaged(path: Path, model: Model, checksum: str) -> Params:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != checksum:
        raise ValueError(
            f"{path} is damaged: its sha256 is {found}, want {checksum} as of the card"
        )
    with np.load(path) as arrays:

        def read(where, shape):
            key = "/".join(path_names(where))
            if key not in arrays or arrays[key].shape != shape.shape:
                raise ValueError(f"{path}: {key} of shape {shape.shape} is missing")
            return arrays[key].astype(np.float32)

        return jax.tree_util.tree_map_with_path(read, _shapes(model))


def package(
    workdir: str | os.PathLike[str], out: str | os.PathLike[str], card: dict[str, Any]
) -> int:
    """Writes a run's best parameters, in half precision, as a model to ship.

    Args:
      workdir: directory of a finished run.
      out: directory to write: config.json, parameters.npz, card.json.
      card: what to know of it; the checksum is added.

    Returns:
      The bytes of the parameters.
    """
    source, target = Path(workdir), Path(out)
    stored = load(source)
    target.mkdir(parents=True, exist_ok=True)
    leaves = jax.tree_util.tree_leaves_with_path(stored.params)
    arrays = {"/".join(path_names(p)): np.asarray(a, np.float16) for p, a in leaves}
    file = target / PARAMETERS_FILE
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            # A fixed date: the same parameters give the same bytes.
            with archive.open(
                zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True
            ) as f:
                np.lib.format.write_array(f, array)
    config = json.loads((source / CONFIG_FILE).read_text())
    (target / CONFIG_FILE).write_text(
        json.dumps(config, indent=1, sort_keys=True) + "\n"
    )
    data = file.read_bytes()
    whole = {**card, "sha256": hashlib.sha256(data).hexdigest()}
    (target / CARD_FILE).write_text(json.dumps(to_plain(whole), indent=1) + "\n")
    return len(data)


def described(stored: Stored) -> dict[str, Any]:
    """Configurations of a model's parts, as plain dicts."""
    return {
        "model": dataclasses.asdict(stored.model.cfg),
        "encoder": dataclasses.asdict(stored.model.encoder_cfg),
        "generator": dataclasses.asdict(stored.data_cfg),
    }
