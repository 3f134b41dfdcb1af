"""Being asked to stop: SIGTERM and Ctrl-C, noted until there is time for them."""

import signal
import threading
from typing import Any

import jax
import numpy as np
from absl import logging


class Signals:
    """Notes SIGTERM and Ctrl-C instead of dying; all processes agree when to stop.

    Attributes:
      received: the signal of this process, if any.
    """

    def __enter__(self):
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, _):
        self.received = number
        if number == signal.SIGINT:  # The next one shall not wait for anything.
            signal.signal(number, self._before[number])
            logging.warning("Saving after this step; Ctrl-C again stops at once")

    def asked(self, step: int, every: int) -> bool:
        """Whether to stop after this step (asked of all processes every few steps)."""
        if jax.process_count() == 1:
            return self.received is not None
        if step % every:
            return False
        from jax.experimental import multihost_utils

        flags = multihost_utils.process_allgather(np.asarray(self.received is not None))
        return bool(np.any(flags))
