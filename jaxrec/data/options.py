"""The data section of a config, checked before any file is opened.

A key that is absent, None or "" is unset. A preset fills the unset keys of
preprocessing; what the user has set wins.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxrec.core.config import dataclass_from, unknown

ROLES = ("user", "item", "time", "rating")

CHOICES = {
    "format": (
        "auto",
        "sequences",
        "pairs",
        "movielens",
        "u.data",
        "csv",
        "tsv",
        "parquet",
    ),
    "dedup": ("none", "adjacent", "all"),
    "core": ("none", "once", "iterated"),
    "order": ("auto", "file", "time"),
    "ties": ("file", "item"),
    "split": ("leave_one_out", "temporal"),
}

# Every key of preprocessing with its value when nothing else is said, then what
# each published protocol changes.
_PLAIN = {
    "min_rating": None,
    "dedup": "none",
    "core": "none",
    "min_user_events": 5,
    "min_item_events": 5,
    "order": "auto",
    "ties": "file",
}
PRESETS = {
    # Nothing is dropped.
    "as_is": _PLAIN,
    # LRURec (Yue et al., WSDM 2024), released code, MovieLens-1M: every rating is
    # a positive, immediate repeats go, one pass of "5 per item, then 5 per user",
    # equal time stamps in the order of the new item numbers.
    "lrurec_ml1m": _PLAIN | {"dedup": "adjacent", "core": "once", "ties": "item"},
    # The same code on the two-column text files of SASRec (Kang and McAuley, ICDM
    # 2018), Beauty, Video, Sports, Steam: only immediate repeats go.
    "lrurec_text": _PLAIN | {"dedup": "adjacent", "order": "file"},
    # The usual 5-core: repeated until every user and every item has 5 events.
    "five_core": _PLAIN | {"core": "iterated"},
}


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Checked options; see `from_config` for where the values come from.

    Attributes:
        name: Name of the data set in the catalogue, or "custom".
        path: Data directory or file, "" for the environment's data directory.
        titles: File with the titles of the items, "" for the catalogue's own.
        cache: Directory for prepared data, "" for the environment's or the default.
        format: One of CHOICES["format"]. "auto" looks at name and first lines.
        columns: Role ("user", "item", "time", "rating") to column name, for tables.
        preset: Name of the protocol that filled the unset keys.
        min_rating: Events rated below are dropped; None keeps all.
        dedup: "adjacent" drops an event whose item is that of the event before,
            "all" every event whose item the user has met before.
        core: "once" drops items with fewer than `min_item_events`, then users with
            fewer than `min_user_events`; "iterated" repeats until nothing changes.
        min_user_events: See `core`.
        min_item_events: See `core`.
        order: "time" sorts each user by time, "file" keeps the order of the file,
            "auto" is "time" where the source has times and "file" elsewhere.
        ties: Equal time stamps stay in the order of the "file" or go by "item" number.
        split: "leave_one_out" or "temporal".
        min_length: Fewest events of a user that gives leave-one-out targets.
        valid_fraction: Share of events in the validation period of "temporal".
        test_fraction: Share of events in the test period of "temporal".
    """

    name: str
    path: str = ""
    titles: str = ""
    cache: str = ""
    format: str = "auto"
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    preset: str = "as_is"
    min_rating: float | None = None
    dedup: str = "none"
    core: str = "none"
    min_user_events: int = 5
    min_item_events: int = 5
    order: str = "auto"
    ties: str = "file"
    split: str = "leave_one_out"
    min_length: int = 3
    valid_fraction: float = 0.1
    test_fraction: float = 0.1


def from_config(config: Mapping[str, Any], preset: str = "as_is") -> DataOptions:
    """Checks a data section and fills what is unset.

    Args:
        config: A mapping or ConfigDict with the keys of `DataOptions`.
        preset: The preset to use where the config names none.

    Raises:
        ValueError: Unknown key, preset or value (the message names the nearest one),
            or a key that would have no effect.
    """
    given = {key: config[key] for key in config if config[key] not in (None, "")}
    known = [field.name for field in dataclasses.fields(DataOptions)]
    for key in config:
        if key not in known:
            raise ValueError(unknown("data key", key, known))
    if "name" not in given:
        raise ValueError("data.name is not set")
    columns = dict(given.pop("columns", {}))
    for role in columns:
        if role not in ROLES:
            raise ValueError(unknown("data.columns key", role, ROLES))
    preset = given.setdefault("preset", preset)
    if preset not in PRESETS:
        raise ValueError(unknown("data.preset", preset, list(PRESETS)))
    settled = PRESETS[preset] | given
    for key, choices in CHOICES.items():
        if key in settled and settled[key] not in choices:
            raise ValueError(unknown(f"data.{key}", settled[key], choices))
    for key in ("min_user_events", "min_item_events"):
        if key in given and settled["core"] == "none":
            raise ValueError(
                f"data.{key}={given[key]} has no effect with data.core='none'; "
                "set data.core to 'once' or 'iterated'"
            )
    if given.get("ties") == "item" and settled["order"] == "file":
        raise ValueError("data.ties='item' has no effect with data.order='file'")
    columns = {role: str(name) for role, name in columns.items() if name}
    options = dataclass_from(DataOptions, settled | {"columns": columns}, "data")
    for key in ("min_user_events", "min_item_events"):
        if getattr(options, key) < 1:
            raise ValueError(f"data.{key} must be 1 or more, got {settled[key]}")
    return options
