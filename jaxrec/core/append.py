"""A file that records are appended to, each of them whole or not at all."""

import os
from pathlib import Path

from absl import logging


class AppendFile:
    """Appends records to a file, each with one write to the operating system.

    What has been appended survives the death of the process at any moment; at most the
    last record is then broken. A record that cannot be written whole (full disk) is
    taken back: a run goes on without it. The first loss is reported in a warning, and
    how many there were when writing works again.

    Args:
        path: The file; is made if absent.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._path = Path(path)
        self._lost = 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._descriptor = os.open(self._path, flags, 0o666)

    def append(self, record: bytes) -> bool:
        """Appends one record and returns whether it was written."""
        size = os.fstat(self._descriptor).st_size
        try:
            written, reason = os.write(self._descriptor, record), "no space left"
        except OSError as error:
            written, reason = 0, str(error)
        if written == len(record):
            if self._lost:
                logging.warning("%s lacks %d records.", self._path, self._lost)
                self._lost = 0
            return True
        os.ftruncate(self._descriptor, size)
        if not self._lost:
            logging.warning("Cannot write to %s: %s.", self._path, reason)
        self._lost += 1
        return False

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)
