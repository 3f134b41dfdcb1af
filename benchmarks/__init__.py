"""Benchmarks of jaxrec against its peers: `python -m benchmarks.<name> [--quick]`."""
