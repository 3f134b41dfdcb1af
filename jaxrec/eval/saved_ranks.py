"""Where every test target of a run stood, kept for comparisons user by user.

ranks.npz    test_user (n,) int32, and 0-based ranks (n,) of the same cases:
             test_rank             the run's model
             test_rank@SIZE        of a nested model at a smaller size
             test_rank/FLOOR       popularity, transitions, ...
"""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxrec.core.run_directory import cut_from
from jaxrec.eval.metrics import Ranks

RANKS_FILE = "ranks.npz"
_OWN = "test_rank"


def save(
    workdir: str | os.PathLike[str],
    own: Mapping[int | None, Ranks],
    floors: Mapping[str, Ranks],
) -> None:
    """Writes the ranks of a run.

    Args:
        workdir: Directory of the run.
        own: Of the model, by size; None is the whole one.
        floors: By name; the same cases in the same order.
    """
    arrays = {"test_user": own[None].user}
    for size, ranks in own.items():
        arrays[_OWN if size is None else f"{_OWN}@{size}"] = ranks.rank
    arrays |= {f"{_OWN}/{name}": ranks.rank for name, ranks in floors.items()}
    partial = Path(workdir) / "ranks.tmp.npz"
    np.savez_compressed(partial, **arrays)
    partial.replace(Path(workdir) / RANKS_FILE)


def check_tested(workdir: str | os.PathLike[str], file: str) -> None:
    """Raises FileNotFoundError unless a run has been tested and left `file`."""
    if whole := cut_from(workdir):
        raise FileNotFoundError(
            f"{workdir}: cut from {whole} and not tested itself; ask for {whole}"
        )
    if not (Path(workdir) / file).exists():
        raise FileNotFoundError(
            f"{Path(workdir) / file}: not there; the command that trained the run "
            "writes it at its end"
        )


def load(workdir: str | os.PathLike[str], size: int | None = None) -> Ranks:
    """The ranks of a run's model, or of one of its smaller sizes.

    Raises:
        FileNotFoundError: The run has not been tested yet.
        ValueError: The file is damaged, or has no such size.
    """
    path = Path(workdir) / RANKS_FILE
    check_tested(workdir, RANKS_FILE)
    try:
        with np.load(path) as arrays:
            name = _OWN if size is None else f"{_OWN}@{size}"
            sizes = [key.partition("@")[2] for key in arrays if "@" in key]
            if name not in arrays:
                raise KeyError(
                    f"no size {size}; smaller sizes here: {', '.join(sizes) or 'none'}"
                )
            return Ranks(arrays["test_user"], arrays[name])
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        told = error.args[0] if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: {told}") from error
