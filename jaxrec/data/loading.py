"""From a config to a split: file, prepared store, filtering, splitting."""

from collections.abc import Mapping
from typing import Any

from jaxrec.data import catalog, options, splits, storage
from jaxrec.data.preprocess import preprocess
from jaxrec.data.splits import Split


def load(config: Mapping[str, Any]) -> Split:
    """Loads a data set and splits it.

    Args:
        config: The data section of a config: a mapping or ConfigDict with the keys of
            `jaxrec.data.options.DataOptions`, or, when its name is "synthetic" or
            "walks", those of `jaxrec.data.synthetic` or `jaxrec.data.walks`. Keys that
            are None or "" count as unset.

    Returns:
        The split. Its arrays are memory-mapped and read-only where preprocessing
        changed nothing.

    Raises:
        FileNotFoundError: A file is not there; the message says which one and where
            it comes from.
        ValueError: A key, a value, a line of a file or a combination of them is
            wrong; the message names it.
    """
    name = config["name"] if "name" in config else ""
    if name == "synthetic":
        from jaxrec.data import synthetic

        return synthetic.load(config)
    if name == "walks":
        from jaxrec.data import walks

        return walks.load(config)
    entry = catalog.entry_of(name)
    settled = options.from_config(config, entry.preset)
    sequences = preprocess(storage.open_raw(settled), settled)
    if settled.split == "temporal":
        return splits.temporal(sequences, settled.valid_fraction, settled.test_fraction)
    return splits.leave_one_out(sequences, settled.min_length)
