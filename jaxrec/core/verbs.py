"""Small programs for people at a shell: `python -m jaxrec.cut` and its like."""

import argparse
from collections.abc import Callable, Sequence

from jaxrec.core.cli import readable_errors, set_up_logging


def verb(
    program: str,
    doc: str,
    declare: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], None],
) -> Callable[..., int]:
    """The `main` of a program.

    Args:
        program: Name of its module.
        doc: Docstring of the module; the help shows its first line.
        declare: Adds the arguments.
        run: Does the work. Its messages, such as how far it is, go to standard error;
            what a user can put right is told in one line.

    Returns:
        A function of the arguments, None for those of the command line, to the exit
        status: 0, or 2 for an error of the user.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        parser = argparse.ArgumentParser(
            f"python -m {program}",
            description=doc.partition("\n")[0],
            allow_abbrev=False,
        )
        declare(parser)
        options = parser.parse_args(argv)
        with readable_errors() as outcome:
            set_up_logging(debug=False)
            run(options)
        return outcome.status

    return main
