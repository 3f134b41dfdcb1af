"""Recommendations at a shell, from a run or from a portable file.

    python -m jaxrec.recommend --workdir=runs/x --user=42 --k=10
    python -m jaxrec.recommend --workdir=runs/x --history="1193 661 914"

With --user the history is that of the data the run was trained on, and so are the
user's vector and the times of its events where the model has them; with --history it is
the item ids given, oldest first, and no data is needed. A model with times then needs
--times as well.
"""

import argparse
import sys
from collections.abc import Sequence

from jaxrec.core.cli import readable_errors
from jaxrec.core.compiled import keep_compiled_programs
from jaxrec.core.text_table import aligned

_LAST = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program.

    Args:
        argv: Arguments, None for those of the command line.

    Returns:
        Exit status: 0, or 2 for an error of the user.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if options.portable and options.user is not None:
        parser.error("--user needs the data of a run: give --workdir, or --history")
    if options.times and options.user is not None:
        parser.error("--times is for --history; those of --user are in the data")
    with readable_errors() as outcome:
        keep_compiled_programs()
        _run(options)
    return outcome.status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m jaxrec.recommend", description=__doc__.partition("\n")[0]
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workdir", help="directory of a run")
    source.add_argument("--portable", help="file that python -m jaxrec.export wrote")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", help="user id, as in the data of the run")
    who.add_argument("--history", help="item ids between spaces, oldest first")
    parser.add_argument("--times", help="of --history, seconds, for a model with times")
    parser.add_argument("--k", type=int, default=10, help="how many items (10)")
    parser.add_argument(
        "--include_seen", action="store_true", help="items of the history may come back"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.portable:
        from jaxrec.serve import portable

        recommender = portable.load(options.portable)
    else:
        from jaxrec.serve import workdir

        recommender = workdir.load(options.workdir)
    users, times = None, options.times
    if options.user is None:
        history = options.history.split()
        if times is not None:
            times = [[_seconds(text) for text in times.split()]]
    else:
        from jaxrec.serve.users import user_history

        history, when = user_history(options.workdir, options.user)
        times = [when] if recommender.times else None
        users = [options.user] if recommender.users is not None else None
    (answer,) = recommender.recommend(
        [history], options.k, not options.include_seen, users=users, times=times
    )
    ids = recommender.ids
    known = ids.numbers(history)[0].tolist()
    if answer.unknown:
        print(f"unknown items, skipped: {' '.join(answer.unknown)}")
        if any("," in raw for raw in answer.unknown):
            print("(--history wants spaces between ids, not commas)")
        if not known:
            print("no item is known: the answer is that for a new user")
        print()
    if answer.unknown_user:
        print(f"user {answer.unknown_user}: too few events for a vector\n")
    last = known[-_LAST:]
    if last:
        print(f"history: {len(known)} events, the last {len(last)}:")
        print(_table(["item", "title"], [ids.raw(last), ids.titles(last)]), end="\n\n")
    scores = [f"{score:.3f}" for score in answer.scores]
    ranks = [str(rank) for rank in range(1, len(answer) + 1)]
    columns = [ranks, answer.ids, answer.titles, scores]
    print(_table(["rank", "item", "title", "score"], columns))


def _seconds(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text  # The recommender says what is wrong with it.


def _table(heads: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
    """Columns as aligned text, without those that are empty in every row."""
    kept = [
        [head, *column]
        for head, column in zip(heads, columns, strict=True)
        if any(column)
    ]
    left = [i for i, (head, *_) in enumerate(kept) if head not in ("rank", "score")]
    return aligned(list(zip(*kept, strict=True)), left)


if __name__ == "__main__":
    sys.exit(main())
