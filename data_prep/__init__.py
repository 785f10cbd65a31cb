"""Ratings in, prepared data out: sources, splits, records, manifest."""
