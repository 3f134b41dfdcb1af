"""The choices of an evaluation protocol, checked in one place."""

from collections.abc import Collection

from jaxrec.data.splits import Cases, Split

MASKS = ("all", "window", "none")
PARTS = ("test", "valid")
REPEATS = ("keep", "miss")
TIES = ("optimistic", "expected", "pessimistic")


def check_choice(name: str, value: str, accepted: Collection[str]) -> None:
    """Raises ValueError unless `value` is one of `accepted`."""
    if value not in accepted:
        raise ValueError(f"{name} must be one of {list(accepted)}, got {value!r}")


def part_of(split: Split, part: str) -> Cases:
    """The cases of a part.

    Raises:
        ValueError: `part` is not "test" or "valid", or it has no cases.
    """
    check_choice("part", part, PARTS)
    cases = getattr(split, part)
    if not len(cases):
        raise ValueError(
            f"the {part} part of {split.sequences.name or 'the data'} has no cases: "
            "no user has enough events (leave-one-out: data.min_length, 3 or more)"
        )
    return cases


def mask_window(mask: str, window: int | None) -> int | None:
    """How many of the last history items are no candidates; None for all of them.

    Raises:
        ValueError: `mask` is unknown, or "window" has no window of at least 1.
    """
    check_choice("eval.mask", mask, MASKS)
    if mask == "window":
        if window is None or window < 1:
            raise ValueError(f"mask='window' needs a window of 1 or more, got {window}")
        return window
    return None if mask == "all" else 0
