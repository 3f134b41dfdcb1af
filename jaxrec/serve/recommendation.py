"""What a user is answered."""

import dataclasses
from collections.abc import Iterator


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
