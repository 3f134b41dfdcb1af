"""The Amazon sets of the catalogue."""
