"""TFDS dataset `amazon_sequences`: beauty, toys, games, beauty_sasrec and games2018."""

from jaxrec.data.builders.stored import SequenceBuilder, configs


class Builder(SequenceBuilder):
    """Files must be in `manual_dir`; see the catalogue for their sources."""

    BUILDER_CONFIGS = configs("beauty", "toys", "games", "beauty_sasrec", "games2018")
