"""Communities in graphs."""
