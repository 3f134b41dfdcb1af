"""Neutral machinery: config, training loop, checkpoints, scans. Imports nothing of
ours."""
