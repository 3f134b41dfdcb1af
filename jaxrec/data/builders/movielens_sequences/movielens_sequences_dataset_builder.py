"""TFDS dataset `movielens_sequences`: ml1m and ml100k."""

from jaxrec.data.builders.stored import SequenceBuilder, configs


class Builder(SequenceBuilder):
    """Fetches the official archive when `manual_dir` does not have the files."""

    BUILDER_CONFIGS = configs("ml1m", "ml100k")
