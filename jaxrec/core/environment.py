"""``environment.json``: what a run ran on, so that its figures can be understood."""

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ENVIRONMENT_FILE = "environment.json"
DISTRIBUTIONS = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "ml_collections",
)


def write_environment(workdir: str | os.PathLike[str]) -> None:
    """Writes the present environment into the working directory.

    A resumed run overwrites what the earlier one wrote.
    """
    path = Path(workdir) / ENVIRONMENT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(describe_environment(), indent=2) + "\n")
    partial.replace(path)


def describe_environment() -> dict[str, Any]:
    """Returns versions, devices, commit, command line and date; not the host's name.

    Returns:
        Plain JSON. ``commit`` is None unless the package is part of a git checkout;
        ``dirty`` then says whether a tracked file was changed.
    """
    import jax

    devices = jax.devices()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        **_commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in DISTRIBUTIONS},
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "device_kind": devices[0].device_kind,
        "device_count": len(devices),
        "process_count": jax.process_count(),
        "cpu_count": os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> dict[str, Any]:
    package = Path(__file__).resolve().parent
    # An installed copy may lie inside somebody's checkout without being part of it.
    if _git(package, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "dirty": None}
    changes = _git(package, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _git(package, "rev-parse", "HEAD"), "dirty": bool(changes)}


def _git(directory: Path, *arguments: str) -> str | None:
    """Returns what git prints, or None if it fails or does not exist."""
    # Under a git hook these variables would point git at another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", directory, *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
