"""Answering requests from a finished run."""
