"""Interactions of one's own."""
