"""Checkpoints of a run: `last`, from which it goes on, and `best`, which is served.

    <workdir>/checkpoints/last/<step>/     whole training state, newest two
    <workdir>/checkpoints/best/<step>/     parameters only, newest two

Each directory is one Orbax checkpoint with two items: ``arrays`` (a flat mapping from
parameter path to array) and ``record`` (JSON: kind, step, the caller's progress, and
per array its shape, dtype and checksum).

What is guaranteed:
- A checkpoint appears by one rename of a complete directory. A process killed at any
  moment leaves at most a directory under a temporary name, which readers ignore and
  the next save removes.
- Nothing old is removed before something newer is complete.
- A checkpoint is verified when it is read. TensorStore reads zeros where it knows of
  no chunk, so every array is compared with its checksum (`jaxrec.core.checksums`), and
  the record with its own CRC. A damaged checkpoint is named in a warning and the one
  before it is taken.
- Only one run writes to a directory at a time; a second one is refused.
- Restored arrays are equal bit for bit, NaN included, under any sharding.

Saves are synchronous: an array takes about 0.8 ms of CPU time, and a failed save is
then known at the step at which it happened.
"""

import functools
import importlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath

from jaxrec.core import agreement, checkpoint_record, step_directories
from jaxrec.core.lock import DirectoryLock

LAST, BEST = "last", "best"

_SLICE = 1 << 24  # bytes of an array that are worth a device's own write


class CheckpointSaveError(RuntimeError):
    """A checkpoint could not be written; earlier ones are unharmed."""


class CheckpointDamagedError(ValueError):
    """Checkpoints exist, but none of them can be read."""


class Restored(NamedTuple):
    """A checkpoint as read: unpacks into ``step, tree, progress``."""

    step: int
    tree: Any
    progress: dict[str, Any]


