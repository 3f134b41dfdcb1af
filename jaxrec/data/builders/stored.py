"""What the builders have in common.

One example is one user, its events in the order of the file and nothing dropped:

    user      raw id
    items     raw ids, oldest first as far as the file says
    times     int64, empty if the file has none
    ratings   float32, empty if the file has none

The titles of the items are in the metadata of the dataset, raw id -> title.

Files come from `manual_dir`, which is laid out as the catalogue says, or else from
the official archive. Nothing here imports TensorFlow; read the result with
`as_data_source`.
"""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxrec.data import catalog, formats, tables
from jaxrec.data.builders import VERSION as STORE_VERSION
from jaxrec.data.titles import read_titles


@dataclasses.dataclass
class InteractionsConfig(tfds.core.BuilderConfig):
    """Which file to store.

    Attributes:
        entry: Name in the catalogue.
        path: File with the interactions, "" to look for the catalogue's candidates.
        format: Its format, see `jaxrec.data.formats`.
        columns: Role to column name.
        titles: File with the titles, "" to look for the catalogue's candidates.
    """

    entry: str = "custom"
    path: str = ""
    format: str = "auto"
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    titles: str = ""


def configs(*entries: str) -> list[InteractionsConfig]:
    """One config for each of these names of the catalogue."""
    return [
        InteractionsConfig(
            name=entry, description=catalog.CATALOG[entry].source, entry=entry
        )
        for entry in entries
    ]


class SequenceBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Stores a file of interactions, one example per user."""

    VERSION = tfds.core.Version(STORE_VERSION)
    RELEASE_NOTES = {STORE_VERSION: "One example per user, raw ids, order of the file."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "\n".join(
        f"{entry.name}: {' or '.join(entry.files)}. {entry.source}."
        for entry in catalog.CATALOG.values()
        if entry.files
    )

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "user": tfds.features.Text(),
                "items": tfds.features.Tensor(shape=(None,), dtype=np.object_),
                "times": tfds.features.Tensor(shape=(None,), dtype=np.int64),
                "ratings": tfds.features.Tensor(shape=(None,), dtype=np.float32),
            }
        )
        return self.dataset_info_from_configs(
            description="Interaction sequences, one example per user, raw ids.",
            features=features,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        path, form, titles = self._files(dl_manager)
        if titles:
            self.info.metadata["titles"] = read_titles(titles)
        return {"train": self._generate_examples(path, form)}

    def _generate_examples(self, path: str, form: str):
        table = formats.read(path, form, self.builder_config.columns)
        events = tables.group(table)
        item_ids = events.item_ids.astype(object)
        none_int, none_float = np.zeros(0, np.int64), np.zeros(0, np.float32)
        for user, (begin, end) in enumerate(
            zip(events.offsets[:-1], events.offsets[1:], strict=True)
        ):
            yield (
                user,
                {
                    "user": str(events.user_ids[user]),
                    "items": item_ids[events.values[begin:end]],
                    "times": none_int
                    if events.times is None
                    else events.times[begin:end],
                    "ratings": none_float
                    if events.ratings is None
                    else events.ratings[begin:end],
                },
            )

    def _files(self, dl_manager) -> tuple[str, str, str]:
        """Interactions, their format, and the titles ("" if there are none)."""
        config = self.builder_config
        if config.path:
            return config.path, config.format, config.titles
        entry = catalog.entry_of(config.entry)
        directory = Path(dl_manager.download_dir) / "manual"
        try:
            directory = Path(dl_manager.manual_dir)
        except AssertionError:  # TFDS: absent or empty.
            pass
        found = catalog.search(directory, tuple(entry.files))
        if found is None:
            if not entry.url:
                raise FileNotFoundError(catalog.missing(entry, directory))
            directory = _extracted(entry, dl_manager)
            found = catalog.search(directory, tuple(entry.files))
        if found is None:
            raise FileNotFoundError(catalog.missing(entry, directory))
        candidate, path = found
        titles = catalog.search(directory, entry.titles)
        return str(path), entry.files[candidate], str(titles[1]) if titles else ""


def _extracted(entry: catalog.Entry, dl_manager: tfds.download.DownloadManager) -> Path:
    """Fetches and checks the archive, and unpacks the files that are wanted.

    TFDS can download without TensorFlow but not extract.
    """
    archive = dl_manager.download(entry.url)
    directory = Path(dl_manager.download_dir) / "extracted" / entry.name
    with zipfile.ZipFile(archive) as stream:
        for member in {*entry.files, *entry.titles} & {*stream.namelist()}:
            stream.extract(member, directory)
    return directory
