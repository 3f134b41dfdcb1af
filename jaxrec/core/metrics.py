"""Metrics of a run: ``metrics.jsonl`` in the working directory, and TensorBoard.

One JSON object per line, in the order of writing:

    {"step": 100, "kind": "train", "loss": 6.03, "time/steps_per_second": 41.2}
    {"step": 100, "kind": "valid", "recall@10": 0.112, "ndcg@10": 0.058}

Whatever depends on the clock has a key that starts with ``time/``; all else is a
function of configuration and seed. A line is one write to the operating system, so a
killed process leaves at most one broken line, the last, which is dropped when the file
is next opened.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.core.append import AppendFile
from jaxrec.core.tensorboard import EventFile

METRICS_FILE = "metrics.jsonl"


class MetricWriter:
    """Writes the metrics of one run; does nothing on processes other than 0.

    Args:
        workdir: Directory of the run; is made.
        tensorboard: Whether to write TensorBoard events beside the file.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, tensorboard: bool = True):
        self._path = Path(workdir) / METRICS_FILE
        self._active = jax.process_index() == 0
        self._tensorboard = tensorboard
        self._file: AppendFile | None = None
        self._events: EventFile | None = None
        if self._active:
            self._path.parent.mkdir(parents=True, exist_ok=True)

    def resume(self, step: int) -> None:
        """Drops what was written after `step`, from which the run now goes on.

        With the same seed the file of a resumed run then ends up equal to that of one
        that was never stopped, but for ``time/`` keys.

        Args:
            step: The step of the restored checkpoint; -1 for a run that begins.
        """
        if not self._active:
            return
        self.close()
        if self._path.exists():
            lines, _ = _read_lines(self._path)
            kept = [line for line, row in lines if row["step"] <= step]
            partial = self._path.with_suffix(".tmp")
            partial.write_text("".join(kept))
            partial.replace(self._path)
        if self._tensorboard:
            self._events = EventFile(self._path.parent, step + 1)

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Writes one line, at once.

        Args:
            step: Number of updates done.
            kind: "train", "valid", "test" or another word without "/".
            values: Numbers by name: Python's, or arrays of one element.
        """
        if not self._active:
            return
        numbers = {key: _number(value) for key, value in values.items()}
        line = json.dumps({"step": int(step), "kind": kind, **numbers}) + "\n"
        if self._file is None:
            _drop_broken_line(self._path)
            self._file = AppendFile(self._path)
        self._file.append(line.encode())
        if self._tensorboard:
            if self._events is None:
                self._events = EventFile(self._path.parent, int(step))
            self._events.scalars(
                int(step), {f"{kind}/{key}": number for key, number in numbers.items()}
            )

    def close(self) -> None:
        """Closes the files; writing again opens them again."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._events is not None:
            self._events.close()
            self._events = None


def read_metrics(
    path: str | os.PathLike[str], kind: str | None = None
) -> list[dict[str, Any]]:
    """Reads the metrics of a run.

    Args:
        path: The file, or the working directory that has it.
        kind: Return only lines of this kind.

    Returns:
        One mapping per line, in the order of writing. A broken last line, of a process
        that was killed while it wrote, is left out.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If another line is no JSON object with "step" and "kind".
    """
    path = Path(path)
    if path.is_dir():
        path = path / METRICS_FILE
    lines, _ = _read_lines(path)
    return [row for _, row in lines if kind is None or row["kind"] == kind]


def _read_lines(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """Returns the whole lines with what they say, and their size in bytes."""
    lines, size = [], 0
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                break
            try:
                row = json.loads(line)
                row["step"], row["kind"]
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{path}:{number}: not a JSON object with step and kind: "
                    f"{line.strip()[:80]!r}"
                ) from error
            lines.append((line, row))
            size += len(line.encode())
    return lines, size


def _drop_broken_line(path: Path) -> None:
    if path.exists():
        size = _read_lines(path)[1]
        if size != path.stat().st_size:
            os.truncate(path, size)


def _number(value: Any) -> int | float:
    """Returns a Python number; floats keep every bit."""
    if isinstance(value, bool | int | float):
        return value
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"a metric is one number, not an array of {array.shape}")
    return array.item()
