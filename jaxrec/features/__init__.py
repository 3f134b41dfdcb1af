"""Item features: tables of vectors from texts, images, or made elsewhere."""

from jaxrec.features.run import for_run
from jaxrec.features.store import Features, load, save

__all__ = ["Features", "for_run", "load", "save"]
