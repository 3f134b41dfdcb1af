"""Users of a run by raw id: their histories, and those with an id like a wrong one."""

import difflib
import os
from pathlib import Path

import numpy as np

from jaxrec import data
from jaxrec.core.run_directory import IDS_FILE, read_config
from jaxrec.data.identity import as_integers

_NEAR = 3


def user_history(
    workdir: str | os.PathLike[str], user: str
) -> tuple[list[str], list[int] | None]:
    """The raw item ids of a user, oldest first, and their times, if the data have them.

    They are those of the data of a run.

    Raises:
        ValueError: The run has no such user (the nearest ids are named).
        FileNotFoundError: The data are not where the run found them.
    """
    with np.load(Path(workdir) / IDS_FILE) as arrays:
        users = arrays["user_ids"]
    if not (users == user).any():
        near = ", ".join(nearest_ids(user, users))
        raise ValueError(
            f"user {user!r}: the run has no such user; the nearest: {near}"
        )
    config = read_config(workdir)
    if not config.get("data"):
        raise ValueError(f"{workdir}: its config has no data section")
    sequences = data.load(config["data"]).sequences
    found = np.flatnonzero(sequences.user_ids == user)
    if not len(found):
        raise ValueError(f"user {user!r}: the data of the run no longer have this user")
    times = sequences.times
    if times is not None:
        begin, end = sequences.offsets[found[0] : found[0] + 2]
        times = times[begin:end].tolist()
    return sequences.item_ids[sequences.history(found[0])].tolist(), times


def nearest_ids(wanted: str, ids: np.ndarray) -> list[str]:
    """The ids most like the wanted one: by number if all are numbers, else by letters.

    Args:
        wanted: An id.
        ids: (n,) ids, numpy unicode.
    """
    integers = as_integers(ids)
    if integers is not None and wanted.lstrip("-").isdecimal():
        distance = np.abs(integers.astype(float) - float(wanted))
        return ids[np.argsort(distance, kind="stable")[:_NEAR]].tolist()
    # Only neighbours in the order of letters: comparing all of a million takes long.
    ordered = np.sort(ids)
    place = int(np.searchsorted(ordered, wanted))
    around = ordered[max(0, place - 500) : place + 500].tolist()
    return difflib.get_close_matches(wanted, around, _NEAR, 0)
