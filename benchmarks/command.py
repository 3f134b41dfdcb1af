"""A training as its user runs it, in a process of its own, and what it cost."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]


class Run(NamedTuple):
    """What a run of `jaxrec.main` left.

    Attributes:
        workdir: Its working directory.
        rows: The rows of metrics.jsonl.
        usage: Time and memory of the process.
    """

    workdir: Path
    rows: list[dict[str, Any]]
    usage: resource.struct_rusage

    def test(self) -> dict[str, dict[str, float]]:
        """Returns the test figures of the model and of its floors."""
        return json.loads((self.workdir / "test.json").read_text())

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Returns the rows of one kind, "train" or "valid"."""
        return [row for row in self.rows if row["kind"] == kind]

    @property
    def peak_bytes(self) -> int:
        """Most memory that the process held."""
        return self.usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def train(data: str, place: Path, settings: Mapping[str, Any]) -> Run:
    """Runs `configs/lrurec.py:data` with nothing prepared before.

    Args:
        data: Argument of the config.
        place: An empty directory: gets the working directory and the prepared data.
        settings: Values of the config by dotted key.

    Raises:
        RuntimeError: The program ended with an error.
    """
    workdir = place / "run"
    command = [
        sys.executable,
        "-m",
        "jaxrec.main",
        f"--config={ROOT / 'configs/lrurec.py'}:{data}",
        f"--workdir={workdir}",
        *(f"--config.{key}={value}" for key, value in settings.items()),
    ]
    environment = {**os.environ, "JAXREC_CACHE_DIR": str(place / "cache")}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    _, status, usage = os.wait4(process.pid, 0)  # of this process alone
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return Run(workdir, list(map(json.loads, lines)), usage)
