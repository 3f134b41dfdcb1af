"""Items that a recommender is to take in by their features, checked."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrec.serve.backbone import Backbone
from jaxrec.serve.ids import ItemIds, raw_id


class NewItems(NamedTuple):
    """What is added.

    Attributes:
        ids: Raw ids.
        features: (n, sum of dims) float32.
        titles: One per id, or None.
    """

    ids: list[str]
    features: np.ndarray
    titles: list[str] | None


def check_adds(backbone: Backbone) -> None:
    """Raises ValueError if no room for items would help: the message says why."""
    if backbone.on_platform is None:
        raise ValueError(
            "add_items: a portable file takes in no new items; load the working "
            "directory of the run (jaxrec.load)"
        )
    if not backbone.features:
        raise ValueError(
            "add_items: this model makes no item vectors of features, so a new item "
            "has none; a model that was cut or tabulated without its features has lost "
            "their projection: cut it with its features kept"
        )


def read_items(
    known: ItemIds,
    dims: Sequence[int],
    names: Sequence[str],
    ids: Any,
    features: Any,
    titles: Any = None,
) -> NewItems:
    """Items to be added.

    Args:
        known: The items there are.
        dims: Dimensions of the features per modality.
        names: Names of the modalities; () if they are not known.
        ids: Raw ids.
        features: (n, dim) per modality, by name or in order.
        titles: A title per id, or None.

    Raises:
        ValueError: An id that is known, empty or given twice; features that are not of
            these modalities and shapes, or not finite; not as many titles.
    """
    if isinstance(ids, str | bytes) or not isinstance(ids, Sequence | np.ndarray):
        raise ValueError(f"ids: want a list of item ids, got {ids!r}")
    raws = [raw_id(value) for value in ids]
    there: set[str] = set()
    for raw in raws:
        if not raw:
            raise ValueError("ids: an item id is empty")
        if raw in there:
            raise ValueError(f"ids: {raw!r} is given twice")
        if known.number(raw):
            raise ValueError(f"ids: there is an item {raw!r} already")
        there.add(raw)
    table = _joined(features, len(raws), dims, names)
    return NewItems(raws, table, _titles(titles, len(raws)))


def _joined(features, count, dims, names) -> np.ndarray:
    if isinstance(features, Mapping):
        if not names:
            raise ValueError(
                "features: this run has no names of modalities; give a list of arrays "
                f"(n, dim) in the order of its dimensions {tuple(dims)}"
            )
        if set(features) != set(names):
            raise ValueError(
                f"features: want the modalities {list(names)}, got {list(features)}; "
                "an item without one has zeros there"
            )
        features = [features[name] for name in names]
    elif not isinstance(features, Sequence | np.ndarray) or len(features) != len(dims):
        raise ValueError(
            f"features: want one array (n, dim) for each of {len(dims)} modalities, of "
            f"dimensions {tuple(dims)}"
        )
    tables = []
    for place, (given, dim) in enumerate(zip(features, dims, strict=True)):
        what = f"features[{names[place] if names else place!r}]"
        try:
            table = np.asarray(given, np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{what}: want numbers ({count}, {dim})") from error
        if table.shape != (count, dim):
            raise ValueError(f"{what}: want ({count}, {dim}), got {table.shape}")
        bad = np.flatnonzero(~np.isfinite(table).all(1))
        if len(bad):
            raise ValueError(f"{what}: row {bad[0]} has a number that is not finite")
        tables.append(table)
    return np.concatenate(tables, 1)


def _titles(titles, count) -> list[str] | None:
    if titles is None:
        return None
    if isinstance(titles, str) or not isinstance(titles, Sequence | np.ndarray):
        raise ValueError(f"titles: want a list, got {titles!r}")
    if len(titles) != count or not all(isinstance(title, str) for title in titles):
        raise ValueError(f"titles: want {count} strings, got {titles!r}")
    return [str(title) for title in titles]
