"""Scores models against held-out ratings."""
