"""Scoring a catalogue and taking the top of it."""
