"""Directories named by step, replaced and removed so that a kill never loses one.

    <root>/300                                    complete
    <root>/300.orbax-checkpoint-tmp               being written, or left by a kill
    <root>/300.replaced                           set aside while 300 is written anew
    <root>/300.removed                            being deleted, or left by a kill

Every change of state is one rename. Only names that are plain numbers count as steps.
"""

import shutil
from pathlib import Path

REPLACED, REMOVED = ".replaced", ".removed"
WRITING = ".orbax-checkpoint-tmp"


def steps(root: Path) -> list[int]:
    """Returns the steps that have a complete directory, in ascending order."""
    if not root.is_dir():
        return []
    return sorted(int(entry.name) for entry in root.iterdir() if entry.name.isdecimal())


def recover(root: Path) -> None:
    """Undoes what a killed or failed process left behind.

    Half-written and half-deleted directories are deleted; a directory that had been
    set aside comes back unless its replacement is complete.
    """
    if not root.is_dir():
        return
    entries = list(root.iterdir())
    # First what is precious: deleting may fail, as when threads of a failed save are
    # still writing into what is to be deleted.
    for entry in entries:
        if entry.name.endswith(REPLACED):
            step = entry.with_name(entry.name.removesuffix(REPLACED))
            if not step.exists():
                entry.rename(step)
    for entry in entries:
        if entry.name.endswith((REPLACED, REMOVED, WRITING)) and entry.exists():
            shutil.rmtree(entry)


def set_aside(root: Path, step: int) -> None:
    """Moves a step out of the way of its replacement; `recover` ends the move."""
    if (root / str(step)).exists():
        (root / str(step)).rename(root / f"{step}{REPLACED}")


def remove(root: Path, step: int) -> None:
    """Deletes a step: it is gone as a whole before its files are."""
    removed = root / f"{step}{REMOVED}"
    (root / str(step)).rename(removed)
    shutil.rmtree(removed)


def prune(root: Path, newest: int, keep: int) -> None:
    """Deletes what the step `newest`, now complete, makes superfluous.

    Args:
        root: Directory of the steps.
        newest: The step just written. Later ones belong to an abandoned continuation.
        keep: How many to keep, `newest` included.
    """
    recover(root)
    saved = steps(root)
    earlier = [step for step in saved if step <= newest]
    for step in [*earlier[:-keep], *(step for step in saved if step > newest)]:
        remove(root, step)
