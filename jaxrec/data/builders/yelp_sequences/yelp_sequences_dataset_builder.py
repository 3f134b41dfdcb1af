"""TFDS dataset `yelp_sequences`."""

from jaxrec.data.builders.stored import SequenceBuilder, configs


class Builder(SequenceBuilder):
    """The file must be in `manual_dir`; see the catalogue for its source."""

    BUILDER_CONFIGS = configs("yelp")
