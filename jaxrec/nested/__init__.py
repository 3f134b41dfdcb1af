"""What can be done with a run of a nested model: cut it, and choose a size."""
