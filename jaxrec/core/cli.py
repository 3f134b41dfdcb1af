"""The command line: flags, the configuration's entry, readable errors, results.

`main` is the whole program. It loads ``--config``, imports the module that
``config.entry`` names, calls its ``run(config, workdir)`` and prints what that returns.
What a user can put right is told in one line, with exit status 2; what is a fault of
ours keeps its traceback.
"""

import contextlib
import dis
import gc
import importlib
import json
import logging as standard_logging
import os
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags, logging

from jaxrec.core.allocator import keep_freed_memory
from jaxrec.core.compiled import keep_compiled_programs
from jaxrec.core.config import nearest, to_json
from jaxrec.core.config_file import MODULE_NAME, parse_flags

USAGE = """\
usage: python -m {program} --config=FILE.py[:ARGUMENT] --workdir=DIRECTORY
           [--config.KEY=VALUE ...] [--debug]
           [--distributed [--coordinator=HOST:PORT --processes=N --process_id=I]]

  --config       configuration file; what is after the colon goes to its get_config()
  --config.KEY   another value for a key of the configuration, such as --config.seed=1
  --workdir      directory of the run; the same command again resumes it
  --debug        full tracebacks, and log messages of the libraries
  --distributed  one of several processes of a run; on TPU machines and under Slurm
                 the other flags find themselves (also JAX_COORDINATOR_ADDRESS,
                 JAX_NUM_PROCESSES, JAX_PROCESS_ID)
  --help         this text, and the keys of the configuration if --config is given
"""
RESULTS_FILE = "results.json"

# New objects between two searches for cyclic garbage. Importing JAX and tracing make
# hundreds of thousands that all stay; at Python's 700 (2,000 since 3.13) the searches
# are 0.3 of the 2.2 seconds that both take.
_COLLECT_AFTER = 100_000


def main(argv: Sequence[str], program: str = "jaxrec.main") -> int:
    """Runs the program.

    Args:
        argv: Name of the program and its arguments.
        program: Module name to show in the usage.

    Returns:
        Exit status: 0, 2 for an error of the user, 1 for a run that failed, 130 if
        interrupted from the keyboard.
    """
    debug = any(re.fullmatch("--?debug(=(true|1))?", argument) for argument in argv)
    with readable_errors(debug) as outcome:
        _main(list(argv), program, debug)
    return outcome.status


def _main(argv: list[str], program: str, debug: bool) -> None:
    values = _define_flags()
    config = parse_flags(values, argv)
    if values.help:
        print(USAGE.format(program=program), end="")
        if config is not None:
            print("\nconfiguration:", to_json(config), end="")
        return
    if config is None or not values.workdir:
        missing = "--config=FILE.py" if config is None else "--workdir=DIRECTORY"
        raise ValueError(f"{missing} is missing (--help explains)")
    prepare_process(debug)
    run = resolve_entry(config.get("entry"))
    is_first = _join_other_processes(values)
    results = run(config, values.workdir)
    if is_first:
        path = Path(values.workdir) / RESULTS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(results), indent=2) + "\n")
        print(results_table(results))


def prepare_process(debug: bool, label: str = "") -> None:
    """What a process does before it imports the rest: messages, memory, programs.

    Args:
        debug: Whether to show messages of the libraries.
        label: Stands before each message.
    """
    set_up_logging(debug, label)
    keep_freed_memory()
    gc.set_threshold(_COLLECT_AFTER)
    keep_compiled_programs()


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    environment = os.environ.get
    for name in ("help", "debug", "distributed"):
        flags.DEFINE_bool(name, False, "", flag_values=values)
    flags.DEFINE_string("workdir", "", "", flag_values=values)
    for name, default in (
        ("coordinator", environment("JAX_COORDINATOR_ADDRESS")),
        ("processes", environment("JAX_NUM_PROCESSES")),
        ("process_id", environment("JAX_PROCESS_ID")),
    ):
        define = flags.DEFINE_string if name == "coordinator" else flags.DEFINE_integer
        define(name, default, "", flag_values=values)
    return values


def resolve_entry(entry: str | None) -> Any:
    """Returns the function ``run`` of the module that a configuration names.

    Raises:
        ValueError: If there is no such module, or it has no ``run``.
    """
    if not entry:
        raise ValueError("config.entry is missing: the module whose run() is called")
    try:
        module = importlib.import_module(entry)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{entry}.".startswith(f"{error.name}."):
            raise  # the entry exists; something that it imports does not
        raise ValueError(
            f"config.entry: there is no module {entry!r}{_near_module(entry)}"
        ) from None
    run = getattr(module, "run", None)
    if not callable(run):
        raise ValueError(f"config.entry: module {entry!r} has no run(config, workdir)")
    return run


