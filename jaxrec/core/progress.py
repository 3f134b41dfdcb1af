"""What a person at the terminal sees of a run: a live line, and the parameter table.

    step 1200/10000  loss 5.8312  41.2 steps/s  10.5k examples/s  ETA 3:34

On a terminal it is one line, rewritten in place, which steps aside for log messages.
Elsewhere (a file, a batch system) it is a log message every so often.
"""

import logging as standard_logging
import math
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import jax
from absl import logging

REDRAW_SECONDS = 0.2
CLEAR = "\r\x1b[K"


class ProgressLine:
    """The live line of a training loop; silent on processes other than 0.

    Args:
        start: Updates done before the loop begins.
        total: Updates after which it ends.
        every: Seconds between two messages when the output is no terminal.
        stream: Where the line goes; standard error if None.
        clock: Seconds from an arbitrary origin.
    """

    def __init__(
        self,
        start: int,
        total: int,
        *,
        every: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._silent = jax.process_index() != 0
        self._interval = REDRAW_SECONDS if self._live else every
        self._clock, self._total = clock, total
        self._step, self._examples = start, 0
        self._begin: tuple[int, float] | None = None  # after the first, compiling, step
        self._started = self._shown_at = clock()
        self._paused_at: float | None = None
        self._paused = 0.0  # seconds in all
        self._shown = (start, 0, 0.0)  # steps, examples, seconds at the last display
        self._logged = (start, 0, 0.0)  # the same at the last call of `rates`
        self._on_screen = False
        if self._live:
            self._make_way = _MakeWay(self._clear)
            logging.get_absl_handler().addFilter(self._make_way)

    def update(self, step: int, examples: int, loss: Callable[[], float]) -> None:
        """Notes a finished update and shows the line if it is time.

        Args:
            step: Updates done.
            examples: Examples in this update.
            loss: Gives the loss; called only if the line is shown.
        """
        self._step = step
        self._examples += examples
        now = self._clock()
        if self._begin is None:
            self._begin = (step, now)
            self._shown = self._mark()  # the rates shown leave compilation out
        if self._silent or now - self._shown_at < self._interval:
            return
        text = self._text(loss(), now)
        self._shown, self._shown_at = self._mark(), now
        if self._live:
            width = shutil.get_terminal_size().columns
            self._stream.write(CLEAR + text[: width - 1])
            self._stream.flush()
            self._on_screen = True
        else:
            logging.info("%s", text)

    def rates(self) -> dict[str, float]:
        """Returns what is worth recording of the time since the last call.

        Returns:
            time/steps_per_second and time/examples_per_second since then, pauses left
            out, and time/train_seconds, the same clock since the loop began.
        """
        before, self._logged = self._logged, self._mark()
        steps, examples, seconds = self._since(before)
        return {
            "time/steps_per_second": steps / seconds,
            "time/examples_per_second": examples / seconds,
            "time/train_seconds": self._logged[2],
        }

    def pause(self) -> None:
        """Stops the clock of the rates, for an evaluation."""
        self._clear()
        if self._paused_at is None:
            self._paused_at = self._clock()

    def resume(self) -> None:
        """Goes on after `pause`."""
        if self._paused_at is not None:
            self._paused += self._clock() - self._paused_at
            self._paused_at = None

    def close(self) -> None:
        """Removes the line from the screen."""
        self._clear()
        if self._live:
            logging.get_absl_handler().removeFilter(self._make_way)

    def _mark(self) -> tuple[int, int, float]:
        seconds = self._clock() - self._started - self._paused
        if self._paused_at is not None:
            seconds -= self._clock() - self._paused_at
        return self._step, self._examples, seconds

    def _since(self, before: tuple[int, int, float]) -> tuple[int, int, float]:
        now = self._mark()
        steps, examples, seconds = (b - a for a, b in zip(before, now, strict=True))
        return steps, examples, max(seconds, 1e-9)

    def _text(self, loss: float, now: float) -> str:
        steps, examples, seconds = self._since(self._shown)
        parts = [f"step {self._step}/{self._total}", f"loss {loss:.4f}"]
        if steps:
            parts.append(f"{short(steps / seconds)} steps/s")
            parts.append(f"{short(examples / seconds)} examples/s")
        first, since = self._begin
        if self._step > first:
            # Evaluations and saves are part of the wait, so pauses count here.
            left = (self._total - self._step) * (now - since) / (self._step - first)
            parts.append(f"ETA {duration(left)}")
        return "  ".join(parts)

    def _clear(self) -> None:
        if self._on_screen:
            self._stream.write(CLEAR)
            self._stream.flush()
            self._on_screen = False


class CountLine:
    """The live line of work that is counted: how much is done, its rate, what is left.

        texts: 512/11924  310 items/s  ETA 0:37

    The end of a `with` removes it from the screen, however it comes.

    Args:
        what: What is worked on.
        total: How much there is of it.
        unit: What is counted.
        shown: Whether to show anything at all.
        every: Seconds between two messages when the output is no terminal.
        stream: Where the line goes; standard error if None.
    """

    def __init__(
        self,
        what: str,
        total: int,
        *,
        unit: str = "",
        shown: bool = True,
        every: float = 30.0,
        stream: TextIO | None = None,
    ):
        self._what, self._total, self._unit = what, total, unit or what
        self._stream = sys.stderr if stream is None else stream
        self._live = shown and self._stream.isatty()
        self._every = every if shown else math.inf
        self._found = self._done = 0
        self._begin = self._shown = time.monotonic()

    def found(self, count: int) -> None:
        """Notes what was there already and says nothing of the rate."""
        self._found += count

    def done(self, count: int) -> None:
        """Notes what has been done, and shows the line if it is time."""
        self._done += count
        now = time.monotonic()
        if not self._live and now - self._shown < self._every:
            return
        self._shown = now
        rate = self._done / max(now - self._begin, 1e-9)
        done = self._found + self._done
        text = (
            f"{self._what}: {done}/{self._total}  {short(rate)} {self._unit}/s  "
            f"ETA {duration((self._total - done) / rate)}"
        )
        if self._live:
            self._stream.write(CLEAR + text)
            self._stream.flush()
        else:
            logging.info("%s", text)

    def __enter__(self) -> "CountLine":
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._stream.write(CLEAR)
            self._stream.flush()


class _MakeWay(standard_logging.Filter):
    """Clears the live line before a log message is written over it."""

    def __init__(self, clear: Callable[[], None]):
        super().__init__()
        self._clear = clear

    def filter(self, record: standard_logging.LogRecord) -> bool:
        self._clear()
        return True


def short(number: float) -> str:
    """Returns a positive number in three digits or so: 0.52, 41.2, 10.5k, 3.1M."""
    for unit in ("", "k", "M", "G"):
        if number < 999.5 or unit == "G":
            break
        number /= 1000
    return f"{number:.3g}{unit}" if number < 99.95 else f"{number:.0f}{unit}"


def duration(seconds: float) -> str:
    """Returns seconds as 0:07, 3:34, 2:05:00 or 3d 4h."""
    seconds = round(seconds)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d {hours % 24}h"
    if hours:
        return f"{hours}:{minutes % 60:02d}:{seconds % 60:02d}"
    return f"{minutes}:{seconds % 60:02d}"


def parameter_table(params: Any) -> str:
    """Returns the parameters as text: path, shape, type and count, and the total.

    Args:
        params: Pytree of arrays or `jax.ShapeDtypeStruct`s.
    """
    rows = [("parameter", "shape", "dtype", "count")]
    count = size = 0
    for keys, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        number = math.prod(leaf.shape)
        shape = "x".join(map(str, leaf.shape)) or "scalar"
        rows.append((path, shape, str(leaf.dtype), f"{number:,}"))
        count += number
        size += number * leaf.dtype.itemsize
    rows.append((f"total ({size / 2**20:.1f} MiB)", "", "", f"{count:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{path:<{widths[0]}}  {shape:<{widths[1]}}  {dtype:<{widths[2]}}  "
        f"{number:>{widths[3]}}"
        for path, shape, dtype, number in rows
    )
