"""Source file -> TFDS dataset -> flat arrays, each step once.

    <cache>/tfds/<builder>/<config>/<version>/   array_record, for interchange
    <cache>/flat/<name>-<key>/                   .npy files, opened memory-mapped

The key is a hash of what the files contain, how they are to be read and the version
of the builders: another file of the same name is another entry. Only the first load
imports TFDS.
"""

import contextlib
import importlib
import importlib.resources
import io
import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging

from jaxrec.core.cache_directory import cache_directory
from jaxrec.data import builders, cache, catalog, tables
from jaxrec.data.options import DataOptions
from jaxrec.data.sequences import Sequences
from jaxrec.data.text import Block

_KEY_DIGITS = 16
_BATCH = 4096


def open_raw(options: DataOptions) -> Sequences:
    """Opens the raw events of a data set, preparing them on the first call.

    Args:
        options: name, path, titles, format, columns and cache are used.

    Returns:
        All events, each user's in the order of the file, memory-mapped.

    Raises:
        FileNotFoundError: The files are not there and could not be fetched.
        ValueError: A file cannot be read; the message names file and line.
    """
    source = catalog.find(options)
    config_name = f"{source.entry.name}-{_key(source, options)}"
    directory = cache_directory(options.cache)
    flat = directory / "flat" / config_name
    if (opened := _open_flat(flat)) is not None:
        return opened
    with cache.locked(flat.with_name(f".{config_name}.lock")):
        # Another process may have prepared it while this one waited.
        if (opened := _open_flat(flat)) is not None:
            return opened
        logging.info("Preparing %s once in %s.", source.entry.name, directory)
        builder = _prepared_builder(source, options, config_name, directory / "tfds")
        with cache.written_whole(flat) as partial:
            read_stored(builder, source.entry.name).save(partial)
    return Sequences.load(flat)


def read_stored(builder, name: str = "") -> Sequences:
    """Flattens a prepared dataset of one of our builders.

    Args:
        builder: A `tfds.core.DatasetBuilder` with the features of
            `jaxrec.data.builders.stored`, also from `tfds.builder_from_directory`.
        name: Name for the sequences.

    Returns:
        All events, in memory.
    """
    records = builder.as_data_source("train")

    def blocks(roles: list[str]) -> Iterator[Block]:
        for begin in range(0, len(records), _BATCH):
            rows = range(begin, min(begin + _BATCH, len(records)))
            users = records.__getitems__(list(rows))
            counts = [len(user["items"]) for user in users]
            names = np.array([user["user"] for user in users], np.bytes_)
            columns = {"user": np.repeat(names, counts)}
            columns["item"] = np.concatenate([u["items"] for u in users]).astype("S")
            for role in roles[2:]:
                columns[role] = np.concatenate([u[f"{role}s"] for u in users])
            lines = np.repeat(np.array(rows) + 1, counts)
            yield Block([columns[role] for role in roles], lines)

    first = records[0]
    has_times, has_ratings = len(first["times"]) > 0, len(first["ratings"]) > 0
    roles = ["user", "item", *["time"] * has_times, *["rating"] * has_ratings]
    table = tables.table_from_blocks(str(builder.data_dir), roles, blocks(roles))
    return tables.group(table, name, _stored_titles(builder))


def _stored_titles(builder) -> dict[str, str] | None:
    try:
        # Not .get(): the metadata of a dataset opened by its directory are read by
        # indexing alone.
        return builder.info.metadata["titles"]
    except (KeyError, TypeError):
        return None


def _open_flat(directory: Path) -> Sequences | None:
    if not directory.exists():
        return None
    try:
        return Sequences.load(directory)
    except (OSError, ValueError, KeyError, EOFError) as error:
        logging.warning("%s is damaged (%s); preparing it again.", directory, error)
        return None


def _key(source: catalog.Source, options: DataOptions) -> str:
    """A hash of everything that decides the raw events."""
    if source.path is None:
        package = f"{builders.__name__}.{source.entry.builder}"
        checksums = importlib.resources.files(package).joinpath("checksums.tsv")
        parts = [source.entry.url, checksums.read_text(), *source.entry.files]
    else:
        columns = json.dumps(sorted(options.columns.items()))
        parts = [source.path, source.format, columns]
        if source.format == "auto":
            parts.append(source.path.name)
        if source.titles is not None:
            parts += [source.titles, source.titles.name]
    return cache.content_hash(builders.VERSION, *parts)[:_KEY_DIGITS]


def _prepared_builder(
    source: catalog.Source, options: DataOptions, config_name: str, directory: Path
):
    """A builder whose dataset is on disk, written now unless it was there."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import download_manager

    from jaxrec.data.builders.stored import InteractionsConfig

    name = source.entry.builder
    module = importlib.import_module(
        f"{builders.__name__}.{name}.{name}_dataset_builder"
    )
    if source.path is None:
        config = source.entry.name
    else:
        config = InteractionsConfig(
            name=config_name,
            description=source.entry.source,
            entry=source.entry.name,
            path=str(source.path),
            format=source.format,
            columns=dict(options.columns),
            titles=str(source.titles or ""),
        )
    download = tfds.download.DownloadConfig(
        manual_dir=source.archive and source.archive.parent,
        try_download_gcs=False,
        force_checksums_validation=True,
    )
    tfds.disable_progress_bar()
    with _quiet():
        builder = module.Builder(config=config, data_dir=directory)
        # What a killed process left.
        for left in Path(builder.data_dir).parent.glob("incomplete.*"):
            shutil.rmtree(left, ignore_errors=True)
        if source.path is None and source.archive is None and not builder.is_prepared():
            _check_reachable(source.entry)
        try:
            builder.download_and_prepare(
                file_format="array_record", download_config=download
            )
        except download_manager.NonMatchingChecksumError as error:
            raise ValueError(
                f"{source.archive or source.entry.url}: not the archive whose checksum "
                f"is registered ({error})"
            ) from error
    return builder


def _check_reachable(entry: catalog.Entry) -> None:
    """Asks the server at once; TFDS tries for minutes before it gives up."""
    request = urllib.request.Request(entry.url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except OSError as error:
        raise FileNotFoundError(
            f"{catalog.missing(entry, catalog.data_directory())}. "
            f"Fetching {entry.url} failed: {error}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the headline that TFDS prints, and its remarks on configs, from users."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