class Checkpoints:
    """The checkpoints of one working directory.

    Under `jax.distributed` every process makes one with the same directory (on a file
    system that all share) and calls the same methods in the same order.

    Args:
        workdir: Directory of the run.
        keep: How many checkpoints of each kind stay: the newest, and before it those
            to fall back on.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self._workdir = Path(workdir).absolute()
        self._keep = keep
        self._main = jax.process_index() == 0
        self._lock: DirectoryLock | None = None

    # Orbax is imported, 0.3 s, when there is something to save or to read. Training
    # begins without it, and looking for checkpoints where there are none does not
    # need it.
    @functools.cached_property
    def _ocp(self) -> ModuleType:
        return importlib.import_module("orbax.checkpoint")

    @functools.cached_property
    def _arrays(self):
        # Every device that has a replica would write a slice of every array, and a
        # model's many small ones be cut into pieces first: over 8 devices a save took
        # 3.2 times the CPU time. The sharding is the reader's choice.
        types = self._ocp.type_handlers
        handler = types.ArrayHandler(
            min_slice_bytes_for_replica_parallel=_SLICE,
            enable_write_sharding_file=False,
        )
        # Compression makes float weights 8 % smaller and saves 8 times slower.
        return self._ocp.PyTreeCheckpointHandler(
            use_compression=False,
            type_handler_registry=types.create_type_handler_registry(
                (jax.Array, handler), (np.ndarray, types.NumpyHandler())
            ),
        )

    @functools.cached_property
    def _saver(self):
        handlers = self._ocp.DefaultCheckpointHandlerRegistry()
        handlers.add("arrays", self._ocp.args.PyTreeSave, self._arrays)
        handlers.add(
            "record", self._ocp.args.JsonSave, self._ocp.JsonCheckpointHandler()
        )
        return self._ocp.Checkpointer(
            self._ocp.CompositeCheckpointHandler(handler_registry=handlers)
        )

    def save_last(self, step: int, state: Any, progress: Mapping[str, Any]) -> None:
        """Saves the whole training state after `step` updates.

        Checkpoints of the same or a later step are of a continuation that was
        abandoned, and are removed once this one is complete.

        Args:
            step: Number of updates done.
            state: Pytree of arrays.
            progress: What else the run needs to go on; must survive JSON.

        Raises:
            CheckpointSaveError: If the checkpoint could not be written (full disk,
                no permission). Earlier checkpoints are unharmed.
            ValueError: If another process is writing to this directory.
        """
        self._save(LAST, step, state, progress)

    def save_best(self, step: int, params: Any, progress: Mapping[str, Any]) -> None:
        """Saves the best parameters so far; otherwise as `save_last`.

        Which parameters are best is the caller's decision: the newest is the best.
        """
        self._save(BEST, step, params, progress)

    def restore_last(self, abstract_state: Any) -> Restored | None:
        """Reads the newest undamaged training state.

        Args:
            abstract_state: Pytree of `jax.ShapeDtypeStruct`, with the wanted
                shardings; without one an array goes to the first device.

        Returns:
            Step, state and progress, or None if nothing was ever saved.

        Raises:
            ValueError: If the checkpoint is of another architecture.
            CheckpointDamagedError: If there are checkpoints but all are damaged.
        """
        return self._restore(LAST, abstract_state)

    def restore_best(self, abstract_params: Any) -> Restored:
        """Reads the best parameters; otherwise as `restore_last`.

        Raises:
            FileNotFoundError: If no best parameters were saved.
        """
        restored = self._restore(BEST, abstract_params)
        if restored is None:
            raise FileNotFoundError(f"no best checkpoint in {self._root(BEST)}")
        return restored

    def rewind(self, step: int) -> None:
        """Removes every checkpoint of a later step, of both kinds.

        For a run that goes on from `step` although later checkpoints exist (they are
        damaged, or of a continuation that was abandoned), so that `best` never holds
        parameters that the run did not reach.

        Raises:
            ValueError: If another process is writing to this directory.
        """
        self._take_lock()
        for kind in (LAST, BEST):
            self._prune(kind, step)

    def last_steps(self) -> list[int]:
        """Returns the steps of the saved training states, oldest first."""
        return self._steps(LAST)

    def best_steps(self) -> list[int]:
        """Returns the steps of the saved best parameters, oldest first."""
        return self._steps(BEST)

    def close(self) -> None:
        """Frees what Orbax holds, and the lock."""
        if "_saver" in vars(self):
            self._saver.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _root(self, kind: str) -> Path:
        return self._workdir / "checkpoints" / kind

    def _take_lock(self) -> None:
        """Makes this run the directory's only writer; readers need no lock."""
        problem = ""
        if self._main and self._lock is None:
            try:
                self._lock = DirectoryLock(self._workdir / "checkpoints")
            except ValueError as error:
                problem = str(error)
            except OSError:
                pass  # Not even this file can be made: the save will say why.
        problem = agreement.shared(problem)
        if problem:
            raise ValueError(problem)

    def _save(
        self, kind: str, step: int, tree: Any, progress: Mapping[str, Any]
    ) -> None:
        leaves = checkpoint_record.flatten(tree)
        record = checkpoint_record.make_record(kind, step, progress, leaves)
        self._take_lock()
        root = self._root(kind)
        path = root / str(step)
        items = self._ocp.args.Composite(
            # Orbax refuses arrays without elements; the record has their shape.
            arrays=self._ocp.args.PyTreeSave(
                {name: leaf for name, leaf in leaves.items() if leaf.size}
            ),
            record=self._ocp.args.JsonSave(record),
        )
        problem = ""
        if self._main:
            _, problem = agreement.attempt(_make_room, root, step, leaves)
        problem = agreement.shared(problem)
        if not problem:
            _, problem = agreement.attempt(self._write, path, items)
        if problem:
            if self._main:
                agreement.attempt(step_directories.recover, root)
            logging.warning("Checkpoint %s was not saved: %s", path, problem)
            raise CheckpointSaveError(f"checkpoint {path} was not saved: {problem}")
        self._prune(kind, step)

    def _prune(self, kind: str, step: int) -> None:
        problem, root = "", self._root(kind)
        if self._main:
            _, problem = agreement.attempt(
                step_directories.prune, root, step, self._keep
            )
        problem = agreement.shared(problem)  # and nobody goes on before it is done
        if problem:
            logging.warning("Could not tidy up %s: %s", root, problem)

    def _restore(self, kind: str, abstract: Any) -> Restored | None:
        root = self._root(kind)
        wanted = checkpoint_record.flatten(abstract)
        problems = []
        for step in reversed(self._steps(kind)):
            path = root / str(step)
            record, problem = agreement.attempt(self._read_record, path, kind, step)
            problem = agreement.shared(problem)
            if not problem:
                self._check_architecture(path, record, wanted)
                leaves, problem = agreement.attempt(self._read_arrays, path, wanted)
                problem = agreement.shared(problem)
            if not problem:
                _, problem = agreement.attempt(
                    checkpoint_record.check_arrays, record, leaves
                )
            if not problem:
                tree = jax.tree.structure(abstract).unflatten(leaves.values())
                return Restored(step, tree, record["progress"])
            logging.warning(
                "Checkpoint %s is damaged and passed over: %s", path, _short(problem)
            )
            problems.append(f"\n  {path}: {problem}")
        if problems:
            raise CheckpointDamagedError(
                f"no checkpoint in {root} can be read:{''.join(problems)}"
            )
        return None

    def _steps(self, kind: str) -> list[int]:
        """Returns the steps of one kind, on every process as process 0 sees them."""
        return agreement.from_first(step_directories.steps(self._root(kind)))

    def _write(self, path: Path, items: Any) -> None:
        with jax.transfer_guard("allow"):  # a checkpoint is meant to leave the device
            self._saver.save(path, args=items)

    def _read_record(self, path: Path, kind: str, step: int) -> dict[str, Any]:
        record = self._ocp.JsonCheckpointHandler().restore(epath.Path(path / "record"))
        checkpoint_record.check_record(record, kind, step)
        return dict(record)

    def _read_arrays(self, path: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        stored = {name: leaf for name, leaf in wanted.items() if leaf.size}
        arguments = {
            name: self._ocp.ArrayRestoreArgs(
                sharding=leaf.sharding or device, dtype=leaf.dtype
            )
            for name, leaf in stored.items()
        }
        with jax.transfer_guard("allow"):
            restored = self._arrays.restore(
                epath.Path(path / "arrays"),
                args=self._ocp.args.PyTreeRestore(stored, restore_args=arguments),
            )
        empty = {
            name: jax.device_put(
                np.zeros(leaf.shape, leaf.dtype), leaf.sharding or device
            )
            for name, leaf in wanted.items()
            if not leaf.size
        }
        return {name: (restored | empty)[name] for name in wanted}

    def _check_architecture(
        self, path: Path, record: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> None:
        try:
            checkpoint_record.check_architecture(record, wanted)
        except ValueError as error:
            raise ValueError(
                f"the checkpoint {path} is of another architecture than the "
                f"configuration: {error}. Use another --workdir than {self._workdir}, "
                "or the configuration that it was made with."
            ) from None


def _make_room(root: Path, step: int, leaves: Mapping[str, Any]) -> None:
    """Prepares the directory for a new step.

    Raises:
        OSError: If the file system cannot take it. Orbax would find out as well, but
            only after pages of errors from its threads.
    """
    root.mkdir(parents=True, exist_ok=True)
    step_directories.recover(root)
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves.values())
    free = shutil.disk_usage(root).free
    if free < needed:
        raise OSError(f"it needs {needed:,} bytes, the file system has {free:,}")
    step_directories.set_aside(root, step)


def _short(problem: str) -> str:
    """The beginning of a message: those of storage libraries go on for pages."""
    return problem if len(problem) <= 200 else f"{problem[:200]}..."
