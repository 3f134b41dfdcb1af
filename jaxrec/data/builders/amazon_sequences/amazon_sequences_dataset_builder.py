"""TFDS dataset `amazon_sequences`: the Amazon sets of the catalogue."""

from jaxrec.data.builders.stored import SequenceBuilder, configs


class Builder(SequenceBuilder):
    """Files must be in `manual_dir`; see the catalogue for their sources."""

    BUILDER_CONFIGS = configs(
        "beauty", "toys", "games", "beauty_sasrec", "games2018", "industrial"
    )
