"""What a user is answered."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from jaxrec.serve.ids import ItemIds


@dataclasses.dataclass(frozen=True, slots=True)
class Recommendation:
    """Items for one user, best first.

    Iterating gives pairs (item id, score).

    Attributes:
        ids: Raw item ids. Fewer than asked for if no more were left after exclusion.
        scores: Their scores, on the scale of the model's logits.
        titles: Their titles, "" where unknown.
        unknown: Raw ids of the request that the model does not know and that were
            skipped.
        unknown_user: Raw id of the user, if the model does not know it and answered as
            to an unknown user; else "".
    """

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    titles: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    unknown_user: str = ""

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return iter(zip(self.ids, self.scores, strict=True))

    def __len__(self) -> int:
        return len(self.ids)


def answers_of(
    ids: ItemIds,
    scores: np.ndarray,
    numbers: np.ndarray,
    unknown: Sequence[tuple[str, ...]],
    unknown_users: Sequence[str] | None = None,
) -> list[Recommendation]:
    """One answer per user.

    Args:
        ids: The map of the items.
        scores: (b, k) float32, best first.
        numbers: (b, k) int32, their items; 0 where fewer than k were left.
        unknown: Per user the unknown raw ids of the request.
        unknown_users: Per user its raw id if it is unknown, else "".
    """
    answers = []
    for row, values, told, user in zip(
        numbers.tolist(),
        scores.tolist(),
        unknown,
        unknown_users or [""] * len(unknown),
        strict=True,
    ):
        if row[-1] == 0:
            row = row[: row.index(0)]
            values = values[: len(row)]
        answers.append(
            Recommendation(ids.raw(row), tuple(values), ids.titles(row), told, user)
        )
    return answers
