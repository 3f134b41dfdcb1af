"""One writer per directory: a lock that goes away with the process, however it ends."""

import fcntl
import os
import weakref
from pathlib import Path

from absl import logging

LOCK_FILE = ".lock"


class Busy(ValueError):
    """Another process has the lock."""


class DirectoryLock:
    """The lock of a directory, held by this process until `close`.

    Args:
        directory: Is made if absent.

    Raises:
        Busy: If another process has the lock. (This process may take it again.)
    """

    def __init__(self, directory: Path):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
        self._close = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            self.close()
            raise Busy(
                f"another process is writing to {directory}: wait for it to end, or "
                "use another --workdir"
            ) from None
        except OSError as error:  # a file system without locks
            logging.warning("%s cannot be locked: %s", directory, error)

    def close(self) -> None:
        """Gives the lock back."""
        self._close()
