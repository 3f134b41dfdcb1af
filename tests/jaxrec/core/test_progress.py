"""The live line and the parameter table, as a person sees them."""

import io
import logging as standard_logging

import jax
import jax.numpy as jnp
import pytest
from absl import logging

from jaxrec.core.progress import (
    CountLine,
    ProgressLine,
    duration,
    parameter_table,
    short,
)


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def screen(self):
        """What is on the current line after all that was written."""
        line = self.getvalue().split("\n")[-1].split("\r")[-1]
        return line.removeprefix("\x1b[K")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def line(clock):
    line = ProgressLine(0, 100, stream=Terminal(), clock=clock)
    yield line
    line.close()


def test_a_terminal_has_one_line_rewritten_in_place(line, clock):
    for step in range(1, 21):
        clock.now += 0.5
        line.update(step, 30, lambda: 5.0)
    terminal = line._stream
    assert "\n" not in terminal.getvalue()
    # 80 steps are left, at half a second each.
    assert terminal.screen() == (
        "step 20/100  loss 5.0000  2 steps/s  60 examples/s  ETA 0:40"
    )
    line.close()
    assert terminal.screen() == ""


def test_the_loss_is_fetched_only_to_be_shown(line, clock):
    fetched = []
    for step in range(1, 101):
        clock.now += 0.01
        line.update(step, 1, lambda: fetched.append(1) or 1.0)
    assert len(fetched) == 5  # once per 0.2 s of the one second


def test_compilation_is_left_out_of_the_rates_shown(line, clock):
    clock.now += 60
    line.update(1, 10, lambda: 3.0)
    assert line._stream.screen() == "step 1/100  loss 3.0000"
    clock.now += 0.5
    line.update(2, 10, lambda: 3.0)
    assert line._stream.screen() == (
        "step 2/100  loss 3.0000  2 steps/s  20 examples/s  ETA 0:49"
    )


def test_a_log_message_is_not_written_into_the_line(line, clock):
    clock.now += 1
    line.update(1, 1, lambda: 1.0)
    assert line._stream.screen()
    handler = logging.get_absl_handler()
    handler.handle(standard_logging.LogRecord("x", 30, "f", 1, "message", (), None))
    assert line._stream.screen() == ""


def test_a_long_line_does_not_wrap(line, clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    clock.now += 1
    line.update(1, 1, lambda: 1.0)
    assert len(line._stream.screen()) == 19


def test_elsewhere_a_message_every_so_often(clock, caplog):
    line = ProgressLine(10, 100, every=60, stream=io.StringIO(), clock=clock)
    with caplog.at_level("INFO", logger="absl"):
        for step in range(11, 31):
            clock.now += 10
            line.update(step, 1000, lambda: 0.25)
    line.close()
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == (
        "step 16/100  loss 0.2500  0.1 steps/s  100 examples/s  ETA 14:00"
    )
    assert [message.split()[1] for message in messages] == [
        "16/100",
        "22/100",
        "28/100",
    ]
    assert line._stream.getvalue() == ""


def test_pauses_do_not_count_in_the_rates_but_in_the_eta(line, clock):
    for step in range(1, 11):
        clock.now += 1
        line.update(step, 5, lambda: 1.0)
    line.pause()
    assert line._stream.screen() == ""
    clock.now += 9
    line.resume()
    assert line.rates() == {
        "time/steps_per_second": 10 / 10,
        "time/examples_per_second": 50 / 10,
        "time/train_seconds": 10.0,
    }
    clock.now += 2
    line.update(11, 5, lambda: 1.0)
    # 10 steps since the first one took 9 + 9 + 2 seconds; 89 are left.
    assert line._stream.screen().endswith("ETA 2:58")
    assert line.rates()["time/steps_per_second"] == 1 / 2
    line.pause()
    clock.now += 5
    assert line.rates()["time/train_seconds"] == 12.0  # still paused


def test_only_process_0_shows_anything(clock, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    line = ProgressLine(0, 10, stream=Terminal(), clock=clock)
    clock.now += 1
    line.update(1, 1, lambda: pytest.fail("the loss was fetched"))
    line.close()
    assert line._stream.getvalue() == ""
    assert line.rates()["time/steps_per_second"] == 1.0


def test_counts_stand_on_one_line_that_is_removed_whatever_happens(caplog):
    terminal = Terminal()
    with pytest.raises(OSError, match="full"):
        with CountLine("texts", 10, unit="items", stream=terminal) as line:
            line.found(2)
            line.done(3)
            assert terminal.screen().startswith("texts: 5/10  ")
            assert "items/s  ETA " in terminal.screen()
            raise OSError("full")
    assert terminal.screen() == "" and "\n" not in terminal.getvalue()
    caplog.set_level(standard_logging.INFO, logger="absl")
    for shown in (False, True):
        terminal = Terminal()
        with CountLine("texts", 10, shown=shown, stream=terminal) as line:
            line.done(3)
        assert bool(terminal.getvalue()) == shown
        with CountLine("texts", 10, shown=shown, every=0, stream=io.StringIO()) as line:
            line.done(3)
        assert ("texts: 3/10" in caplog.text) == shown


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.523, "0.523"),
        (41.23, "41.2"),
        (99.96, "100"),
        (999.4, "999"),
        (999.6, "1k"),
        (10_540, "10.5k"),
        (3_100_000, "3.1M"),
        (5e12, "5000G"),
    ],
)
def test_short_numbers(number, text):
    assert short(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7, "0:07"), (214, "3:34"), (7500, "2:05:00"), (273_600, "3d 4h"), (0.2, "0:00")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_parameter_table():
    params = {
        "table": jax.ShapeDtypeStruct((1000, 64), jnp.float32),
        "blocks": [{"decay": jnp.ones(64, jnp.bfloat16)}],
        "scale": jnp.float32(1),
    }
    count = 64 + 1 + 1000 * 64
    size = 64 * 2 + 4 + 1000 * 64 * 4
    assert parameter_table(params).splitlines() == [
        "parameter        shape    dtype      count",
        "blocks/0/decay   64       bfloat16      64",
        "scale            scalar   float32        1",
        "table            1000x64  float32   64,000",
        f"total ({size / 2**20:.1f} MiB)                     {count:,}",
    ]
