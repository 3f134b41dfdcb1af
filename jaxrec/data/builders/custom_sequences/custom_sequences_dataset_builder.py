"""TFDS dataset `custom_sequences`: any file that `jaxrec.data.formats` reads.

Builder(config=InteractionsConfig(name="mine", path="clicks.csv"))
"""

from jaxrec.data.builders.stored import SequenceBuilder


class Builder(SequenceBuilder):
    """Needs a config with a path; there is none by name."""