def _near_module(entry: str) -> str:
    parent_name, _, name = entry.rpartition(".")
    try:
        parent: ModuleType = importlib.import_module(parent_name)
        near = nearest(name, (m.name for m in pkgutil.iter_modules(parent.__path__)))
    except (ImportError, ValueError, AttributeError):
        return ""
    return f", did you mean {parent_name}.{near}?" if near else ""


def _join_other_processes(values: flags.FlagValues) -> bool:
    """Joins the other processes of the run, if any; whether this is the first."""
    if not (values.distributed or values.coordinator):
        return True
    import jax

    given = (values.coordinator, values.processes, values.process_id)
    if any(value is not None for value in given) and None in given:
        raise ValueError(
            "--coordinator, --processes and --process_id belong together; "
            f"got {values.coordinator}, {values.processes} and {values.process_id}"
        )
    jax.distributed.initialize(*given)
    return jax.process_index() == 0


def set_up_logging(debug: bool, label: str = "") -> None:
    """Sends our log messages to standard error, each on a line with time and label."""
    flags.FLAGS.mark_as_parsed()  # absl would warn that its own are not
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    line = f"%(asctime)s {label}%(message)s"
    handler.setFormatter(standard_logging.Formatter(line, "%X"))
    if not debug:
        handler.addFilter(_no_chatter)


def _no_chatter(record: standard_logging.LogRecord) -> bool:
    """Drops what libraries tell of their doings: Orbax (through absl) and JAX."""
    from_library = record.name != "absl" or f"{os.sep}orbax{os.sep}" in record.pathname
    return not from_library or record.levelno >= standard_logging.WARNING


def results_table(results: Mapping[str, float]) -> str:
    """Returns results as text in aligned columns.

    Args:
        results: Numbers by name. ``test/ndcg@10`` is shown in column "test", row
            "ndcg@10"; ``test/ndcg@10_se`` beside it as its standard error.
    """
    cells: dict[str, dict[str, str]] = {}  # by row, then by column
    for name, value in results.items():
        column, _, row = name.rpartition("/")
        if name.endswith("_se") and name.removesuffix("_se") in results:
            continue
        error = results.get(f"{name}_se")
        cell = _number(value) + (f" ± {_number(error)}" if error is not None else "")
        cells.setdefault(row, {})[column] = cell
    columns = sorted({column: "" for row in cells.values() for column in row}, key=bool)
    lines = [["", *columns]] if any(columns) else []
    lines += [
        [row, *(found.get(c, "") for c in columns)] for row, found in cells.items()
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
        ).rstrip()
        for line in lines
    )


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if 1e-4 <= abs(value) < 1e4 or value == 0 else f"{value:.4g}"


class Outcome:
    """How a block under `readable_errors` ended."""

    status = 0


@contextlib.contextmanager
def readable_errors(debug: bool = False) -> Iterator[Outcome]:
    """Turns errors that a user can put right into one line on standard error.

    These are: a missing file; a ValueError or ImportError that our code raised by
    itself (not one that a library raised, or that our code ran into); and the
    exceptions that our packages define. Everything else passes through.

    Args:
        debug: Whether such errors pass through as well.

    Yields:
        The outcome, whose ``status`` is the exit status afterwards.
    """
    outcome = Outcome()
    try:
        yield outcome
    except KeyboardInterrupt:
        if debug:
            raise
        print("interrupted", file=sys.stderr)
        outcome.status = 130
    except Exception as error:
        if debug or not _is_for_the_user(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        is_usage = isinstance(error, ValueError | ImportError | FileNotFoundError)
        outcome.status = 2 if is_usage else 1


def _is_for_the_user(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError) or _is_ours(type(error).__module__):
        return True
    frame = error.__traceback__
    if not isinstance(error, ValueError | ImportError) or frame is None:
        return False
    while frame.tb_next is not None:
        frame = frame.tb_next
    # "Raised by itself": the last thing that the innermost frame did was `raise`.
    operation = frame.tb_frame.f_code.co_code[frame.tb_lasti]
    by_itself = operation == dis.opmap["RAISE_VARARGS"]
    return by_itself and _is_ours(_module_of(frame.tb_frame.f_globals))


def _module_of(names: Mapping[str, Any]) -> str:
    """The module of these globals, also of one that Python runs as a program."""
    name = names.get("__name__", "")
    spec = names.get("__spec__") if name == "__main__" else None
    return spec.name if spec else name


def _is_ours(module: str) -> bool:
    # The packages of this distribution, and the user's configuration file.
    return module.partition(".")[0] in ("jaxrec", "jaxbio", MODULE_NAME)
