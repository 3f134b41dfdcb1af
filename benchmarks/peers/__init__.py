"""Peers: small programs of our own that compute what others compute, their way.

Each is written from published equations and shown equal to `benchmarks.peers.reference`
(float64 numpy) in tests/benchmarks/test_peers.py before anything is timed against it.
"""
