"""Prepares ratings for training: sources, splits, records, manifest."""
