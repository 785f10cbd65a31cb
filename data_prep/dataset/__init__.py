"""Prepared data on disk: the one part of `data_prep` others import."""
