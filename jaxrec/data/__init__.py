"""Sequences: reading, filtering, splitting, batching. NumPy only."""

from jaxrec.data.loading import load
from jaxrec.data.sequences import Sequences
from jaxrec.data.splits import Cases, Split

__all__ = ["Cases", "Sequences", "Split", "load"]
