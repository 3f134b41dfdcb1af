"""Data sets by name: which files, where they come from, which protocol.

Files are looked for under the data directory (data.path or JAXREC_DATA_DIR), then,
by their last name alone, directly in it.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from jaxrec.core.config import unknown
from jaxrec.data.options import DataOptions

DATA_DIRECTORY = "JAXREC_DATA_DIR"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One data set.

    Attributes:
        name: Its name in configs.
        builder: Module under `jaxrec.data.builders` whose builder stores it.
        files: Candidates for the interactions, path under the data directory to
            format; the first that exists is used.
        titles: Candidates for the titles of the items.
        preset: Protocol of preprocessing used unless the config names another.
        source: Where the files come from, for people who have to fetch them.
        url: Archive that can be fetched by a program, "" where there is none. Its
            sha256 is in the checksums.tsv of the builder.
    """

    name: str
    builder: str
    files: Mapping[str, str]
    titles: tuple[str, ...]
    preset: str
    source: str
    url: str = ""


_AMAZON = "Amazon product data 2014 (McAuley et al., SIGIR 2015)"
_GROUPLENS = "https://files.grouplens.org/datasets/movielens"

CATALOG = {
    entry.name: entry
    for entry in (
        Entry(
            "ml1m",
            "movielens_sequences",
            {"ml-1m/ratings.dat": "movielens", "ml-1m/sequences.txt.gz": "sequences"},
            ("ml-1m/movies.dat",),
            "lrurec_ml1m",
            "MovieLens-1M, ml-1m.zip of https://grouplens.org/datasets/movielens/1m/",
            f"{_GROUPLENS}/ml-1m.zip",
        ),
        Entry(
            "ml100k",
            "movielens_sequences",
            {"ml-100k/u.data": "u.data"},
            ("ml-100k/u.item",),
            "as_is",
            "MovieLens-100K, ml-100k.zip of "
            "https://grouplens.org/datasets/movielens/100k/",
            f"{_GROUPLENS}/ml-100k.zip",
        ),
        Entry(
            "beauty",
            "amazon_sequences",
            {"amazon-beauty/sequential.txt": "sequences"},
            ("amazon-beauty/items.tsv",),
            "as_is",
            f"{_AMAZON}, Beauty, 5-core: data/Beauty.txt of "
            "https://github.com/RUCAIBox/CIKM2020-S3Rec, saved as sequential.txt",
        ),
        Entry(
            "toys",
            "amazon_sequences",
            {"amazon-toys/sequential.txt": "sequences"},
            ("amazon-toys/items.tsv",),
            "as_is",
            f"{_AMAZON}, Toys and Games, 5-core: data/toys/sequential.txt of "
            "https://github.com/WangXFng/RDRec",
        ),
        Entry(
            "games",
            "amazon_sequences",
            {
                "amazon-games-sasrec/Video.txt.gz": "pairs",
                "amazon-games-sasrec/Video.txt": "pairs",
            },
            (),
            "lrurec_text",
            f"{_AMAZON}, Video Games: data/Video.txt of "
            "https://github.com/kang205/SASRec, plain or gzipped",
        ),
        Entry(
            "beauty_sasrec",
            "amazon_sequences",
            {
                "amazon-beauty-sasrec/sequences.txt.gz": "sequences",
                "amazon-beauty-sasrec/Beauty.txt": "pairs",
            },
            (),
            "lrurec_text",
            f"{_AMAZON}, Beauty: data/Beauty.txt of https://github.com/kang205/SASRec",
        ),
        Entry(
            "games2018",
            "amazon_sequences",
            {"amazon-games-2018/sequences.txt": "sequences"},
            ("amazon-games-2018/Games.item",),
            "as_is",
            "Amazon review data 2018 (Ni, Li and McAuley, EMNLP 2019), Video Games: "
            "llmrank/dataset/Games-6k of https://github.com/RUCAIBox/LLMRank, one "
            "line per user: user, history, target; Games-6k.item saved as Games.item",
        ),
        Entry(
            "industrial",
            "amazon_sequences",
            {"amazon-industrial/sequences.txt": "sequences"},
            ("amazon-industrial/items.json.gz", "amazon-industrial/items.json"),
            "as_is",
            "Amazon review data 2018 (Ni, Li and McAuley, EMNLP 2019), Industrial and "
            "Scientific: data/Amazon of https://github.com/AkaliKong/MiniOneRec, one "
            "line per user: user and items; Industrial_and_Scientific.item.json saved "
            "as items.json",
        ),
        Entry(
            "yelp",
            "yelp_sequences",
            {"yelp-s3rec/Yelp.txt": "sequences"},
            ("yelp-s3rec/items.tsv",),
            "as_is",
            "Yelp Open Dataset: data/Yelp.txt of "
            "https://github.com/RUCAIBox/CIKM2020-S3Rec",
        ),
        Entry(
            "custom",
            "custom_sequences",
            {},
            (),
            "as_is",
            "your own interactions: set data.path to the file",
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the interactions of a data set are.

    Attributes:
        entry: The catalogue's entry.
        path: File with the interactions, None when the archive is to be fetched.
        format: Its format, perhaps "auto".
        titles: File with the titles, None if there is none or it is in the archive.
        archive: The archive, if it has been put into the data directory.
    """

    entry: Entry
    path: Path | None = None
    format: str = "auto"
    titles: Path | None = None
    archive: Path | None = None


def entry_of(name: str) -> Entry:
    """The entry called `name`.

    Raises:
        ValueError: There is none; the message names the nearest.
    """
    if name not in CATALOG:
        raise ValueError(unknown("data.name", name, ["synthetic", *CATALOG]))
    return CATALOG[name]


def find(options: DataOptions) -> Source:
    """Finds the files of a data set.

    Args:
        options: name, path, format and titles are used. A path that is a file is
            taken as it is; a directory is searched for the candidates, then for the
            official archive. Without a path the archive may also be fetched.

    Raises:
        FileNotFoundError: There is no file; the message says which file to put where
            and where it comes from.
        ValueError: The data set has no files of its own and the path is no file.
    """
    entry = entry_of(options.name)
    path = Path(options.path).expanduser() if options.path else None
    if path is not None and not path.exists():
        raise FileNotFoundError(f"data.path={options.path}: no such file or directory")
    if path is not None and path.is_file():
        return Source(entry, path, options.format, _titles(entry, options, path.parent))
    if not entry.files:
        got = f"the directory {path}" if path else "nothing"
        raise ValueError(
            f"data.name={entry.name!r} needs data.path to be a file, got {got}"
        )
    directory = path or data_directory()
    if directory is not None:
        if found := search(directory, tuple(entry.files)):
            candidate, file = found
            form = options.format
            if form == "auto":
                form = entry.files[candidate]
            return Source(entry, file, form, _titles(entry, options, directory))
        if entry.url and (found := search(directory, (Path(entry.url).name,))):
            return Source(entry, archive=found[1])
    if entry.url and path is None:
        return Source(entry)
    raise FileNotFoundError(missing(entry, directory))


def data_directory() -> Path | None:
    """The directory named by the environment, if any."""
    named = os.environ.get(DATA_DIRECTORY)
    return Path(named).expanduser() if named else None


def search(directory: Path, candidates: tuple[str, ...]) -> tuple[str, Path] | None:
    """The first candidate that exists in the directory, with its path."""
    for candidate in candidates:
        for file in (directory / candidate, directory / Path(candidate).name):
            if file.is_file():
                return candidate, file
    return None


def missing(entry: Entry, directory: Path | None) -> str:
    """What to tell a user who does not have the files."""
    where = f"{directory}" if directory else f"the data directory ({DATA_DIRECTORY})"
    return (
        f"{entry.name}: none of {', '.join(entry.files)} is under {where}. "
        f"Source: {entry.source}. Put the file there, or name a directory or the "
        f"file itself with data.path or {DATA_DIRECTORY}"
    )


def _titles(entry: Entry, options: DataOptions, directory: Path) -> Path | None:
    if options.titles:
        file = Path(options.titles).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f"data.titles={options.titles}: no such file")
        return file
    found = search(directory, entry.titles)
    return found[1] if found else None
