"""A directory of prepared data that is there wholly or not at all."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path


def content_hash(*parts: str | Path) -> str:
    """sha256 over texts and the contents of files, as hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
        else:
            digest = hashlib.sha256(part.encode()).digest()
        total.update(digest)
    return total.hexdigest()


@contextlib.contextmanager
def written_whole(directory: Path) -> Iterator[Path]:
    """Gives an empty directory beside `directory` that takes its name at the end.

    A process that dies before leaves only the nameless directory, which the next one
    removes. Call it while holding `locked`.
    """
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(directory, ignore_errors=True)
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file, so that of several processes one prepares and others wait.

    The system drops the lock of a process that dies. Where there are no such locks
    (Windows) several processes may prepare the same data at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
