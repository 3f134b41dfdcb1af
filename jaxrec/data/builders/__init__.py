"""TFDS builders: one example per user, array_record, no TensorFlow."""

# Version of what the builders write; a new one makes every prepared copy be made again.
VERSION = "1.0.0"
