"""Losses as sums and weights."""
