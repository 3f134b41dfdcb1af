"""MovieLens-1M and MovieLens-100K."""
